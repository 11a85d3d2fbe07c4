// A server for tests.
#include "tests/server/served.hpp"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "compiler/base/check.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"

namespace kflow::test {

namespace fs = std::filesystem;

server::Compile test_compiler() {
  return [](const std::string& path) -> Result<server::Compiled> {
    auto compiled = driver::compile_file(path);
    if (!compiled) return std::unexpected(std::move(compiled).error());
    driver::Compilation& c = **compiled;
    const std::string json = diagnostics::render_json(c.sink, *c.sources);
    const size_t begin = json.find('[');
    server::Compiled out{.rendered = diagnostics::render_human(c.sink, *c.sources, false),
                         .diagnostics = json.substr(begin, json.rfind(']') - begin + 1),
                         .errors = c.sink.errors(),
                         .warnings = c.sink.warnings()};
    for (uint32_t i = 0; i < c.sources->size(); ++i)
      out.files.push_back((*c.sources)[source::FileId(i)].path());
    if (c.program) out.program = std::make_shared<const ir::Program>(std::move(*c.program));
    return out;
  };
}

Served::Served(Setup setup) : setup_(std::move(setup)) {
  char name[] = "/tmp/kflow_server_XXXXXX";
  folder_ = ::mkdtemp(name);
  fs::create_directories(folder_ / "flows");
  for (const auto& [file, text] : setup_.files) write(file, text);
  if (setup_.in_memory) disk_ = std::make_shared<store::MemoryDisk>();
  open();
}

void Served::open() {
  if (disk_) {
    store_ = store::make_memory_store(disk_);
  } else {
    auto store = store::open_lmdb_store((folder_ / "store").string(), {.create = true});
    KFLOW_CHECK(store.has_value(), "the store opens");
    store_ = std::move(*store);
  }
  server::ServerSetup setup{.options = setup_.options,
                            .paths = {(folder_ / "flows").string()},
                            .project_root = (folder_ / "flows").string(),
                            .version = "test",
                            .compile = test_compiler(),
                            .say = [this](const std::string& line) {
                              const std::lock_guard guard(mutex_);
                              said_.push_back(line);
                            }};
  setup.options.listen = {"127.0.0.1:0"};
  if (setup_.engine) setup_.engine(setup.engine);
  auto opened = server::Server::open(store_, std::move(setup));
  KFLOW_CHECK(opened.has_value(), "the server opens");
  server_ = std::move(*opened);
  const std::string url = server_->urls()[0];
  port_ = std::atoi(url.c_str() + url.rfind(':') + 1);
}

Served::~Served() {
  server_.reset();
  store_.reset();
  fs::remove_all(folder_);
}

void Served::stop() { server_->stop(); }

void Served::restart() {
  server_.reset();
  store_.reset();
  open();
}

void Served::write(const std::string& name, const std::string& text) const {
  // As editors do: a new file in the place of the old one.
  const fs::path path = folder_ / "flows" / name;
  std::ofstream(path.string() + ".new") << text;
  fs::rename(path.string() + ".new", path);
}

std::vector<std::string> Served::said() const {
  const std::lock_guard guard(mutex_);
  return said_;
}

std::string Served::start(const std::string& workflow, const std::string& input) {
  const Answer answer = post("/workflows/" + workflow + "/runs",
                             R"({"stream":false,"background":true,"input":)" + input + "}");
  if (answer.status != 202) return "";
  return field(json_of(answer.body), "run_id");
}

cel::Value Served::wait(const std::string& workflow, const std::string& run,
                        const std::vector<std::string>& statuses) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (;;) {
    const cel::Value document = json_of(get("/workflows/" + workflow + "/runs/" + run).body);
    for (const std::string& status : statuses) {
      if (field(document, "status") == status) return document;
    }
    if (std::chrono::steady_clock::now() > until) return document;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

cel::Value json_of(const std::string& text) {
  auto value = cel::from_json(text);
  return value ? std::move(*value) : cel::Value();
}

std::string field(const cel::Value& record, const std::string& name) {
  if (record.kind() != cel::Kind::map) return "";
  const cel::Value* v = record.find(name);
  if (v == nullptr) return "";
  return v->kind() == cel::Kind::string ? std::string(v->as_string()) : cel::to_json(*v);
}

const cel::Value& at(const cel::Value& record, std::string_view name) {
  static const cel::Value nothing;
  const cel::Value* v = record.kind() == cel::Kind::map ? record.find(name) : nullptr;
  return v == nullptr ? nothing : *v;
}

}  // namespace kflow::test
