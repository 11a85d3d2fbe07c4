// The two command lines as a user types them: real programs, a store of their own.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/shell.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

using test::has;

class Project : public test::ShellFolder {
 public:
  Project()
      : ShellFolder(fs::path(KFLOW_CLI).parent_path().string() + ":" +
                    fs::path(KFLOWC_CLI).parent_path().string()) {
    fs::create_directories(path() / ".kflow");
  }
};

constexpr const char* family = R"(
workflow parent() -> string {
  step a = child(1) { label: "the child" }
  step ok = human.confirm("go on?")
  return "done ${a}"
}
workflow child(x: int) -> int { return x }
)";

}  // namespace

TEST_CASE("runs that people started are listed, and @last is one of them") {
  Project p;
  p.write("family.kflow", family);
  p.sh("kflow run family.kflow parent", 3);
  CHECK(has(p.errors, "waits for an answer"));
  const std::string listed = p.sh("kflow ps");
  CHECK(has(listed, "parent"));
  CHECK_FALSE(has(listed, "child"));
  CHECK(has(p.sh("kflow ps --children"), "child"));
  CHECK(has(p.sh("kflow why @last"), "asks: go on?"));
  CHECK(has(p.sh("kflow get @last"), "the child"));
  const std::string ids = p.sh("kflow ps --ids --status PAUSED");
  CHECK(ids.size() == 37);
  p.sh("kflow ps --watch --json", 2);
  p.sh("kflow ps --status NONE", 2);
  CHECK(has(p.errors, "PENDING RUNNING PAUSED"));
  CHECK(has(p.sh("timeout 2 kflow ps --watch", 124), "PAUSED"));
  p.sh("kflow answer @last --approve");
  CHECK(has(p.sh("kflow get @last --wait"), "done 1"));
  p.sh("kflow rm @last");
  CHECK(p.sh("kflow ps --children --ids").empty());
  p.sh("kflow get @last", 1);
  CHECK(has(p.errors, "there are no runs yet"));
}

TEST_CASE("what a log step says stands among the run's lines, in order") {
  Project p;
  p.write("log.kflow", R"(
    workflow w() {
      try { step risky = exec.run(["false"]) } catch err { step log("caught ${err.kind}") }
      step after = uuid()
      step log({n: 1})
    }
  )");
  p.sh("kflow run log.kflow");
  const size_t failed = p.errors.find("✗ risky failed");
  const size_t caught = p.errors.find("» caught exec\n");
  const size_t after = p.errors.find("✓ after");
  const size_t last = p.errors.find("» {");
  CAPTURE(p.errors);
  CHECK(failed < caught);
  CHECK(caught < after);
  CHECK(after < last);
  CHECK(last != std::string::npos);
  p.sh("kflow watch @last");
  CHECK(has(p.errors, "» caught exec\n"));
  p.sh("kflow run --quiet log.kflow");
  CHECK_FALSE(has(p.errors, "caught"));
}

TEST_CASE("why and answer look into the runs that a run waits for") {
  Project p;
  p.write("family.kflow", R"(
    workflow top() -> bool { step a = middle()  return a }
    workflow middle() -> bool { step b = bottom()  return b }
    workflow bottom() -> bool { step ok = human.confirm("really?")  return ok }
  )");
  p.sh("kflow run family.kflow top --background");
  for (int i = 0; i < 100 && !has(p.sh("kflow why @last"), "really?"); ++i) ::usleep(50'000);
  const std::string why = p.sh("kflow why @last");
  CHECK(has(why, "step `a` waits for run"));
  CHECK(has(why, "\n  step `b` waits for run"));
  CHECK(has(why, "\n    step `ok` asks: really?"));
  CHECK_FALSE(has(why, "no process"));
  p.sh("kflow answer @last --approve", 1);
  CHECK(has(p.errors, "asks nothing at present; runs that it waits for do:\n"));
  const size_t at = p.errors.find("`kflow answer ") + 14;
  p.sh("kflow answer " + p.errors.substr(at, 8) + " --approve");
  CHECK(has(p.sh("kflow get @last --wait"), "true"));
}

TEST_CASE("a run is not taken by a process that lacks what it needs, which says what that is") {
  Project project;
  project.write("needs.kflow", R"(
secret TOKEN
workflow w() -> string {
  step ok = human.confirm("go on?")
  step page = http.get("http://127.0.0.1:1/", bearer: TOKEN) { on_error: continue }
  return "done"
}
)");
  // With the secret: it asks, and the terminal that is none leaves it paused.
  project.sh("TOKEN=t kflow run needs.kflow", 3);
  CHECK(has(project.sh("kflow why @last"), "without the secret `TOKEN` (set the environment"));
  CHECK_FALSE(has(project.sh("TOKEN=t kflow why @last"), "TOKEN"));
  project.sh("kflow resume @last", 5);
  CHECK(has(project.errors, "needs what this process does not have: the secret `TOKEN`"));
  // The answer is kept; nobody here goes on with it, and that is said.
  project.sh("kflow answer @last --approve");
  CHECK(has(project.errors, "it is not continued here"));
  project.sh("kflow resume --all", 1);
  CHECK(has(project.errors, "the secret `TOKEN`"));
  CHECK(has(project.sh("TOKEN=t kflow resume @last"), "done"));
}

TEST_CASE("a run goes on with a program in which things have other names") {
  Project p;
  p.write("old.kflow", R"(workflow report(topic: string) -> string {
  step first = uuid()
  step gate = human.confirm("go on?")
  return "${topic} ${first} ${gate}"
}
)");
  const std::string now =
      R"(workflow summary(subject: string @was("topic")) -> string @was("report") {
  step id @was("first") = uuid()
  step agreed @was("gate") = human.confirm("go on?")
  return "${subject} ${id} ${agreed}"
}
)";
  p.write("new.kflow", now);
  std::string silent = now;
  silent.replace(silent.find(" @was(\"first\")"), 14, "");
  p.write("silent.kflow", silent);
  p.sh("kflow run old.kflow -i topic=x --id r", 3);
  const std::string recorded = p.sh("kflow get r --step first");
  // A new name alone is another step.
  p.sh("kflow resume r --program silent.kflow", 1);
  CHECK(has(p.errors, "`first` (line 2) has run, and the new program has the step `id`"));
  p.sh("kflow resume r --program new.kflow", 3);
  CHECK(p.sh("kflow get r --step id") == recorded);
  CHECK(p.sh("kflow get r --step first") == recorded);
  p.sh(R"(kflow fork r --from agreed --set "id=\"u\"" --id s)");
  p.sh("kflow fork r --from id -i subject=y --id q");
  for (const char* run : {"r", "s", "q"}) {
    if (run[0] == 'q') p.sh("kflow resume q", 3);
    p.sh(std::string("kflow answer ") + run + " --approve");
  }
  CHECK(has(p.sh("kflow get r --wait"), "x "));
  CHECK(has(p.sh("kflow get s --wait"), "x u true"));
  CHECK(has(p.sh("kflow get q --wait"), "y "));
}

// One whose own run has ended stays for the timers of others: it must not ask again and again.
TEST_CASE("a worker that waits for timers alone uses no processor") {
  Project p;
  p.write("w.kflow",
          "workflow sleeps() { step sleep(1h) }\nworkflow quick() -> int { step a = uuid()  return "
          "1 }");
  p.sh("kflow run w.kflow sleeps --background --id sleeper");
  p.sh("kflow run w.kflow quick --background --id quick");
  p.sh("kflow get quick --wait");
  CHECK(std::atoi(p.sh("pgrep -c -f \"kflow work --store $PWD\"").c_str()) >= 1);
  // Ticks of processor time of both workers at the end of three seconds, of which there are
  // hundreds.
  const std::string used = p.sh(
      "stats=$(pgrep -f \"kflow work --store $PWD\" | sed \"s|.*|/proc/&/stat|\"); "
      "ticks() { cat $stats | awk \"{ sum += \\$14 + \\$15 } END { print sum }\"; }; "
      "before=$(ticks); sleep 3; echo $(( $(ticks) - before ))");
  INFO(used);
  CHECK(std::atoi(used.c_str()) < 60);
  CHECK_FALSE(used.empty());
  p.sh("kflow cancel sleeper");
  CHECK(has(p.sh("kflow get sleeper --wait", 4), "CANCELLED"));
}

TEST_CASE("gc says what it does, and what it would do") {
  Project p;
  p.write("one.kflow", "workflow w() -> int { return 1 }");
  p.write("kflow.yaml", "retention: { age: 1ms, deltas: 1ms }\n");
  p.sh("kflow run one.kflow");
  p.sh("kflow gc --dry-run");
  CHECK(has(p.errors, "1 run would be removed"));
  const auto report = cel::from_json(p.sh("kflow gc --json"));
  REQUIRE(report);
  CHECK(*report->find("runs") == cel::Value::integer(1));
  CHECK(report->find("trimmed_runs") != nullptr);
  p.sh("kflow gc --older-than yesterday", 2);
  CHECK(has(p.errors, "`yesterday` is no duration"));
}

TEST_CASE("completions and the manual page come from the command line itself") {
  Project p;
  for (const std::string program : {"kflow", "kflowc"}) {
    const std::string list = program == "kflow" ? "resume" : "check";
    p.write("try.sh", "source ./script\nCOMP_WORDS=(" + program + " " + list.substr(0, 3) +
                          ")\nCOMP_CWORD=1\n_" + program + "\necho \"${COMPREPLY[@]}\"\n");
    p.sh(program + " completion bash > script");
    CHECK(p.sh("bash try.sh") == list + "\n");
    CHECK(has(p.sh(program + " completion zsh"), "#compdef " + program));
    CHECK(has(p.sh(program + " completion fish"), "complete -c " + program));
    p.sh(program + " completion tcsh", 2);
    const std::string page = p.sh(program + " man");
    CHECK(has(page, ".SS " + program + " " + list));
    CHECK(has(page, ".SH EXIT STATUS"));
    CHECK_FALSE(has(page, " work "));  // hidden
  }
  p.sh("kflow completion bash > script");
  p.write("try.sh",
          "source ./script\nCOMP_WORDS=(kflow store c)\nCOMP_CWORD=2\n_kflow\necho "
          "\"${COMPREPLY[@]}\"\n");
  CHECK(p.sh("bash try.sh") == "check compact\n");
}

TEST_CASE("kflowc fmt lays files out in place, or says what it would do") {
  Project p;
  const std::string ugly = "workflow w()->int{\nreturn 1 }\n";
  const std::string good = "workflow w() -> int {\n  return 1\n}\n";
  p.write("a.kflow", ugly);
  p.write("good.kflow", good);
  p.sh("kflowc fmt --check a.kflow good.kflow", 1);
  CHECK(has(p.errors, "a.kflow is not formatted; `kflowc fmt a.kflow` does it"));
  CHECK_FALSE(has(p.errors, "good.kflow"));
  CHECK(p.sh("kflowc fmt --diff .") ==
        "--- ./a.kflow\n+++ ./a.kflow\n@@ -1,2 +1,3 @@\n-workflow w()->int{\n-return 1 }\n"
        "+workflow w() -> int {\n+  return 1\n+}\n");
  CHECK(p.sh("cat a.kflow") == ugly);
  CHECK(p.sh("cat a.kflow | kflowc fmt -") == good);
  // In place, with the file's permissions; a link stays one.
  p.sh("chmod 640 a.kflow; ln -s a.kflow b.kflow; kflowc fmt b.kflow");
  CHECK(has(p.errors, "formatted b.kflow"));
  CHECK(p.sh("cat a.kflow; stat -c %a a.kflow; readlink b.kflow") == good + "640\na.kflow\n");
  p.sh("kflowc fmt --check .");
  CHECK(p.errors.empty());
  // What does not parse is left alone; the others are done.
  p.write("bad.kflow", "workflow w( {");
  p.write("a.kflow", ugly);
  p.sh("kflowc fmt .", 1);
  CHECK(has(p.errors, "error[KF1001]"));
  CHECK(has(p.errors, "bad.kflow` does not parse; it is left as it is"));
  CHECK(p.sh("cat bad.kflow a.kflow") == "workflow w( {" + good);
  p.sh("kflowc fmt missing.kflow", 1);
  CHECK(has(p.errors, "cannot read `missing.kflow`"));
  p.sh("mkdir empty; kflowc fmt empty", 2);
  p.sh("kflowc fmt", 2);
}

TEST_CASE("kflow test: reports, and exit statuses") {
  Project p;
  p.write("good.kflow",
          "workflow w() -> int { step sleep(30d)  return 1 }\n"
          "test \"one\" { run out = w()  expect out.result == 1 }\n");
  CHECK(has(p.sh("kflow test good.kflow"), "✓ one"));
  CHECK(has(p.sh("kflow test ."), "1 test, all passed"));
  CHECK(p.sh("ls -A .kflow").empty());  // no store is made
  p.write("bad.kflow",
          "workflow w() -> int { return 1 }\n"
          "test \"two\" { run out = w()  expect out.result == 2 }\n"
          "test \"three\" { expect true }\n");
  const std::string both = p.sh("kflow test .", 1);
  CHECK(has(both, "✗ two"));
  CHECK(has(both, "out.result  1"));
  CHECK(has(both, "3 tests, 1 failed"));
  CHECK(has(p.sh("kflow test --format tap .", 1), "not ok 1 - ./bad.kflow: two"));
  CHECK(has(p.sh("kflow test --json .", 1), "\"passed\":false"));
  CHECK(p.sh("kflow test --format junit -o report.xml .", 1).empty());
  CHECK(has(p.sh("cat report.xml"), "<testcase name=\"two\""));
  CHECK(has(p.sh("kflow test --filter thr ."), "1 test, all passed"));
  p.sh("kflow test --filter nothing .", 1);
  CHECK(has(p.errors, "no test has `nothing` in its name"));
  p.write("broken.kflow", "test \"x\" { run out = nobody() }\n");
  CHECK(has(p.sh("kflow test broken.kflow", 1), "1 file cannot be tested"));
  CHECK(has(p.errors, "error[KF2008]"));
  p.sh("kflow test missing.kflow", 1);
  p.write("none.kflow", "workflow w() -> int { return 1 }\n");
  p.sh("kflow test none.kflow", 1);
  CHECK(has(p.errors, "there are no tests"));
}

TEST_CASE("kflowc new: what it makes checks, tests and runs at once") {
  Project p;
  CHECK(has(p.sh("kflowc new report"), "kflow run report.kflow"));
  p.sh("cd report && kflowc check . && kflowc fmt --check .");
  CHECK(has(p.sh("cd report && kflow test ."), "2 tests, all passed"));
  const std::string result = p.sh("cd report && env -i PATH=\"$PATH\" kflow run report.kflow");
  CHECK(has(result, "| README.md |"));
  CHECK(has(p.sh("cd report && kflow ps"), "report"));
  CHECK(has(p.sh("ls -a report"), ".gitignore"));
  CHECK(has(p.sh("cat report/.vscode/settings.json"), "formatOnSave"));
  p.sh("kflowc new report", 2);
  CHECK(has(p.errors, "`report` exists already"));
  p.sh("kflowc new loop", 2);
  CHECK(has(p.errors, "is no name for a project"));
  p.sh("kflowc new no-name", 2);
  p.sh("kflowc new deeper/still/name && cd deeper/still/name && kflowc check .");
  p.sh("kflowc new /proc/name", 1);
  CHECK(has(p.errors, "cannot make `/proc/name`"));
}

TEST_CASE("kflowc graph and doc") {
  Project p;
  p.write("a.kflow",
          "/// Does it.\nworkflow first(topic: string) { step sleep(1h) }\n"
          "workflow second() { step first(\"x\") }\n");
  p.sh("kflowc graph a.kflow", 2);
  CHECK(has(p.errors, "name one of first, second"));
  p.sh("kflowc graph a.kflow third", 2);
  CHECK(has(p.errors, "nothing that can be drawn is named `third`"));
  CHECK(has(p.sh("kflowc graph a.kflow first"), "flowchart TD"));
  CHECK(has(p.sh("kflowc graph --format dot a.kflow second"), "digraph"));
  p.sh("kflowc graph --format svg -o out.svg a.kflow second");
  CHECK(has(p.sh("cat out.svg"), "</svg>"));
  p.sh("kflowc graph --format png a.kflow first", 2);
  p.sh("kflowc graph missing.kflow", 1);
  p.write("bad.kflow", "workflow w( {");
  p.sh("kflowc graph bad.kflow", 1);
  CHECK(has(p.errors, "error[KF1001]"));

  const std::string page = p.sh("kflowc doc a.kflow");
  CHECK(has(page, "# a\n\n## Workflows\n\n### `first`\n\nDoes it.\n"));
  p.sh("mkdir lib; cp a.kflow lib/b.kflow; kflowc doc -o pages a.kflow lib");
  CHECK(p.sh("ls pages") == "a.md\nb.md\n");
  p.sh("kflowc doc bad.kflow a.kflow", 1);
  CHECK(has(p.errors, "error[KF1001]"));
  p.sh("mkdir empty; kflowc doc empty", 2);
}

TEST_CASE("a wrong command line is told what to type") {
  Project p;
  const struct {
    const char* typed;
    const char* said;
  } rows[] = {
      {"kflow gett @last", "kflow: error: there is no verb `gett`; did you mean `get`"},
      {"kflow show @last", "kflow: error: there is no verb `show`; `kflow get` does that"},
      {"kflow check x.kflow", "`kflowc check` does that"},
      {"kflow frobnicate", "kflow: error: there is no verb `frobnicate`\n"},
      {"kflowc run x.kflow", "kflowc: error: there is no verb `run`; `kflow run` does that"},
      {"kflow run", "kflow run: error: FILE is required\nkflow run: `kflow run --help` shows"},
      {"kflow run x.kflow --inputs=1", "there is no option `--inputs`; did you mean `--input`?"},
      {"kflow run x.kflow -i", "kflow run: error: -i: "},
      {"kflow ps --limit many", "kflow ps: error: "},
      {"kflow why a b", "kflow why: error: `b` is one argument too many"},
      {"kflow store", "kflow store: error: which of its verbs? info, check, backup, file, compact"},
      {"kflow store inof", "kflow store: error: there is no verb `inof`; did you mean `info`?"},
      {"kflow --colour never ps", "there is no option `--colour`; did you mean `--color`?"},
      {"kflow", "Usage: kflow"},
      {"kflowc --json", "kflowc: error: "},
  };
  for (const auto& row : rows) {
    INFO(row.typed);
    const std::string out = p.sh(row.typed, 2);
    CAPTURE(p.errors);
    CHECK(out.empty());
    CHECK(has(p.errors, row.said));
  }
  CHECK(has(p.sh("kflow run --help"), "example: kflow run"));
  CHECK(has(p.sh("kflow --version"), "kflow "));
}

TEST_CASE("every verb has an example") {
  Project p;
  for (const std::string program : {"kflow", "kflowc"}) {
    const std::string page = p.sh(program + " man");
    size_t verbs = 0;
    size_t examples = 0;
    for (size_t at = page.find(".SS "); at != std::string::npos; at = page.find(".SS ", at + 1))
      ++verbs;
    for (size_t at = page.find("\nexample: "); at != std::string::npos;
         at = page.find("\nexample: ", at + 1))
      ++examples;
    CHECK(verbs > (program == "kflow" ? 20U : 5U));
    CHECK(verbs == examples);
  }
}

TEST_CASE("a result is Markdown on a terminal, and the text itself elsewhere") {
  Project p;
  p.write("md.kflow", R"k(workflow w() -> string {
  return """
    # Title
    Some **bold** and `code` and [a link](https://example.org).

    - one
    - two
      1. inner
    - [x] done

    | a | bb |
    |---|----|
    | 1 | 2  |

    ```
    x = 1
    ```
    > said
    """
})k");
  const std::string plain = p.sh("kflow run md.kflow");
  CHECK(has(plain, "# Title"));
  CHECK(has(plain, "| 1 | 2  |"));
  const std::string shown = p.sh("kflow run md.kflow --color always");
  CHECK(has(shown, "\x1b[1;4mTitle\x1b[0m"));
  CHECK(has(shown, "\x1b[1mbold\x1b[0m"));
  CHECK(has(shown, "\x1b[36mcode\x1b[0m"));
  CHECK(has(shown, "(https://example.org)"));
  CHECK(has(shown, "• one\n• two\n  1. inner\n☑ done\n"));
  CHECK(has(shown, "\n1  2\n"));
  CHECK(has(shown, "    x = 1\n"));
  CHECK(has(shown, "│\x1b[0m said"));
  // What a model writes does not drive the terminal.
  p.write("evil.kflow",
          "workflow w() -> string { return \"a\\u001b]0;title\\u0007b\\u001b[2Jc\" }");
  CHECK(p.sh("kflow run evil.kflow --color always") == "a]0;titleb[2Jc\n");
}

TEST_CASE("get shows the end of a very long run, what still waits, and all of it if asked") {
  Project p;
  p.write("long.kflow", R"(
workflow long_one(n: int) -> string {
  step first = uuid()
  parallel {
    step held = human.confirm("go on?")
    loop past { max: n  let x = iteration * 2 }
  }
  step last = uuid()
  return "done"
}
)");
  p.sh("kflow run long.kflow -i n=9000", 3);
  const std::string open = p.sh("kflow get @last");
  CHECK(has(open, "events before them are not listed (--all)"));
  CHECK(has(open, "held"));  // it began long before the end of the log
  CHECK_FALSE(has(open, "first"));
  const auto counted = cel::from_json(p.sh("kflow get @last --json"));
  REQUIRE(counted);
  CHECK(counted->find("events_left_out")->as_int() > 0);
  p.sh("kflow answer @last --approve");
  p.sh("kflow get @last --wait");
  const std::string ended = p.sh("kflow get @last");
  CHECK(has(ended, "last"));
  CHECK(has(ended, "done"));
  CHECK_FALSE(has(ended, "first"));
  const std::string all = p.sh("kflow get @last --all");
  CHECK(has(all, "first"));
  CHECK(has(all, "last"));
  CHECK_FALSE(has(all, "not listed"));
  CHECK(has(p.sh("kflow get @last --step first"), "COMPLETED"));
  CHECK(has(p.sh("kflow get @last --input"), "9000"));
}
