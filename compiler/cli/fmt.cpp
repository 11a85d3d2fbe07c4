// Formatting of files in place, and what it says about them.
#include "compiler/cli/fmt.hpp"

#include <cstdio>
#include <iostream>
#include <iterator>

#include "compiler/cli/files.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/format/format.hpp"

namespace kflow::cli {
namespace {

constexpr int ok = 0;
constexpr int failed = 1;
constexpr int usage = 2;

int say(const Error& error) {
  std::fprintf(stderr, "kflowc: error: %s\n", error.message.c_str());
  return failed;
}

int one(const std::string& path, const FmtOptions& options) {
  const bool standard = path == "-";
  source::Manager sources(nullptr);
  source::FileId id;
  if (standard) {
    std::string text(std::istreambuf_iterator<char>(std::cin), {});
    if (text.size() > source::max_file_size)
      return say({ErrorCode::limit, "the text is too large"});
    id = sources.add("<stdin>", "<stdin>", std::move(text));
  } else {
    const auto loaded = sources.load(path);
    if (!loaded) return say(loaded.error());
    id = *loaded;
  }
  const source::File& file = sources[id];
  diagnostics::Sink sink;
  const auto text = format::format(file, sink);
  if (sink.has_errors())
    std::fputs(diagnostics::render_human(sink, sources, options.colour).c_str(), stderr);
  if (!text) return say(text.error());
  const bool changed = *text != file.text();
  if (options.diff)
    std::fputs(format::unified_diff(file.name(), file.text(), *text).c_str(), stdout);
  if (options.check) {
    if (changed)
      std::fprintf(stderr, "%s is not formatted; `kflowc fmt %s` does it\n", file.name().c_str(),
                   standard ? "-" : path.c_str());
    return changed ? failed : ok;
  }
  if (options.diff) return ok;
  if (standard) {
    std::fwrite(text->data(), 1, text->size(), stdout);
    return ok;
  }
  if (!changed) return ok;
  if (const auto written = replace_file(path, *text); !written) return say(written.error());
  std::fprintf(stderr, "formatted %s\n", file.name().c_str());
  return ok;
}

}  // namespace

int run_fmt(const FmtOptions& options) {
  const std::vector<std::string> files = source::expand(options.paths);
  if (files.empty()) {
    std::fprintf(stderr, "kflowc: error: there are no .kflow files in the given folders\n");
    return usage;
  }
  int status = ok;
  for (const std::string& file : files) status = std::max(status, one(file, options));
  return status;
}

}  // namespace kflow::cli
