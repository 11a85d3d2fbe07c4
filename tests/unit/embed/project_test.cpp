// A project's kflow.yaml, read by an embedding program as the command line reads it.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "kflow/kflow.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
namespace kf = kflow::embed;

namespace {

constexpr int patience_ms = 20'000;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("kflow-project-" + std::to_string(::getpid()));
  Folder() {
    fs::remove_all(path);
    fs::create_directories(path / "shop");
    fs::create_directories(path / "data");
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  void write(const char* name, const std::string& text) const {
    std::ofstream(path / name) << text;
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

kf::Program compile(const char* text) {
  auto program = kf::compile_text("project.kflow", text);
  if (!program) FAIL(program.error().message);
  return *program;
}

std::string outcome(kf::Engine& engine, const kf::Program& program, const kf::Value& input = {}) {
  const auto id = engine.start(program, "main", input);
  if (!id) return "refused: " + id.error().message;
  const auto ended = engine.await(*id, patience_ms);
  REQUIRE(ended);
  if (ended->status != kf::Status::completed) return ended->error.message;
  return ended->value.as_text().value_or(ended->value.json());
}

}  // namespace

TEST_CASE("a project: file roots, secrets, models, the quota of its store") {
  const Folder folder;
  folder.write("data/note.txt", "from next door");
  folder.write("token", "hush\n");
  folder.write("shop/kflow.yaml",
               "files: { roots: [., ../data] }\n"
               "secrets: { TOKEN: { file: ../token } }\n"
               "models: { openai: { api_key: KFLOW_TEST_NO_SUCH_KEY, base_url: "
               "\"http://127.0.0.1:1/v1\" } }\n"
               "store: { max_mib: 1 }\n");
  const auto project = kf::Project::open((folder.path / "shop").string());
  REQUIRE(project);
  CHECK(project->root() == (folder.path / "shop").string());
  CHECK(kf::Project::open((folder.path / "shop/").string())->root() == project->root());
  CHECK(kf::Project::open((folder.path / "shop/kflow.yaml").string())->root() == project->root());

  const auto reads = compile(R"(workflow main(path: string) -> string {
    try { step a = file.read(path)  return a } catch err { return err.message }
  })");
  const kf::Value note = kf::Value::record({{"path", (folder.path / "data/note.txt").string()}});
  const auto calls = compile(R"(
    secret TOKEN
    workflow main() -> string {
      try { step a = http.get("http://127.0.0.1:1/", bearer: TOKEN) { retry: { max: 1 } } } catch err { return err.message }
      return "answered"
    })");
  const auto asks = compile(R"(
    agent helper { model: "openai/gpt-5.2" }
    workflow main() -> string { step a = helper("hello")  return a }
  )");
  kf::EngineOptions options;
  options.project = *project;
  auto with = kf::Engine::open(kf::Store::in_memory(), options);
  REQUIRE(with);
  CHECK(outcome(*with, reads, note) == "from next door");
  CHECK(has(outcome(*with, calls), "127.0.0.1"));
  CHECK(has(outcome(*with, asks), "KFLOW_TEST_NO_SUCH_KEY"));

  // What is said beside the project goes first; without one, nothing of it is known.
  options.secret = [](std::string_view) { return std::nullopt; };
  options.file_roots = {project->root()};
  auto stricter = kf::Engine::open(kf::Store::in_memory(), options);
  REQUIRE(stricter);
  CHECK_FALSE(has(outcome(*stricter, reads, note), "from next door"));
  CHECK(has(outcome(*stricter, calls), "TOKEN"));
  auto without = kf::Engine::open(kf::Store::in_memory());
  REQUIRE(without);
  CHECK_FALSE(has(outcome(*without, reads, note), "from next door"));
  CHECK(has(outcome(*without, calls), "TOKEN"));

  const char* named = std::getenv("KFLOW_STORE");
  const std::string kept = named == nullptr ? "" : named;
  ::unsetenv("KFLOW_STORE");
  const auto store = project->open_store(kf::Durability::none);
  REQUIRE(store);
  CHECK(fs::exists(folder.path / "shop/.kflow/data.mdb"));
  auto small = kf::Engine::open(*store);
  REQUIRE(small);
  const auto echo = compile("workflow main(text: string) -> string { return text }");
  CHECK(outcome(*small, echo, kf::Value::record({{"text", "short"}})) == "short");
  std::string refused;
  for (uint64_t i = 0, x = 1; i < 40 && refused.empty(); ++i) {
    std::string noise;
    while (noise.size() < (100U << 10U)) {
      x = x * 6364136223846793005U + 1442695040888963407U;
      noise += static_cast<char>('a' + (x >> 33U) % 26);
    }
    const std::string came = outcome(*small, echo, kf::Value::record({{"text", noise}}));
    if (came != noise) refused = came;
  }
  INFO(refused);
  CHECK(has(refused, "refused: "));
  CHECK(has(refused, "1 MiB"));
  if (named != nullptr) ::setenv("KFLOW_STORE", kept.c_str(), 1);
}

TEST_CASE("a project that is none, or whose file is wrong") {
  const Folder folder;
  CHECK(kf::Project::open((folder.path / "none").string()).error().code ==
        kf::ErrorCode::not_found);
  folder.write("token", "x");
  CHECK(kf::Project::open((folder.path / "token").string()).error().code ==
        kf::ErrorCode::invalid_argument);
  folder.write("shop/kflow.yaml", "fils: { roots: [.] }\nstore: { max_mib: many }\n");
  const auto wrong = kf::Project::open((folder.path / "shop").string());
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code == kf::ErrorCode::invalid_argument);
  CHECK(has(wrong.error().message, "fils"));
  CHECK(has(wrong.error().message, "max_mib"));
  CHECK(kf::Project::open((folder.path / "data").string()));  // no file: the defaults
}
