// Simulator: one run in a scripted world with virtual time, over the pure machine; can lose its
// process at any commit.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/machine/machine.hpp"
#include "tests/scenario/web.hpp"

namespace kflow::scenario {

/// What an effect answers, each time it is performed.
struct Answer {
  enum class Kind { ok, fail, hang } kind = Kind::ok;
  cel::Value value;
  machine::RunError error;
  machine::Millis after_ms = 10;
};

/// The comments of a scenario file:
///   // input: {"n": 3}
///   // step fetch: fail http 503, ok {"status": 200}, hang      (the last is repeated; `after 5s`
///   may follow each)
///   // at 3s: cancel reason          (also: kill reason, signal name JSON, answer path
///   yes|no|JSON)
///   // performed fetch: 2             (how often an effect was released, without crashes)
///   // http GET https://host/path?a=b: 429, 200 hackernews/item.json
///                                    (what the web answers to this request, one after the other,
///                                    from files in web/; see web.hpp; a URL that is a secret is
///                                    secret:NAME)
///   // sent fetch: {"json": {"a": 1}}  (the input of the effect at that path has these fields)
///   // asked model[2]: text           (a request to the model at that path holds this text)
///   // unasked model[2]: text         (… does not)
///   // shown: RunStarted ask, …       (public events, by name and path)
///   // message: text                  (the run's error says this)
///   // repeats: 1                     (so many effects are performed once more, at most, whatever
///   commit the process dies at)
///   // session: {"seen": ["a"]}      (state of the session at the end)
///   // expect: COMPLETED "result"      // expect: ERROR http      // expect: CANCELLED
///   // order: a, b, c                  (paths of the steps in order of completion)
struct Script {
  std::string workflow;  ///< "": the first one
  cel::Value input;
  std::map<std::string, std::vector<Answer>> steps;
  std::vector<std::pair<machine::Millis, std::string>> inputs;
  std::map<std::string, int> performed;
  std::vector<std::pair<std::string, std::string>> asked;
  std::vector<std::pair<std::string, std::string>> unasked;
  std::vector<std::string> shown;
  std::string message;
  std::optional<int> repeats;
  std::map<std::string, std::vector<WebAnswer>> web;  ///< by method and URL
  std::vector<std::pair<std::string, cel::Value>> sent;
  std::optional<cel::Value> session;
  std::string status;
  std::string error_kind;
  bool has_result = false;
  cel::Value result;
  std::vector<std::string> order;
};
/// Throws std::runtime_error with the line that cannot be read.
Script read_script(std::string_view text);

enum class Crash { none, before_release, after_release };

struct Report {
  machine::RunStatus status = machine::RunStatus::pending;
  cel::Value result;
  machine::RunError error;
  size_t commits = 0;
  size_t crashes = 0;
  int in_flight = 0;                   ///< effects that were under way when the process died
  size_t lost = 0;                     ///< outcomes that nobody was told
  size_t moves = 0;                    ///< to a successor of the program
  size_t undone = 0;                   ///< compensations begun
  size_t to_undo = 0;                  ///< steps that have a compensation and are or may be done
  std::vector<std::string> completed;  ///< paths, in order
  std::map<std::string, int> completions;  ///< by path: more than one is wrong
  std::vector<std::string>
      shown;  ///< names and paths of shown events, without repeats of interrupted attempts
  size_t interrupted = 0;
  std::map<std::string, int> performed;      ///< effects released, by path
  std::map<std::string, cel::Value> sent;    ///< inputs of effects, by path
  std::map<std::string, std::string> asked;  ///< requests to models as text, by path
  machine::UsageTotal usage;
  cel::Value session;
};

/// What goes wrong, each with its probability at every commit; the same seed goes wrong in the same
/// way.
struct Faults {
  uint64_t seed = 0;
  double crash = 0;    ///< the process dies, before or after the release of the effects
  double doubled = 0;  ///< an outcome is delivered twice
  double lost = 0;     ///< an outcome is never told; the process has to be started again
  double late = 0;     ///< outcomes of effects of the dead process arrive all the same
  double jump = 0;     ///< the clock jumps, forwards or back
  double move = 0;     ///< at a crash: a run goes on with a successor of its program
};
Report simulate_with_faults(std::shared_ptr<const ir::Program> program, const Script& script,
                            const Faults& faults);

/// Runs to the end; with a crash at commit number `at` (from 1) if it comes so far.
Report simulate(std::shared_ptr<const ir::Program> program, const Script& script, Crash crash,
                size_t at);
/// The same, but after the crash all runs go on with another program, `next`.
Report simulate_moved(std::shared_ptr<const ir::Program> program,
                      std::shared_ptr<const ir::Program> next, const Script& script, Crash crash,
                      size_t at);

}  // namespace kflow::scenario
