// The verbs of `kflow`; each gives the exit status.
#pragma once

#include <string>
#include <vector>

namespace kflow::cli {

struct Common {
  std::string store;
  std::string colour = "auto";
  bool json = false;
};

struct RunOptions {
  std::string file;
  std::string workflow;
  std::vector<std::string> inputs;  ///< name=value
  std::string input_file;           ///< JSON or YAML, - for standard input
  bool background = false;
  bool quiet = false;
  bool dry_run = false;
  std::string id;
  std::string session;
  std::string idempotency_key;
  std::string record;  ///< tape to write
  std::string replay;  ///< tape to answer from
};
int run(const Common& common, const RunOptions& options);

struct ChatOptions {
  std::string file;
  std::string agent;
  std::string session;
  std::string record;
  std::string replay;
};
int chat(const Common& common, const ChatOptions& options);

struct McpSyncOptions {
  std::vector<std::string> files;
  bool check = false;  ///< write nothing, fail if something differs
};
int mcp_sync(const Common& common, const McpSyncOptions& options);

struct TestOptions {
  std::vector<std::string> paths;  ///< files and folders
  std::string filter;              ///< only tests with this in their name
  std::string format = "human";    ///< human, tap, junit
  std::string output;              ///< "": standard output
};
int test(const Common& common, const TestOptions& options);

struct PsOptions {
  std::string status;
  std::string workflow;
  std::string session;
  std::string tag;
  std::string since;  ///< a duration: 1h, 7d
  size_t limit = 50;
  bool children = false;  ///< also runs that were started by runs
  bool ids = false;       ///< nothing but ids
  bool watch = false;     ///< again every second, in place
};
int ps(const Common& common, const PsOptions& options);

struct GetOptions {
  std::string run;
  std::string step;
  bool events = false;
  bool input = false;
  bool wait = false;
  bool all = false;
};
int get(const Common& common, const GetOptions& options);

struct WatchOptions {
  std::string run;
  uint64_t from = 0;
  bool events = false;
};
int watch(const Common& common, const WatchOptions& options);

int why(const Common& common, const std::string& run);
struct ResumeOptions {
  std::string run;      ///< "": the last one
  std::string program;  ///< file to go on with; "": the run's own program
  bool all = false;
};
int resume(const Common& common, const ResumeOptions& options);
int cancel(const Common& common, const std::vector<std::string>& runs, const std::string& reason,
           bool kill);

struct SignalOptions {
  std::string run;
  std::string name;
  std::string value;  ///< JSON, or text where it is none; "": null
  std::string idempotency_key;
};
int signal(const Common& common, const SignalOptions& options);

struct AnswerOptions {
  std::string run;
  std::string requirement;  ///< id or path of the step; "": the only one
  bool approve = false;
  bool reject = false;
  std::string value;  ///< JSON
  std::string feedback;
};
int answer(const Common& common, const AnswerOptions& options);

struct ForkCommand {
  std::string run;
  std::string from;
  std::vector<std::string> values;  ///< step=json
  std::vector<std::string> inputs;  ///< name=json
  std::string id;
};
int fork(const Common& common, const ForkCommand& options);

int export_run(const Common& common, const std::string& run, const std::string& file);
int import_run(const Common& common, const std::string& file, const std::string& id);
int remove(const Common& common, const std::vector<std::string>& runs);

struct GcOptions {
  std::string older_than;  ///< a duration
  size_t keep = 0;
  std::string deltas;  ///< a duration
  bool dry_run = false;
};
int gc(const Common& common, const GcOptions& options);
struct ServeOptions {
  std::vector<std::string> paths;   ///< .kflow files and folders; none: the project's folder
  std::vector<std::string> listen;  ///< instead of kflow.yaml's
  std::string config;               ///< a kflow.yaml elsewhere
};
int serve(const Common& common, const ServeOptions& options);
int store_info(const Common& common);
int store_check(const Common& common);
/// `path`: "" or "-" for standard output.
int store_file(const Common& common, const std::string& sha256, const std::string& path);
int store_copy(const Common& common, const std::string& folder, bool compact);
/// The detached process behind --background: takes the runs of a project until none is left.
int work(const Common& common, const std::string& run);

}  // namespace kflow::cli
