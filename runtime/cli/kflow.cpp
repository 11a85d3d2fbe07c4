// kflow: the runtime's command line.
#include <CLI/CLI.hpp>

#include "compiler/cli/shell/shell.hpp"
#include "compiler/cli/shell/usage.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/session.hpp"

namespace {

const kflow::cli::OtherNames other_names{{"show", "kflow get"},
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

}  // namespace

int main(int argc, char** argv) {
  using namespace kflow::cli;
  CLI::App app("kflow runs .kflow workflows durably", "kflow");
  app.set_version_flag("--version", "kflow " KFLOW_VERSION);
  app.require_subcommand(1);
  app.fallthrough();

  Common common;
  app.add_option(
      "--store", common.store,
      "folder of the store (else $KFLOW_STORE, .kflow of the project, the user's data folder)");
  app.add_option("--color", common.colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  app.add_flag("--json", common.json, "JSON, or JSON Lines for lists and events");

  RunOptions running;
  auto* run_verb = app.add_subcommand("run", "check a file, start a workflow, follow it");
  run_verb->add_option("FILE", running.file, "the .kflow file")->required();
  run_verb->add_option("WORKFLOW", running.workflow, "which workflow, if the file has several");
  run_verb->add_option("-i", running.inputs, "an input: name=value, or name=@PATH of a file")
      ->allow_extra_args(false);
  run_verb->add_option("--input", running.input_file,
                       "inputs from a JSON or YAML file, - for standard input");
  run_verb->add_flag("--background", running.background,
                     "print the run's id and return; the run goes on by itself");
  run_verb->add_flag("--quiet", running.quiet, "only the result");
  run_verb->add_flag("--dry-run", running.dry_run, "check and print the plan, start nothing");
  run_verb->add_option("--id", running.id, "the run's id, instead of a new one");
  run_verb->add_option("--session", running.session, "the session it belongs to");
  run_verb->add_option("--idempotency-key", running.idempotency_key,
                       "a second start with the same key gives the first run");
  run_verb->add_option("--record", running.record,
                       "write every exchange with models, MCP servers and by HTTP to this new "
                       "file, without secrets");
  run_verb->add_option("--replay", running.replay,
                       "answer every one of them from this file instead of the network; with "
                       "--record, ask for what it does not hold");
  run_verb->footer("example: kflow run report.kflow -i topic=\"AI trends\" --background");

  ChatOptions chatting;
  auto* chat_verb = app.add_subcommand(
      "chat", "talk to an agent or team; one session, every turn a run of its own");
  chat_verb->add_option("FILE", chatting.file, "the .kflow file")->required();
  chat_verb->add_option("AGENT", chatting.agent, "which agent or team, if the file has several");
  chat_verb->add_option("--session", chatting.session, "go on with this session");
  chat_verb->add_option("--record", chatting.record, "write every HTTP exchange to this new file");
  chat_verb->add_option("--replay", chatting.replay, "answer every HTTP exchange from this file");
  chat_verb->footer("example: kflow chat support.kflow helper");

  TestOptions testing;
  auto* test_verb = app.add_subcommand(
      "test", "run the tests in files: virtual time, no network, no model, no store");
  test_verb->add_option("FILE", testing.paths, "files and folders")->required();
  test_verb->add_option("--filter", testing.filter, "only tests with this in their name");
  test_verb->add_option("--format", testing.format, "human, tap or junit")
      ->check(CLI::IsMember({"human", "tap", "junit"}));
  test_verb->add_option("-o,--output", testing.output, "where to write the report");
  test_verb->footer("example: kflow test --format junit -o report.xml .");

  PsOptions listing;
  auto* ps_verb = app.add_subcommand("ps", "list runs, newest first");
  ps_verb->add_option("--status", listing.status,
                      "PENDING RUNNING PAUSED COMPLETED CANCELLED ERROR");
  ps_verb->add_option("--workflow", listing.workflow, "only runs of this workflow");
  ps_verb->add_option("--session", listing.session, "only runs of this session");
  ps_verb->add_option("--tag", listing.tag, "only runs with this tag");
  ps_verb->add_option("--since", listing.since, "only runs started within this time: 90m, 2h, 7d");
  ps_verb->add_option("--limit", listing.limit, "at most so many")->check(CLI::Range(1, 100'000));
  ps_verb->add_flag("--children", listing.children, "also the runs that were started by runs");
  ps_verb->add_flag("--ids", listing.ids, "only ids, a line each");
  ps_verb->add_flag("--watch", listing.watch, "show it again every second, until Ctrl-C");
  ps_verb->footer("example: kflow ps --status ERROR --since 1d");

  GetOptions getting;
  auto* get_verb = app.add_subcommand("get", "show a run: result, steps, timings, error");
  get_verb->add_option("RUN", getting.run, "id, its beginning or end, or @last")->required();
  get_verb->add_option("--step", getting.step, "one step: its input, output, error");
  get_verb->add_flag("--events", getting.events, "its events as JSON Lines");
  get_verb->add_flag("--input", getting.input, "its input");
  get_verb->add_flag("--all", getting.all,
                     "all steps; without it, of a very long run the latest ones");
  get_verb->add_flag("--wait", getting.wait, "wait for its end first");
  get_verb->footer("example: kflow get @last --step fetch");

  WatchOptions watching;
  auto* watch_verb = app.add_subcommand("watch", "follow a run from its beginning");
  watch_verb->add_option("RUN", watching.run, "id, its beginning or end, or @last")->required();
  watch_verb->add_option("--from", watching.from,
                         "first event_index to print (with --events or --json)");
  watch_verb->add_flag("--events", watching.events, "print its events as JSON Lines");
  watch_verb->footer("example: kflow watch @last");

  std::string target;
  auto* why_verb = app.add_subcommand("why", "what a run waits for, a sentence a step");
  why_verb->add_option("RUN", target, "id, its beginning or end, or @last")->required();
  why_verb->footer("example: kflow why @last");

  ResumeOptions resuming;
  auto* resume_verb = app.add_subcommand(
      "resume", "take over a run whose process is gone, or a failed one from its failed step");
  resume_verb->add_option("RUN", resuming.run, "id, its beginning or end, or @last (the default)");
  resume_verb
      ->add_option("--program", resuming.program,
                   "go on with this file instead of the program the run was started with")
      ->type_name("FILE");
  resume_verb->add_flag("--all", resuming.all, "every run whose process is gone")
      ->excludes("RUN")
      ->excludes("--program");

  resume_verb->footer("example: kflow resume @last --program fixed.kflow");

  std::vector<std::string> targets;
  std::string reason;
  auto* cancel_verb = app.add_subcommand("cancel", "stop runs");
  cancel_verb->add_option("RUN", targets, "ids, their beginnings or ends, or @last")->required();
  cancel_verb->add_option("--reason", reason, "recorded with the run");

  bool kill = false;
  cancel_verb->add_flag("--kill", kill, "do not wait, compensate or call on_cancel");
  cancel_verb->footer("example: kflow cancel @last --reason \"no longer needed\"");

  SignalOptions signalling;
  auto* signal_verb = app.add_subcommand("signal", "put a signal into a run's mailbox");
  signal_verb->add_option("RUN", signalling.run, "id, its beginning or end, or @last")->required();
  signal_verb->add_option("NAME", signalling.name, "the signal's name")->required();
  signal_verb->add_option("VALUE", signalling.value, "JSON; null if not given");
  signal_verb->add_option("--idempotency-key", signalling.idempotency_key,
                          "a second signal with the same key is dropped");
  signal_verb->footer("example: kflow signal @last approved '{\"by\": \"ann\"}'");

  AnswerOptions answering;
  auto* answer_verb = app.add_subcommand("answer", "answer what a run asks");
  answer_verb->add_option("RUN", answering.run, "id, its beginning or end, or @last")->required();
  answer_verb->add_option("REQUIREMENT", answering.requirement,
                          "which question: its id or the path of its step");
  auto* approve = answer_verb->add_flag("--approve", answering.approve, "yes; accept");
  auto* reject = answer_verb->add_flag("--reject", answering.reject, "no")->excludes(approve);
  answer_verb
      ->add_option("--value", answering.value, "the answer of a form, or an edited value, as JSON")
      ->excludes(reject);
  answer_verb->add_option("--feedback", answering.feedback, "recorded with the answer");
  answer_verb->footer("example: kflow answer @last --approve");

  ForkCommand forking;
  auto* fork_verb =
      app.add_subcommand("fork", "a new run that shares what was recorded before a step");
  fork_verb->add_option("RUN", forking.run, "id, its beginning or end, or @last")->required();
  fork_verb->add_option("--from", forking.from, "path of the step that is done anew")->required();
  fork_verb->add_option("--set", forking.values, "another value of a step: step=json")
      ->allow_extra_args(false);
  fork_verb->add_option("-i", forking.inputs, "another input: name=json")->allow_extra_args(false);
  fork_verb->add_option("--id", forking.id, "the new run's id");
  fork_verb->footer("example: kflow fork @last --from plan --set 'research=\"notes\"'");

  std::string file;
  std::string new_id;
  auto* export_verb = app.add_subcommand("export", "one run as one file");
  export_verb->add_option("RUN", target, "id, its beginning or end, or @last")->required();
  export_verb->add_option("-o", file, "the file; - for standard output, <id>.kfrun if not given");
  export_verb->footer("example: kflow export @last -o run.kfrun");
  auto* import_verb = app.add_subcommand("import", "put an exported run into the store");
  import_verb->add_option("FILE", file, "the file, - for standard input")->required();
  import_verb->add_option("--id", new_id, "another id for it");
  import_verb->footer("example: kflow import run.kfrun");

  auto* rm_verb = app.add_subcommand("rm", "remove runs that have ended");
  rm_verb->add_option("RUN", targets, "ids, their beginnings or ends, or @last")->required();
  rm_verb->footer("example: kflow rm $(kflow ps --ids --status CANCELLED)");
  GcOptions collecting;
  auto* gc_verb =
      app.add_subcommand("gc", "remove what retention lets go, and what nothing refers to");
  gc_verb->add_option("--older-than", collecting.older_than,
                      "ended runs without a retention of their own: 12h, 30d");
  gc_verb->add_option("--keep", collecting.keep,
                      "keep only so many of the newest ended runs of each workflow");
  gc_verb->add_option("--deltas", collecting.deltas,
                      "take the pieces of models' answers out of runs that ended so long ago: 2d");
  gc_verb->add_flag("--dry-run", collecting.dry_run, "print the runs that would go");
  gc_verb->footer("example: kflow gc --older-than 30d --deltas 2d --dry-run");

  ServeOptions serving;
  auto* serve_verb = app.add_subcommand(
      "serve", "workflows over HTTP, with their schedules, the web page, and runs left behind");
  serve_verb->add_option("PATH", serving.paths,
                         ".kflow files and folders; the project's folder if none is given");
  serve_verb
      ->add_option("--listen", serving.listen,
                   "ADDRESS:PORT, several times if need be; 127.0.0.1:7777 if not given")
      ->allow_extra_args(false);
  serve_verb->add_option("--config", serving.config, "a kflow.yaml; its folder is the project")
      ->type_name("FILE");
  serve_verb->footer("example: kflow serve flows/ --listen 127.0.0.1:8080");

  auto* store_verb = app.add_subcommand("store", "look after the store");
  store_verb->require_subcommand(1);
  auto* info_verb = store_verb->add_subcommand("info", "where it is, how large, who uses it");
  info_verb->footer("example: kflow store info --json");
  auto* check_verb = store_verb->add_subcommand("check", "read every row");
  check_verb->footer("example: kflow store check");
  auto* backup_verb = store_verb->add_subcommand("backup", "a consistent copy, while it is in use");
  backup_verb->add_option("FOLDER", file, "a new folder")->required();
  backup_verb->footer("example: kflow store backup /var/backups/kflow");
  auto* file_verb = store_verb->add_subcommand("file", "write a file that the store holds");
  file_verb->add_option("SHA256", target, "as runs show it")->required();
  file_verb->add_option("-o", file, "where to; else standard output");
  file_verb->footer("example: kflow store file 9f86d0…0a08 -o cat.png");
  auto* compact_verb = store_verb->add_subcommand("compact", "the same without free space");
  compact_verb->add_option("FOLDER", file, "a new folder")->required();
  compact_verb->footer("example: kflow store compact /var/lib/kflow.new");

  const ShellVerbs shell(app);

  McpSyncOptions syncing;
  auto* mcp_verb = app.add_subcommand("mcp", "servers of the Model Context Protocol");
  mcp_verb->require_subcommand(1);
  auto* sync_verb = mcp_verb->add_subcommand(
      "sync", "ask the servers that files declare for their tools, and write kflow.lock.json");
  sync_verb->add_option("FILE", syncing.files, "the .kflow files")->required();
  sync_verb->add_flag("--check", syncing.check, "write nothing; fail if the lock is out of date");
  sync_verb->footer("example: kflow mcp sync research.kflow");

  auto* work_verb = app.add_subcommand("work", "")->group("");
  work_verb->add_option("RUN", target)->required();

  if (const auto status = read_command_line(app, argc, argv, other_names)) return *status;
  if (const auto text = shell.text(KFLOW_VERSION, "kflow ps --ids")) {
    std::fputs(text->c_str(), stdout);
    return Exit::ok;
  }
  if (run_verb->parsed()) return run(common, running);
  if (chat_verb->parsed()) return chat(common, chatting);
  if (test_verb->parsed()) return test(common, testing);
  if (ps_verb->parsed()) return ps(common, listing);
  if (get_verb->parsed()) return get(common, getting);
  if (watch_verb->parsed()) return watch(common, watching);
  if (why_verb->parsed()) return why(common, target);
  if (resume_verb->parsed()) return resume(common, resuming);
  if (cancel_verb->parsed()) return cancel(common, targets, reason, kill);
  if (signal_verb->parsed()) return signal(common, signalling);
  if (answer_verb->parsed()) return answer(common, answering);
  if (fork_verb->parsed()) return fork(common, forking);
  if (export_verb->parsed()) return export_run(common, target, file);
  if (import_verb->parsed()) return import_run(common, file, new_id);
  if (rm_verb->parsed()) return kflow::cli::remove(common, targets);
  if (gc_verb->parsed()) return gc(common, collecting);
  if (serve_verb->parsed()) return serve(common, serving);
  if (sync_verb->parsed()) return mcp_sync(common, syncing);
  if (info_verb->parsed()) return store_info(common);
  if (check_verb->parsed()) return store_check(common);
  if (file_verb->parsed()) return store_file(common, target, file);
  if (backup_verb->parsed() || compact_verb->parsed())
    return store_copy(common, file, compact_verb->parsed());
  return work(common, target);
}
