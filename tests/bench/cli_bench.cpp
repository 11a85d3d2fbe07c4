// Whole processes: `kflowc check` of a small file, and `kflow run` of one on a store that is there
// already, from `main` to its first step. Prints JSON Lines.
#include <fstream>

#include "tests/bench/bench.hpp"

namespace kflow::bench {
namespace {

namespace fs = std::filesystem;
constexpr int rounds = 41;

const char* small_file = R"(kflow 1

/// Fetches a list of pages and says how large they are.
workflow pages(urls: string[] = []) -> string {
  for url in urls as fetches {
    limit: 4
    on_error: continue
    step page = http.get(url) { retry: { max: 3 backoff: exponential(1s) } }
    let size = page.body.size()
  }
  step id = uuid()
  return "${id}: ${urls.size()} pages"
}
)";

// Of the commits of a run: the process says that it is there, the run starts (its first step with
// it), and so on. After the second the step's effect goes out.
double first_step_ms(const fs::path& folder) {
  const std::string commits = (folder / "commits").string();
  fs::remove(commits);
  (void)run_program({KFLOW_PROGRAM, "run", "small.kflow", "--store", (folder / "store").string()},
                    folder, {"LD_PRELOAD=" START_SHIM, "KFLOW_BENCH_COMMITS=" + commits});
  std::ifstream in(commits);
  double owner = 0;
  double started = 0;
  if (!(in >> owner >> started)) die("the commits were not seen");
  return started;
}

}  // namespace
}  // namespace kflow::bench

int main() {
  using namespace kflow::bench;
  const Scratch scratch("cli_bench");
  const fs::path folder = scratch / "";
  std::ofstream(folder / "small.kflow") << small_file;
  std::vector<double> check;
  std::vector<double> empty;
  std::vector<double> cpu;
  for (int i = 0; i < rounds; ++i) {
    empty.push_back(run_program({"/bin/true"}, folder).wall_ms);
    const Spent spent = run_program({KFLOWC_PROGRAM, "check", "small.kflow"}, folder);
    check.push_back(spent.wall_ms);
    cpu.push_back(spent.cpu_ms);
  }
  Line("kflowc_check")
      .number("whole_process_ms", median(check))
      .number("cpu_ms", median(cpu))
      .number("bin_true_ms", median(empty))
      .count("goal_ms", 15)
      .met(median(check) < 15);
  (void)first_step_ms(folder);  // makes the store
  const double commit = bare_commit_ms(scratch / "bare");
  std::vector<double> first;
  std::vector<double> whole;
  cpu.clear();
  for (int i = 0; i < rounds; ++i) {
    first.push_back(first_step_ms(folder));
    const Spent spent = run_program(
        {KFLOW_PROGRAM, "run", "small.kflow", "--store", (folder / "store").string()}, folder);
    whole.push_back(spent.wall_ms);
    cpu.push_back(spent.cpu_ms);
  }
  Line("kflow_start")
      .number("main_to_first_step_ms", median(first))
      .number("whole_process_ms", median(whole))
      .number("cpu_ms", median(cpu))
      .number("bare_commit_ms", commit, 3)
      .count("goal_ms", 10)
      .met(median(first) < 10);
}
