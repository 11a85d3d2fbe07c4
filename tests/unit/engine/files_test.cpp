// Files of the store on a real engine and store: downloads, uploads, paths, shared values, models.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "compiler/cel/base64.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/portable.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/support/byte_server.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"

using namespace kflow;
namespace fs = std::filesystem;
using machine::RunStatus;
using test::ByteAnswer;

namespace {

constexpr int patience_ms = 60'000;
constexpr uint64_t large = 3'000'000;

std::string generated(uint64_t size) {
  std::string out(size, '\0');
  for (uint64_t i = 0; i < size; ++i) out[i] = test::generated_byte(i);
  return out;
}

std::shared_ptr<const ir::Program> compile(const std::string& text) {
  auto compiled = driver::compile_text("files.kflow", text);
  REQUIRE(compiled);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct World {
  explicit World(std::map<std::string, ByteAnswer> answers = {}, const std::string& script = "")
      : root(fs::temp_directory_path() / ("kflow-files-" + std::to_string(::getpid()))),
        server(std::move(answers)),
        model(script) {
    fs::remove_all(root);
    fs::create_directories(root / "project");
    store = store::open_lmdb_store((root / "store").string(), {}).value();
    engine::EngineOptions options;
    options.activities.file_roots = {(root / "project").string()};
    for (const char* provider : {"openai", "openai_chat", "anthropic", "gemini"}) {
      const bool openai = std::string_view(provider).starts_with("openai");
      options.activities.models[provider].base_url = model.base_url() + (openai ? "/v1" : "");
    }
    auto opened = engine::Engine::open(store, std::move(options));
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  ~World() {
    engine.reset();
    store.reset();
    fs::remove_all(root);
  }
  store::RunHeader run(const std::string& text, const engine::StartOptions& options = {},
                       const cel::Value& input = cel::Value::map({})) {
    const auto program = compile(text);
    auto started = engine->start(program, program->find("w"), input, options);
    if (!started) FAIL(started.error().message);
    auto header = engine->wait(started->key, patience_ms);
    REQUIRE(header);
    return *header;
  }
  std::variant<cel::Value, machine::RunError> outcome(const store::RunHeader& header) {
    return *engine::read_outcome(*store, header.key);
  }
  cel::Value value(const std::string& text) {
    const store::RunHeader header = run(text);
    INFO(header.error);
    REQUIRE(header.status == RunStatus::completed);
    return std::get<cel::Value>(outcome(header));
  }
  machine::RunError error(const std::string& text) {
    const store::RunHeader header = run(text);
    REQUIRE(header.status == RunStatus::error);
    return std::get<machine::RunError>(outcome(header));
  }
  std::string url(const std::string& path) const { return server.base_url() + path; }
  size_t stored_files() const {
    size_t n = 0;
    std::error_code failed;
    for (const auto& e : fs::recursive_directory_iterator(root / "store" / "blobs", failed))
      n += e.is_regular_file() && e.path().filename() != "lock";
    return n;
  }
  void forget(const store::RunHeader& header) {
    REQUIRE(store->remove(header.key));
    CHECK(store->check().value().empty());
  }

  const fs::path root;
  test::ByteServer server;
  test::FakeModel model;
  std::shared_ptr<store::Store> store;
  std::unique_ptr<engine::Engine> engine;
};

}  // namespace

TEST_CASE("what a tool returns is shown to a model that can see it") {
  const std::string script =
      R"([{"contains": "What `draw` returned", "answers": [{"text": "a cat"}]},
          {"contains": "draw", "answers": [{"calls": [{"name": "draw", "arguments": {}}]}]}])";
  for (const std::string provider : {"openai", "openai_chat", "anthropic", "gemini"}) {
    INFO(provider);
    World world({}, script);
    std::ofstream(world.root / "project" / "cat.png", std::ios::binary) << "\x89PNG-octets";
    std::ofstream(world.root / "project" / "notes.txt") << "only its name";
    const cel::Value said = world.value(R"(
    model m { provider: ")" + provider + R"("  id: "x" }
    /// Draws a picture.
    tool draw() -> file[] {
      step picture = file.open("cat.png")
      step notes = file.open("notes.txt")
      return [picture, notes]
    }
    agent painter { model: m  tools: [draw] }
    workflow w() -> string {
      step said = painter("draw something")
      return said
    })");
    CHECK(cel::to_json(said) == "\"a cat\"");
    const auto asked = world.model.requests();
    REQUIRE(asked.size() == 2);
    CHECK(asked[1].find("iVBORy1vY3RldHM=") != std::string::npos);  // the picture, in base64
    CHECK(asked[1].find("notes.txt") != std::string::npos);
    CHECK(asked[1].find("b25seSBpdHMgbmFtZQ") == std::string::npos);
  }
}

TEST_CASE("a download goes into the store, and out again to a path and to a server") {
  World world(
      {{"/pictures/cat.png?size=big", {.headers = "Content-Type: image/png\r\n", .length = large}},
       {"/take", {.body = "thanks"}}});
  const store::RunHeader run = world.run(R"(
    workflow w() -> string {
      step cat = http.download(")" + world.url("/pictures/cat.png?size=big") +
                                         R"(")
      step saved = file.save(cat, "out/cat.png")
      step sent = http.put(")" + world.url("/take") +
                                         R"(", body: cat)
      step form = http.post(")" + world.url("/take") +
                                         R"(", multipart: { title: "A cat", pictures: [cat, cat] })
      return "${cat.name} ${cat.media_type} ${cat.size} ${cat.sha256}"
    })");
  INFO(run.error);
  REQUIRE(run.status == RunStatus::completed);
  const std::string bytes = generated(large);
  CHECK(std::get<cel::Value>(world.outcome(run)).as_string() ==
        "cat.png image/png 3000000 " + to_hex(sha256(bytes)));
  CHECK(text_of(world.root / "project" / "out" / "cat.png") == bytes);
  CHECK(world.stored_files() == 1);
  const auto requests = world.server.requests();
  REQUIRE(requests.size() == 3);
  CHECK(requests[1].head.starts_with("PUT "));
  CHECK(requests[1].head.find("Content-Type: image/png") != std::string::npos);
  CHECK(requests[1].size == large);
  CHECK(requests[1].hash == sha256(bytes));
  CHECK(requests[2].head.find("multipart/form-data") != std::string::npos);
  CHECK(requests[2].size > 2 * large);
  CHECK(requests[2].begin.find("name=\"title\"\r\n\r\nA cat") != std::string::npos);
  CHECK(requests[2].begin.find("filename=\"cat.png\"") != std::string::npos);
  // An export carries the file; the run goes, its file with it; an import brings both back.
  std::string exported;
  REQUIRE(engine::export_run(*world.store, run, [&](std::string_view piece) -> Result<void> {
    exported += piece;
    return {};
  }));
  world.forget(run);
  CHECK(world.stored_files() == 0);
  size_t at = 0;
  auto imported = engine::import_run(
      *world.store,
      [&](std::span<char> into) -> Result<size_t> {
        const size_t n = std::min(into.size(), exported.size() - at);
        std::copy_n(exported.data() + at, n, into.data());
        at += n;
        return n;
      },
      "again");
  if (!imported) FAIL(imported.error().message);
  CHECK(world.store->blob(sha256(bytes)).value() == bytes);
  CHECK(world.store->check().value().empty());
  // Cut off or changed it is refused, and nothing of it stays.
  for (const bool cut : {true, false}) {
    std::string bad = cut ? exported.substr(0, exported.size() - 1000) : exported;
    if (!cut) bad[bad.size() - 1000] ^= 1;
    size_t from = 0;
    const auto refused = engine::import_run(
        *world.store,
        [&](std::span<char> into) -> Result<size_t> {
          const size_t n = std::min(into.size(), bad.size() - from);
          std::copy_n(bad.data() + from, n, into.data());
          from += n;
          return n;
        },
        "third");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::corrupt);
    CHECK_FALSE(world.store->find("third").value());
  }
}

TEST_CASE("`save: true` makes the body of any request a file; without it nothing changes") {
  World world({{"/speech",
                {.headers = "Content-Type: audio/mpeg\r\nContent-Disposition: "
                            "attachment; filename=\"../a b.mp3\"\r\n",
                 .body = "sound"}},
               {"/empty", {.status = "204 No Content", .say_length = false}},
               {"/wrong", {.status = "500 Oops", .body = "why"}}});
  CHECK(cel::to_json(world.value(R"(
    workflow w() -> any {
      step r = http.post(")" + world.url("/speech") +
                                 R"(", json: { text: "hi" }, save: true)
      let speech: file = r.body
      step text = file.text(speech)
      step bytes = file.bytes(speech)
      return [r.status, speech.name, speech.media_type, speech.size, text, bytes == b"sound"]
    })")) == R"([200,"a b.mp3","audio/mpeg",5,"sound",true])");
  CHECK(world
            .value("workflow w() -> int { step f = http.download(\"" + world.url("/empty") +
                   "\", name: \"x.txt\") return f.size }")
            .as_int() == 0);
  const machine::RunError wrong =
      world.error("workflow w() -> file { step f = http.download(\"" + world.url("/wrong") +
                  "\") { retry: { max: 1 } } return f }");
  CHECK(wrong.kind == "http");
  CHECK(wrong.status == 500);
  CHECK(wrong.data.find("body")->as_string() == "why");
}

TEST_CASE("what is too long or breaks off leaves nothing in the store") {
  World world({{"/large", {.length = large}},
               {"/silent", {.length = large, .say_length = false}},
               {"/broken", {.length = large, .break_after = 2'000'000}}});
  for (const char* path : {"/large", "/silent"}) {
    INFO(path);
    const machine::RunError error =
        world.error("workflow w() -> file { step f = http.download(\"" + world.url(path) +
                    "\", max_bytes: 1000000) return f }");
    CHECK(error.kind == "limit");
    CHECK(error.code == "body_size");
    CHECK(world.stored_files() == 0);
  }
  const machine::RunError broken =
      world.error("workflow w() -> file { step f = http.download(\"" + world.url("/broken") +
                  "\") { retry: { max: 1 } } return f }");
  CHECK(broken.kind == "http");
  CHECK(world.stored_files() == 0);
  CHECK(world.store->check().value().empty());
}

TEST_CASE("files by paths and from values") {
  World world;
  std::ofstream(world.root / "project" / "data.csv") << "a,b\n1,2\n";
  CHECK(cel::to_json(world.value(R"(
    workflow w() -> any {
      step data = file.open("data.csv")
      step text = file.text(data)
      step note = file.make({ a: 1 }, "note.json")
      step copy = file.save(note, "copy.json")
      step again = file.read("copy.json")
      return [data.name, data.media_type, text, note.media_type, again]
    })")) == R"(["data.csv","text/csv","a,b\n1,2\n","application/json","{\n  \"a\": 1\n}\n"])");
  for (const auto& [step, code] :
       {std::pair{"file.open(\"../store/KFLOW\")", "outside_roots"},
        std::pair{"file.open(\"none\")", "not_found"}, std::pair{"file.open(\".\")", "is_folder"},
        std::pair{"file.open(\"data.csv\", media_type: \"no\")", "media_type"}}) {
    INFO(step);
    CHECK(world.error(std::string("workflow w() -> any { step f = ") + step + " return f }").code ==
          code);
  }
  CHECK(world
            .error("workflow w() { step f = file.open(\"data.csv\") step s = "
                   "file.save(f, \"../x\") }")
            .code == "outside_roots");
}

TEST_CASE("a shared value keeps its file when the run that made it is gone") {
  World world({{"/logo.png", {.length = large}}});
  const store::RunHeader put =
      world.run("workflow w() { step f = http.download(\"" + world.url("/logo.png") +
                "\") { cache: 1h } step k = kv.put(\"logo\", f) }");
  INFO(put.error);
  REQUIRE(put.status == RunStatus::completed);
  world.forget(put);
  REQUIRE(world.store->collect({.now = 1}));
  CHECK(world.stored_files() == 1);
  CHECK(world
            .value("workflow w() -> string { step v = kv.get(\"logo\") let f: file = v "
                   "step s = file.save(f, \"logo.png\") return f.name }")
            .as_string() == "logo.png");
  CHECK(text_of(world.root / "project" / "logo.png") == generated(large));
}

TEST_CASE("an input names a file that the store holds, or the run is not started") {
  World world;
  const auto program = compile("workflow w(f: file) -> string { step t = file.text(f) return t }");
  auto writer = world.store->new_blob(0).value();
  REQUIRE(writer->write("hello"));
  const StagedBlob staged = writer->finish().value();
  const auto input = [](const Sha256& hash) {
    return cel::make_record(
        {{"f", cel::make_record({{"name", cel::Value::string("a.txt")},
                                 {"media_type", cel::Value::string("text/plain")},
                                 {"size", cel::Value::integer(5)},
                                 {"sha256", cel::Value::string(to_hex(hash))}})}});
  };
  auto started = world.engine->start(program, program->find("w"), input(staged.hash),
                                     {.stages = {staged.stage}});
  REQUIRE(started);
  const auto header = world.engine->wait(started->key, patience_ms);
  REQUIRE(header->status == RunStatus::completed);
  CHECK(std::get<cel::Value>(world.outcome(*header)).as_string() == "hello");
  const auto refused = world.engine->start(program, program->find("w"), input(sha256("x")), {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::not_found);
  CHECK_FALSE(world.engine->start(program, program->find("w"),
                                  cel::make_record({{"f", cel::Value::string("a.txt")}}), {}));
}

TEST_CASE("models are told files, each in its provider's way; the log names them only") {
  const std::string image = "\x89PNG not really";
  const std::string base64 = cel::base64_encode(image);
  const std::map<std::string, std::vector<std::string>> expected{
      {"openai",
       {R"({"type":"input_image","image_url":"data:image/png;base64,)" + base64 + "\"}",
        R"({"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,)"}},
      {"openai_chat",
       {R"({"type":"image_url","image_url":{"url":"data:image/png;base64,)" + base64 + "\"}}",
        R"({"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,)"}},
      {"anthropic",
       {R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":")" + base64 +
            "\"}}",
        R"({"type":"document","source":{"type":"base64","media_type":"application/pdf","data":")"}},
      {"gemini",
       {R"({"inlineData":{"mimeType":"image/png","data":")" + base64 + "\"}}",
        R"({"inlineData":{"mimeType":"application/pdf","data":")"}}};
  for (const auto& [provider, parts] : expected) {
    INFO(provider);
    World world({}, R"([{"answers": [{"text": "a cat"}]}])");
    std::ofstream(world.root / "project" / "cat.png") << image;
    std::ofstream(world.root / "project" / "a.pdf") << "%PDF";
    std::ofstream(world.root / "project" / "notes.md") << "# Notes";
    const store::RunHeader run = world.run("agent a { model: \"" + provider + R"k(/m" }
      workflow w() -> string {
        step cat = file.open("cat.png")
        step pdf = file.open("a.pdf")
        step notes = file.open("notes.md")
        step seen = a(["What is this?", cat, pdf, notes])
        return seen
      })k");
    INFO(run.error);
    REQUIRE(run.status == RunStatus::completed);
    REQUIRE(world.model.requests().size() == 1);
    const std::string body = world.model.requests()[0];
    INFO(body);
    for (const std::string& part : parts) CHECK(body.find(part) != std::string::npos);
    CHECK(body.find("What is this?") != std::string::npos);
    CHECK(body.find("# Notes") != std::string::npos);
    std::string log;
    REQUIRE(engine::read_events(*world.store, run.key, 0,
                                [&](const machine::Event& e, uint64_t, uint64_t) {
                                  ByteWriter out;
                                  machine::encode_event(e, out);
                                  log += out.buffer();
                                  return true;
                                }));
    CHECK(log.find(image) == std::string::npos);
    CHECK(log.find(base64) == std::string::npos);
    CHECK(log.find("cat.png") != std::string::npos);
  }
}

TEST_CASE("a prompt with files, and files that a provider does not take") {
  World world({}, R"([{"answers": [{"text": "fine"}]}])");
  std::ofstream(world.root / "project" / "clip.mp4") << "moving";
  std::ofstream(world.root / "project" / "cat.png") << "cat";
  fs::resize_file(world.root / "project" / "cat.png", activities::max_media_bytes + 1);
  std::ofstream(world.root / "project" / "dog.png") << "dog";
  const auto ask = [](const std::string& model, const std::string& name) {
    return "agent a(picture: file, what: string) { model: \"" + model + R"k(/m"
      prompt: "Describe the ${what} of ${picture.name}." }
      workflow w() -> string {
        step f = file.open(")k" +
           name + R"k(")
        step seen = a(f, "colour")
        return seen
      })k";
  };
  const machine::RunError video = world.error(ask("anthropic", "clip.mp4"));
  CHECK(video.kind == "model");
  CHECK(video.code == "unsupported_media");
  CHECK(video.message ==
        "anthropic/m cannot be told `clip.mp4`, a file of the type video/mp4: it takes images "
        "(PNG, JPEG, GIF, WebP), PDF and text");
  const machine::RunError large_one = world.error(ask("openai", "cat.png"));
  CHECK(large_one.kind == "limit");
  CHECK(large_one.code == "media_size");
  CHECK(world.model.requests().empty());
  CHECK(world.value(ask("gemini", "clip.mp4")).as_string() == "fine");
  CHECK(world.value(ask("openai_chat", "dog.png")).as_string() == "fine");
  CHECK(world.model.requests()[1].find("Describe the colour of dog.png.") != std::string::npos);
  CHECK(world.model.requests()[1].find("image_url") != std::string::npos);
}
