// kflow: the runtime's command line.
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

#include "compiler/cli/shell/shell.hpp"
#include "compiler/cli/shell/usage.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/session.hpp"

namespace {

using namespace kflow::cli;

const OtherNames other_names{{"show", "kflow get"},
                             {"status", "kflow get"},
                             {"inspect", "kflow get"},
                             {"describe", "kflow get"},
                             {"list", "kflow ps"},
                             {"ls", "kflow ps"},
                             {"runs", "kflow ps"},
                             {"start", "kflow run"},
                             {"exec", "kflow run"},
                             {"logs", "kflow watch"},
                             {"tail", "kflow watch"},
                             {"follow", "kflow watch"},
                             {"events", "kflow get RUN --events"},
                             {"stop", "kflow cancel"},
                             {"kill", "kflow cancel --kill"},
                             {"terminate", "kflow cancel --kill"},
                             {"delete", "kflow rm"},
                             {"remove", "kflow rm"},
                             {"approve", "kflow answer --approve"},
                             {"reject", "kflow answer --reject"},
                             {"retry", "kflow resume"},
                             {"server", "kflow serve"},
                             {"up", "kflow serve"},
                             {"send", "kflow signal"},
                             {"prune", "kflow gc"},
                             {"check", "kflowc check"},
                             {"lint", "kflowc check"},
                             {"fmt", "kflowc fmt"},
                             {"format", "kflowc fmt"},
                             {"build", "kflowc build"},
                             {"graph", "kflowc graph"},
                             {"new", "kflowc new"},
                             {"init", "kflowc new"},
                             {"eval", "kflowc eval"},
                             {"explain", "kflowc explain"},
                             {"schema", "kflowc schema"},
                             {"doc", "kflowc doc"},
                             {"lsp", "kflowc lsp"}};

constexpr const char* which_run = "id, its beginning or end, or @last";
constexpr const char* which_runs = "ids, their beginnings or ends, or @last";

/// The verbs. The one that was typed is done by `perform`.
class Verbs {
 public:
  explicit Verbs(CLI::App& app) : app_(app) {
    app.add_option(
        "--store", common_.store,
        "folder of the store (else $KFLOW_STORE, .kflow of the project, the user's data folder)");
    app.add_option("--color", common_.colour, "auto, always or never")
        ->check(CLI::IsMember({"auto", "always", "never"}));
    app.add_flag("--json", common_.json, "JSON, or JSON Lines for lists and events");
    add_run();
    add_chat_and_test();
    add_views();
    add_resume();
    add_messages();
    add_fork();
    add_files();
    add_removal();
    add_serve();
    add_store();
    add_mcp();
    auto target = std::make_shared<std::string>();
    verb(app, "work", "", "", [this, target] { return work(common_, *target); })
        ->group("")
        ->add_option("RUN", *target)
        ->required();
  }

  int perform() const { return action_(); }

 private:
  CLI::App* verb(CLI::App& under, const std::string& name, const std::string& what,
                 const std::string& example, std::function<int()> action) {
    CLI::App* out = under.add_subcommand(name, what);
    if (!example.empty()) out->footer("example: " + example);
    out->callback([this, action = std::move(action)] { action_ = action; });
    return out;
  }

  void add_run() {
    auto o = std::make_shared<RunOptions>();
    auto* v = verb(app_, "run", "check a file, start a workflow, follow it",
                   "kflow run report.kflow -i topic=\"AI trends\" --background",
                   [this, o] { return run(common_, *o); });
    v->add_option("FILE", o->file, "the .kflow file")->required();
    v->add_option("WORKFLOW", o->workflow, "which workflow, if the file has several");
    v->add_option("-i", o->inputs, "an input: name=value, or name=@PATH of a file")
        ->allow_extra_args(false);
    v->add_option("--input", o->input_file,
                  "inputs from a JSON or YAML file, - for standard input");
    v->add_flag("--background", o->background,
                "print the run's id and return; the run goes on by itself");
    v->add_flag("--quiet", o->quiet, "only the result");
    v->add_flag("--dry-run", o->dry_run, "check and print the plan, start nothing");
    v->add_option("--id", o->id, "the run's id, instead of a new one");
    v->add_option("--session", o->session, "the session it belongs to");
    v->add_option("--idempotency-key", o->idempotency_key,
                  "a second start with the same key gives the first run");
    v->add_option("--record", o->record,
                  "write every exchange with models, MCP servers and by HTTP to this new file, "
                  "without secrets");
    v->add_option("--replay", o->replay,
                  "answer every one of them from this file instead of the network; with "
                  "--record, ask for what it does not hold");
  }

  void add_chat_and_test() {
    auto chatting = std::make_shared<ChatOptions>();
    auto* v = verb(
        app_, "chat", "talk to an agent or team; one session, every turn a run of its own",
        "kflow chat support.kflow helper", [this, chatting] { return chat(common_, *chatting); });
    v->add_option("FILE", chatting->file, "the .kflow file")->required();
    v->add_option("AGENT", chatting->agent, "which agent or team, if the file has several");
    v->add_option("--session", chatting->session, "go on with this session");
    v->add_option("--record", chatting->record, "write every HTTP exchange to this new file");
    v->add_option("--replay", chatting->replay, "answer every HTTP exchange from this file");

    auto testing = std::make_shared<TestOptions>();
    v = verb(app_, "test", "run the tests in files: virtual time, no network, no model, no store",
             "kflow test --format junit -o report.xml .",
             [this, testing] { return test(common_, *testing); });
    v->add_option("FILE", testing->paths, "files and folders")->required();
    v->add_option("--filter", testing->filter, "only tests with this in their name");
    v->add_option("--format", testing->format, "human, tap or junit")
        ->check(CLI::IsMember({"human", "tap", "junit"}));
    v->add_option("-o,--output", testing->output, "where to write the report");
  }

  void add_views() {
    auto listing = std::make_shared<PsOptions>();
    auto* v = verb(app_, "ps", "list runs, newest first", "kflow ps --status ERROR --since 1d",
                   [this, listing] { return ps(common_, *listing); });
    v->add_option("--status", listing->status, "PENDING RUNNING PAUSED COMPLETED CANCELLED ERROR");
    v->add_option("--workflow", listing->workflow, "only runs of this workflow");
    v->add_option("--session", listing->session, "only runs of this session");
    v->add_option("--tag", listing->tag, "only runs with this tag");
    v->add_option("--since", listing->since, "only runs started within this time: 90m, 2h, 7d");
    v->add_option("--limit", listing->limit, "at most so many")->check(CLI::Range(1, 100'000));
    v->add_flag("--children", listing->children, "also the runs that were started by runs");
    v->add_flag("--ids", listing->ids, "only ids, a line each");
    v->add_flag("--watch", listing->watch, "show it again every second, until Ctrl-C");

    auto getting = std::make_shared<GetOptions>();
    v = verb(app_, "get", "show a run: result, steps, timings, error",
             "kflow get @last --step fetch", [this, getting] { return get(common_, *getting); });
    v->add_option("RUN", getting->run, which_run)->required();
    v->add_option("--step", getting->step, "one step: its input, output, error");
    v->add_flag("--events", getting->events, "its events as JSON Lines");
    v->add_flag("--input", getting->input, "its input");
    v->add_flag("--all", getting->all, "all steps; without it, of a very long run the latest ones");
    v->add_flag("--wait", getting->wait, "wait for its end first");

    auto watching = std::make_shared<WatchOptions>();
    v = verb(app_, "watch", "follow a run from its beginning", "kflow watch @last",
             [this, watching] { return watch(common_, *watching); });
    v->add_option("RUN", watching->run, which_run)->required();
    v->add_option("--from", watching->from, "first event_index to print (with --events or --json)");
    v->add_flag("--events", watching->events, "print its events as JSON Lines");

    auto target = std::make_shared<std::string>();
    v = verb(app_, "why", "what a run waits for, a sentence a step", "kflow why @last",
             [this, target] { return why(common_, *target); });
    v->add_option("RUN", *target, which_run)->required();
  }

  void add_resume() {
    auto o = std::make_shared<ResumeOptions>();
    auto* v =
        verb(app_, "resume",
             "take over a run whose process is gone, or a failed one from its failed step",
             "kflow resume @last --program fixed.kflow", [this, o] { return resume(common_, *o); });
    v->add_option("RUN", o->run, std::string(which_run) + " (the default)");
    v->add_option("--program", o->program,
                  "go on with this file instead of the program the run was started with")
        ->type_name("FILE");
    v->add_flag("--all", o->all, "every run whose process is gone")
        ->excludes("RUN")
        ->excludes("--program");
  }

  void add_messages() {
    struct Cancel {
      std::vector<std::string> runs;
      std::string reason;
      bool kill = false;
    };
    auto stop = std::make_shared<Cancel>();
    auto* v = verb(app_, "cancel", "stop runs", "kflow cancel @last --reason \"no longer needed\"",
                   [this, stop] { return cancel(common_, stop->runs, stop->reason, stop->kill); });
    v->add_option("RUN", stop->runs, which_runs)->required();
    v->add_option("--reason", stop->reason, "recorded with the run");
    v->add_flag("--kill", stop->kill, "do not wait, compensate or call on_cancel");

    auto signalling = std::make_shared<SignalOptions>();
    v = verb(app_, "signal", "put a signal into a run's mailbox",
             "kflow signal @last approved '{\"by\": \"ann\"}'",
             [this, signalling] { return signal(common_, *signalling); });
    v->add_option("RUN", signalling->run, which_run)->required();
    v->add_option("NAME", signalling->name, "the signal's name")->required();
    v->add_option("VALUE", signalling->value, "JSON; null if not given");
    v->add_option("--idempotency-key", signalling->idempotency_key,
                  "a second signal with the same key is dropped");

    auto answering = std::make_shared<AnswerOptions>();
    v = verb(app_, "answer", "answer what a run asks", "kflow answer @last --approve",
             [this, answering] { return answer(common_, *answering); });
    v->add_option("RUN", answering->run, which_run)->required();
    v->add_option("REQUIREMENT", answering->requirement,
                  "which question: its id or the path of its step");
    auto* approve = v->add_flag("--approve", answering->approve, "yes; accept");
    auto* reject = v->add_flag("--reject", answering->reject, "no")->excludes(approve);
    v->add_option("--value", answering->value, "the answer of a form, or an edited value, as JSON")
        ->excludes(reject);
    v->add_option("--feedback", answering->feedback, "recorded with the answer");
  }

  void add_fork() {
    auto o = std::make_shared<ForkCommand>();
    auto* v = verb(app_, "fork", "a new run that shares what was recorded before a step",
                   "kflow fork @last --from plan --set 'research=\"notes\"'",
                   [this, o] { return fork(common_, *o); });
    v->add_option("RUN", o->run, which_run)->required();
    v->add_option("--from", o->from, "path of the step that is done anew")->required();
    v->add_option("--set", o->values, "another value of a step: step=json")
        ->allow_extra_args(false);
    v->add_option("-i", o->inputs, "another input: name=json")->allow_extra_args(false);
    v->add_option("--id", o->id, "the new run's id");
  }

  void add_files() {
    struct Moved {
      std::string run;
      std::string file;
      std::string id;
    };
    auto o = std::make_shared<Moved>();
    auto* v = verb(app_, "export", "one run as one file", "kflow export @last -o run.kfrun",
                   [this, o] { return export_run(common_, o->run, o->file); });
    v->add_option("RUN", o->run, which_run)->required();
    v->add_option("-o", o->file, "the file; - for standard output, <id>.kfrun if not given");
    v = verb(app_, "import", "put an exported run into the store", "kflow import run.kfrun",
             [this, o] { return import_run(common_, o->file, o->id); });
    v->add_option("FILE", o->file, "the file, - for standard input")->required();
    v->add_option("--id", o->id, "another id for it");
  }

  void add_removal() {
    auto runs = std::make_shared<std::vector<std::string>>();
    verb(app_, "rm", "remove runs that have ended", "kflow rm $(kflow ps --ids --status CANCELLED)",
         [this, runs] { return kflow::cli::remove(common_, *runs); })
        ->add_option("RUN", *runs, which_runs)
        ->required();
    auto o = std::make_shared<GcOptions>();
    auto* v = verb(app_, "gc", "remove what retention lets go, and what nothing refers to",
                   "kflow gc --older-than 30d --deltas 2d --dry-run",
                   [this, o] { return gc(common_, *o); });
    v->add_option("--older-than", o->older_than,
                  "ended runs without a retention of their own: 12h, 30d");
    v->add_option("--keep", o->keep, "keep only so many of the newest ended runs of each workflow");
    v->add_option("--deltas", o->deltas,
                  "take the pieces of models' answers out of runs that ended so long ago: 2d");
    v->add_flag("--dry-run", o->dry_run, "print the runs that would go");
  }

  void add_serve() {
    auto o = std::make_shared<ServeOptions>();
    auto* v = verb(app_, "serve",
                   "workflows over HTTP, with their schedules, the web page, and runs left behind",
                   "kflow serve flows/ --listen 127.0.0.1:8080",
                   [this, o] { return serve(common_, *o); });
    v->add_option("PATH", o->paths,
                  ".kflow files and folders; the project's folder if none is given");
    v->add_option("--listen", o->listen,
                  "ADDRESS:PORT, several times if need be; 127.0.0.1:7777 if not given")
        ->allow_extra_args(false);
    v->add_option("--config", o->config, "a kflow.yaml; its folder is the project")
        ->type_name("FILE");
  }

  void add_store() {
    auto* store = app_.add_subcommand("store", "look after the store");
    store->require_subcommand(1);
    verb(*store, "info", "where it is, how large, who uses it", "kflow store info --json",
         [this] { return store_info(common_); });
    verb(*store, "check", "read every row", "kflow store check",
         [this] { return store_check(common_); });
    auto path = std::make_shared<std::string>();
    verb(*store, "backup", "a consistent copy, while it is in use",
         "kflow store backup /var/backups/kflow",
         [this, path] { return store_copy(common_, *path, false); })
        ->add_option("FOLDER", *path, "a new folder")
        ->required();
    auto hash = std::make_shared<std::string>();
    auto* v = verb(*store, "file", "write a file that the store holds",
                   "kflow store file 9f86d0…0a08 -o cat.png",
                   [this, hash, path] { return store_file(common_, *hash, *path); });
    v->add_option("SHA256", *hash, "as runs show it")->required();
    v->add_option("-o", *path, "where to; else standard output");
    verb(*store, "compact", "the same without free space", "kflow store compact /var/lib/kflow.new",
         [this, path] { return store_copy(common_, *path, true); })
        ->add_option("FOLDER", *path, "a new folder")
        ->required();
  }

  void add_mcp() {
    auto* mcp = app_.add_subcommand("mcp", "servers of the Model Context Protocol");
    mcp->require_subcommand(1);
    auto o = std::make_shared<McpSyncOptions>();
    auto* v = verb(*mcp, "sync",
                   "ask the servers that files declare for their tools, and write kflow.lock.json",
                   "kflow mcp sync research.kflow", [this, o] { return mcp_sync(common_, *o); });
    v->add_option("FILE", o->files, "the .kflow files")->required();
    v->add_flag("--check", o->check, "write nothing; fail if the lock is out of date");
  }

  CLI::App& app_;
  Common common_;
  std::function<int()> action_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("kflow runs .kflow workflows durably", "kflow");
  app.set_version_flag("--version", "kflow " KFLOW_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  const Verbs verbs(app);
  const ShellVerbs shell(app);
  if (const auto status = read_command_line(app, argc, argv, other_names)) return *status;
  if (const auto text = shell.text(KFLOW_VERSION, "kflow ps --ids")) {
    std::fputs(text->c_str(), stdout);
    return Exit::ok;
  }
  return verbs.perform();
}
