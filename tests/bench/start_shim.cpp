// Preloaded into `kflow` by cli_bench: writes down how long after the entry of `main` each durable
// commit was done, so that the program itself needs no clock for it.
#include <dlfcn.h>
#include <lmdb.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace {

double main_at = 0;
thread_local bool synced = false;

double now_ms() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

using Main = int (*)(int, char**, char**);
Main real_main = nullptr;
int timed_main(int argc, char** argv, char** environment) {
  main_at = now_ms();
  return real_main(argc, argv, environment);
}

template <typename F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(),
                      void (*end)(), void* stack) {
  real_main = main;
  using Start = int (*)(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
  return next<Start>("__libc_start_main")(timed_main, argc, argv, init, fini, end, stack);
}

int fdatasync(int fd) {
  synced = true;
  static const auto real = next<int (*)(int)>("fdatasync");
  return real(fd);
}

int mdb_txn_commit(MDB_txn* txn) {
  static const auto real = next<int (*)(MDB_txn*)>("mdb_txn_commit");
  synced = false;
  const int code = real(txn);
  const char* file = std::getenv("KFLOW_BENCH_COMMITS");
  if (!synced || file == nullptr) return code;
  if (std::FILE* out = std::fopen(file, "a")) {
    std::fprintf(out, "%.3f\n", now_ms() - main_at);
    std::fclose(out);
  }
  return code;
}
}
