// A large body from a server into the store, and out again to a server and to a path: how fast, and
// with how much memory. `files_bench [MiB]`; JSON Lines.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/support/byte_server.hpp"

using namespace kflow;
namespace fs = std::filesystem;

namespace {

long peak_kib() {
  struct rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// The server is another process, so that its memory is not ours.
std::pair<pid_t, std::string> serve(uint64_t bytes) {
  int fds[2];
  if (::pipe(fds) != 0) std::abort();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const test::ByteServer server({{"/large", {.length = bytes}}, {"/take", {.body = "thanks"}}});
    const std::string url = server.base_url() + "\n";
    [[maybe_unused]] const ssize_t n = ::write(fds[1], url.data(), url.size());
    for (;;) ::pause();
  }
  std::string url;
  for (char c = 0; ::read(fds[0], &c, 1) == 1 && c != '\n';) url.push_back(c);
  return {child, url};
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t mib = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 300;
  const auto [child, url] = serve(mib << 20);
  std::string name = fs::temp_directory_path() / "kflow_files_bench_XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return 1;
  const fs::path folder = name;
  int status = 0;
  {
    std::shared_ptr<store::Store> store =
        store::open_lmdb_store((folder / "store").string(), {}).value();
    engine::EngineOptions options;
    options.activities.file_roots = {folder.string()};
    auto engine = engine::Engine::open(store, std::move(options)).value();
    const long before = peak_kib();
    const auto measure = [&](const char* what, const std::string& text) {
      const auto compiled = driver::compile_text("b.kflow", text);
      if (!compiled || !compiled->program) std::abort();
      const auto program = std::make_shared<const ir::Program>(std::move(*compiled->program));
      const auto begin = std::chrono::steady_clock::now();
      const auto started =
          engine->start(program, program->find("w"), cel::Value::map({}), {}).value();
      const auto header = engine->wait(started.key, 600'000).value();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      if (header.status != machine::RunStatus::completed) {
        std::fprintf(stderr, "%s: %s\n", what, header.error.c_str());
        status = 1;
      }
      std::printf(
          "{\"bench\":\"files\",\"what\":\"%s\",\"mib\":%lu,\"seconds\":%.2f,\"mib_per_s\":%.0f,"
          "\"peak_rss_mib\":%.1f,\"grown_mib\":%.1f}\n",
          what, static_cast<unsigned long>(mib), seconds.count(),
          static_cast<double>(mib) / seconds.count(), static_cast<double>(peak_kib()) / 1024,
          static_cast<double>(peak_kib() - before) / 1024);
      std::fflush(stdout);
    };
    measure("download", "workflow w() { step f = http.download(\"" + url +
                            "/large\") step k = kv.put(\"f\", f) }");
    measure("upload", "workflow w() { step v = kv.get(\"f\") let f: file = v step s = http.put(\"" +
                          url + "/take\", body: f) }");
    measure("save",
            "workflow w() { step v = kv.get(\"f\") let f: file = v step s = file.save(f, "
            "\"out\") }");
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return status;
}
