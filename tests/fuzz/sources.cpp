// Files of the language: parsed, checked, lowered, formatted and analysed for an editor.
#include "tests/fuzz/sources.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "compiler/base/check.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/format/format.hpp"
#include "compiler/lsp/analysis.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr size_t longest = 16'000;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A formatted file is formatted.
void formatted(const source::File& file) {
  diagnostics::Sink sink;
  const auto once = format::format(file, sink);
  if (!once) {
    KFLOW_CHECK(once.error().code != ErrorCode::internal, "a layout says what the file said");
    return;
  }
  source::Manager sources;
  const auto twice = format::format(sources[sources.add("f.kflow", "f.kflow", *once)], sink);
  KFLOW_CHECK(twice && *twice == *once, "what is formatted is formatted");
}

}  // namespace

void fuzz_source(std::string_view bytes) {
  if (bytes.size() > longest) return;
  const std::string text(bytes);
  source::Manager sources;
  diagnostics::Sink sink;
  const source::File& file = sources[sources.add("f.kflow", "f.kflow", text)];
  const syntax::Tree tree = syntax::parse(file, sink);
  KFLOW_CHECK(tree.reconstruct() == file.text(), "a tree holds every byte");

  const auto compiled = driver::compile_text("f.kflow", text);
  KFLOW_CHECK(!sink.has_errors() || compiled->sink.has_errors(), "no error of syntax is lost");
  KFLOW_CHECK(compiled->program.has_value() == !compiled->sink.has_errors(),
              "a file has errors or a program");
  for (const diagnostics::Diagnostic* d : compiled->sink.sorted()) {
    const size_t end = (*compiled->sources)[d->span.file].text().size();
    KFLOW_CHECK(d->span.begin <= d->span.end && d->span.end <= end,
                "a message has a place in its file");
  }
  (void)diagnostics::render_human(compiled->sink, *compiled->sources, false);
  if (compiled->program) {
    const auto again = ir::decode(ir::encode(*compiled->program));
    KFLOW_CHECK(again && ir::hash(*again) == ir::hash(*compiled->program),
                "a program is read back as it was");
  }
  formatted(file);
  if (find_invalid_utf8(text) != std::string_view::npos) return;
  const auto analysis = lsp::analyse("f.kflow", text, {});
  for (size_t at = 0; at <= text.size(); at += 97) {
    (void)analysis->path_to(static_cast<uint32_t>(at));
    (void)analysis->definition_at(static_cast<uint32_t>(at));
    (void)analysis->type_at(static_cast<uint32_t>(at));
  }
}

std::vector<std::string> source_corpus() {
  std::vector<std::string> out;
  for (const char* below :
       {"examples", "tests/golden", "tests/scenario/cases", "tests/format/cases"}) {
    const fs::path folder = fs::path(KFLOW_SOURCE_DIR) / below;
    std::error_code none;
    for (const auto& entry : fs::recursive_directory_iterator(folder, none)) {
      if (entry.path().extension() != ".kflow") continue;
      std::string text = read(entry.path());
      if (text.size() <= longest / 2) out.push_back(std::move(text));
    }
  }
  std::sort(out.begin(), out.end());  // a seed gives the same inputs everywhere
  return out;
}

}  // namespace kflow::fuzz
