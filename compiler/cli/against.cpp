// Takes the old files out of git, compiles them, and asks whether every run of them could go on.
#include "compiler/cli/against.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "compiler/ir/successor.hpp"
#include "compiler/source/source.hpp"

extern char** environ;  // NOLINT: POSIX

namespace kflow::cli {
namespace {

namespace fs = std::filesystem;

// Standard output of `git ARGS…`; an error if git is missing or refuses.
Result<std::string> git(std::vector<std::string> args) {
  args.insert(args.begin(), "git");
  std::vector<char*> argv;
  for (std::string& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  int out[2];
  if (::pipe2(out, O_CLOEXEC) != 0) return fail(ErrorCode::io, std::strerror(errno));
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, "git", &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  std::string text;
  char buffer[1U << 14];
  for (;;) {
    const ssize_t n = error == 0 ? ::read(out[0], buffer, sizeof buffer) : 0;
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  ::close(out[0]);
  if (error != 0) return fail(ErrorCode::unavailable, "`git` is needed and cannot be started");
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(ErrorCode::invalid_argument, "git refused");
  return text;
}

// Files that a compilation may look at.
bool is_wanted(std::string_view path) {
  return path.ends_with(".kflow") || path.ends_with("kflow.lock.json") ||
         path.ends_with("kflow.yaml");
}

// The name of a workflow where the new file declares it, else the file's beginning.
source::Span place_of(const driver::Compilation& now, const std::string& workflow) {
  const source::FileId root(0U);
  const std::string_view text = (*now.sources)[root].text();
  const std::string name = workflow.substr(workflow.rfind('.') + 1);
  for (size_t at = text.find("workflow"); at != std::string_view::npos;
       at = text.find("workflow", at + 1)) {
    const size_t begin = text.find_first_not_of(" \t\n", at + 8);
    if (begin == std::string_view::npos || text.substr(begin, name.size()) != name) continue;
    const size_t end = begin + name.size();
    const bool whole = end == text.size() || text.find_first_of(" \t\n({", end) == end;
    if (whole) return {root, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
  }
  return {root, 0, 0};
}

void compare_programs(const ir::Program& before, driver::Compilation& now,
                      const std::string& revision) {
  // The run that has come furthest: it has been everywhere.
  ir::Progress everywhere;
  for (uint32_t i = 0; i < before.nodes.size(); ++i) everywhere.visited.insert(ir::NodeId(i));
  for (uint32_t i = 0; i < before.callables.size(); ++i) {
    const ir::Callable& c = before.callables[i];
    if (c.kind != ir::CallableKind::workflow || c.name.find('.') != std::string::npos) continue;
    everywhere.workflow = ir::CallableId(i);
    const ir::Succession next = ir::succeed(before, *now.program, everywhere);
    if (next.problems.empty()) continue;
    auto d = now.sink.report(
        diagnostics::Kind::strands_runs, place_of(now, c.name),
        fmt::format("a run of `{}` as it was in {} could not be moved to this program", c.name,
                    revision));
    for (const std::string& problem : next.problems) d.note(problem);
    d.note(
        "runs that are under way keep their program; this is about `kflow fork` and "
        "`kflow resume --program`");
  }
}

}  // namespace

Revision::~Revision() {
  if (folder_.empty()) return;
  std::error_code error;
  fs::remove_all(folder_, error);
}

Result<void> Revision::open(const std::string& folder) {
  auto top = git({"-C", folder, "rev-parse", "--show-toplevel"});
  if (!top) {
    return fail(top.error().code == ErrorCode::unavailable ? ErrorCode::unavailable
                                                           : ErrorCode::invalid_argument,
                top.error().code == ErrorCode::unavailable
                    ? top.error().message
                    : fmt::format("`{}` is in no git repository", folder));
  }
  while (!top->empty() && top->back() == '\n') top->pop_back();
  auto names = git({"-C", *top, "ls-tree", "-r", "-z", "--name-only", "--end-of-options", name_});
  if (!names)
    return fail(ErrorCode::invalid_argument, fmt::format("git knows no revision `{}`", name_));
  char made[] = "/tmp/kflow-revision-XXXXXX";
  if (::mkdtemp(made) == nullptr)
    return fail(ErrorCode::io, fmt::format("cannot make a folder: {}", std::strerror(errno)));
  folder_ = made;
  for (size_t begin = 0; begin < names->size();) {
    const size_t end = names->find('\0', begin);
    const std::string path = names->substr(begin, end - begin);
    begin = end == std::string::npos ? names->size() : end + 1;
    if (!is_wanted(path)) continue;
    const auto text = git({"-C", *top, "show", "--end-of-options", name_ + ":" + path});
    if (!text) continue;
    std::error_code error;
    const fs::path target = fs::path(folder_) / path;
    fs::create_directories(target.parent_path(), error);
    std::ofstream out(target, std::ios::binary);
    out << *text;
    if (!out) return fail(ErrorCode::io, fmt::format("cannot write `{}`", target.string()));
  }
  top_ = *top;
  return {};
}

Result<void> Revision::compare(const std::string& path, driver::Compilation& now) {
  std::error_code error;
  const fs::path whole = fs::canonical(path, error);
  if (error || !now.program) return {};
  if (top_.empty()) {
    if (auto opened = open(whole.parent_path().string()); !opened) return opened;
  }
  const fs::path relative = whole.lexically_relative(fs::canonical(top_, error));
  const fs::path old = fs::path(folder_) / relative;
  if (relative.empty() || !fs::exists(old, error)) return {};
  const auto before = driver::compile_file(old.string());
  if (before && (*before)->program) compare_programs(*(*before)->program, now, name_);
  return {};
}

}  // namespace kflow::cli
