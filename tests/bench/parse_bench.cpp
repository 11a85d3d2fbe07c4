// Megabytes a second of parsing, and of parsing and checking, of a realistic source. Prints JSON
// Lines.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "compiler/driver/driver.hpp"
#include "compiler/syntax/parse.hpp"

namespace {

using namespace kflow;
using Clock = std::chrono::steady_clock;

std::string source_text(size_t bytes) {
  std::string out = "kflow 1\n\n";
  for (int n = 0; out.size() < bytes; ++n) {
    const std::string id = std::to_string(n);
    out += "/// Checks a list of pages and reports what changed.\nworkflow pages_" + id +
           "(urls: string[], limit: int = 10) -> string {\n  timeout: 5m\n  for url in urls as "
           "fetches {\n    limit: 4\n    on_error: continue\n"
           "    // One page.\n    step page = http.get(url, headers: {accept: \"text/html\"}) { "
           "retry: { max: 5 backoff: exponential(1s, cap: 30s) } }\n"
           "    let size = json(page.body).size()\n    if size > limit * 1000 && page.status == "
           "200 { step log(\"large: ${url} has ${size} characters\") }\n  }\n"
           "  let total = size.map(s, s ?? 0).filter(s, s > 0).size()\n  return \"\"\"\n    "
           "${total} pages of ${urls.size()}\n    were fetched\n    \"\"\"\n}\n\n";
  }
  return out;
}

void report(const char* what, size_t bytes, double seconds) {
  std::printf("{\"bench\":\"%s\",\"bytes\":%zu,\"mb_per_s\":%.1f}\n", what, bytes,
              static_cast<double>(bytes) / 1e6 / seconds);
}

}  // namespace

int main() {
  const std::string text = source_text(4'000'000);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    source::Manager sources;
    diagnostics::Sink sink;
    const source::FileId file = sources.add("bench", "bench", text);
    const auto begin = Clock::now();
    const syntax::Tree tree = syntax::parse(sources[file], sink);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
    if (sink.has_errors() || tree.nodes().empty()) return 1;
  }
  report("parse", text.size(), best);
  const std::string small = source_text(300'000);  // about 4 000 lines
  const auto begin = Clock::now();
  const auto compiled = driver::compile_text("bench", small);
  report("parse_check_lower", small.size(),
         std::chrono::duration<double>(Clock::now() - begin).count());
  return compiled->program ? 0 : 1;
}
