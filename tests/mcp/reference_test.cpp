// The reference servers of MCP, as a user meets them: files with locks, `mcp sync --check`, `run`.
// What `npx` starts is a recording of the real servers; with KFLOW_MCP=real they themselves (the
// test labelled `network`), and with KFLOW_MCP=record they are recorded anew.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/catch.hpp"

namespace fs = std::filesystem;

namespace {

const fs::path here = fs::path(KFLOW_SOURCE_DIR) / "tests/mcp";
const std::string fake = std::string(KFLOW_BINARY_DIR) + "/tests/support/fake-mcp";
const std::string kflow = std::string(KFLOW_BINARY_DIR) + "/runtime/cli/kflow";
const std::string kflowc = std::string(KFLOW_BINARY_DIR) + "/compiler/cli/kflowc";

std::string mode() {
  const char* value = std::getenv("KFLOW_MCP");
  return value == nullptr ? "replay" : value;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A project with one of the files, and an `npx` in the PATH before the real one.
class Project {
 public:
  explicit Project(const std::string& name)
      : recorded_(here / name),
        root_(fs::temp_directory_path() / ("kflow-mcp-" + name + std::to_string(::getpid()))) {
    fs::remove_all(root_);
    fs::create_directories(root_ / "bin");
    fs::create_directories(root_ / "work");
    for (const auto& entry : fs::directory_iterator(recorded_)) {
      if (entry.path().extension() == ".kflow") file_ = entry.path().filename().string();
    }
    fs::copy_file(recorded_ / file_, root_ / "work" / file_);
    if (fs::exists(recorded_ / "kflow.lock.json"))
      fs::copy_file(recorded_ / "kflow.lock.json", root_ / "work/kflow.lock.json");
    std::ofstream(root_ / "work/kflow.yaml") << "files: { roots: [data] }\n";
    fs::create_directories(root_ / "work/data");
    fs::remove("/tmp/kflow-mcp-memory.json");
  }
  ~Project() { fs::remove_all(root_); }

  /// Status and what was printed. `session`: the recording that stands for the server.
  std::pair<int, std::string> command(const std::string& line, const std::string& session) {
    const std::string recording = (recorded_ / (session + ".session")).string();
    const std::string npx = (root_ / "bin/npx").string();
    if (mode() != "real") {
      std::ofstream(npx) << "#!/bin/sh\nPATH=${PATH#*:}\nexec " << fake
                         << (mode() == "record" ? " --record " + recording + " npx \"$@\"\n"
                                                : " --replay " + recording + "\n");
      fs::permissions(npx, fs::perms::owner_all);
    }
    const std::string out = (root_ / "out").string();
    const std::string whole = "cd '" + (root_ / "work").string() + "' && PATH='" +
                              (root_ / "bin").string() + "':\"$PATH\" KFLOW_STORE='" +
                              (root_ / "store").string() + "' KFLOW_LOG=info timeout 120 " + line +
                              " >'" + out + "' 2>'" + out + ".err' </dev/null";
    const int status = std::system(whole.c_str());
    errors = read(out + ".err");
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read(out)};
  }

  void check() {
    if (mode() == "record") {
      const auto synced = command(kflowc + " mcp sync " + file_, "sync");
      INFO(synced.second << errors);
      REQUIRE(synced.first == 0);
      fs::copy_file(root_ / "work/kflow.lock.json", recorded_ / "kflow.lock.json",
                    fs::copy_options::overwrite_existing);
    } else {
      const auto synced = command(kflowc + " mcp sync --check " + file_, "sync");
      INFO(synced.second << errors);
      REQUIRE(synced.first == 0);
      CHECK(synced.second.find(", unchanged") != std::string::npos);
    }
    const auto ran = command(kflow + " run " + file_, "run");
    INFO(ran.second << errors);
    REQUIRE(ran.first == 0);
    if (mode() == "record") {
      std::ofstream(recorded_ / "expected.txt") << ran.second;
    } else {
      CHECK(ran.second == read(recorded_ / "expected.txt"));
    }
  }

  std::string errors;

 private:
  fs::path recorded_;
  fs::path root_;
  std::string file_;
};

}  // namespace

TEST_CASE("the filesystem server") { Project("filesystem").check(); }

TEST_CASE("the server with everything, and its progress") {
  Project project("everything");
  project.check();
  CHECK(project.errors.find("» all.trigger-long-running-operation: 1 of 2") !=
        std::string::npos);
}

TEST_CASE("the memory server") { Project("memory").check(); }
