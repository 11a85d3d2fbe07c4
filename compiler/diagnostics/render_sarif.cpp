// SARIF 2.1.0 (OASIS): what code scanning services read.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/base/json.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/diagnostics/render.hpp"

namespace kflow::diagnostics {
namespace {

constexpr std::string_view schema_address =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

// A path as a URI reference: bytes that have a meaning there, or none, are percent-encoded.
std::string uri_of(std::string_view path) {
  static constexpr std::string_view plain = "-._~/!$&'()*+,;=@";
  std::string out = path.starts_with('/') ? "file://" : "";
  for (const char c : path) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || plain.find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

class Writer {
 public:
  std::string run(const Findings& findings, std::string_view version) {
    for (const Finding& f : findings.all()) {
      if (std::find(kinds_.begin(), kinds_.end(), f.diagnostic->kind) == kinds_.end())
        kinds_.push_back(f.diagnostic->kind);
    }
    std::sort(kinds_.begin(), kinds_.end(),
              [](Kind a, Kind b) { return info(a).code < info(b).code; });
    out_.begin_object();
    text("$schema", schema_address);
    text("version", "2.1.0");
    out_.key("runs"), out_.begin_array(), out_.begin_object();
    tool(version);
    text("columnKind", "unicodeCodePoints");
    out_.key("results"), out_.begin_array();
    for (const Finding& f : findings.all()) result(f);
    out_.end_array();
    out_.end_object(), out_.end_array(), out_.end_object();
    return out_.take() + "\n";
  }

 private:
  void text(std::string_view key, std::string_view value) { out_.key(key), out_.string(value); }
  void number(std::string_view key, uint64_t value) { out_.key(key), out_.unsigned_integer(value); }
  void message(std::string_view key, std::string_view value) {
    out_.key(key), out_.begin_object();
    text("text", value);
    out_.end_object();
  }

  void tool(std::string_view version) {
    out_.key("tool"), out_.begin_object(), out_.key("driver"), out_.begin_object();
    text("name", "kflowc");
    text("version", version);
    out_.key("rules"), out_.begin_array();
    for (const Kind kind : kinds_) {
      const KindInfo& row = info(kind);
      out_.begin_object();
      text("id", code_text(kind));
      text("name", row.name);
      message("shortDescription", row.title);
      message("fullDescription", row.explanation);
      message("help", fmt::format("kflowc explain {}", code_text(kind)));
      out_.key("defaultConfiguration"), out_.begin_object();
      text("level", level(kind));
      out_.end_object(), out_.end_object();
    }
    out_.end_array(), out_.end_object(), out_.end_object();
  }

  static std::string_view level(Kind kind) {
    return info(kind).severity == Severity::error ? "error" : "warning";
  }

  void result(const Finding& f) {
    const Diagnostic& d = *f.diagnostic;
    out_.begin_object();
    text("ruleId", code_text(d.kind));
    number("ruleIndex",
           static_cast<uint64_t>(std::find(kinds_.begin(), kinds_.end(), d.kind) - kinds_.begin()));
    text("level", level(d.kind));
    std::string all = d.message;
    if (!d.label.empty()) all += ": " + d.label;
    if (!d.suggestions.empty())
      all += fmt::format("; did you mean `{}`?", fmt::join(d.suggestions, "` or `"));
    for (const std::string& note : d.notes) all += "\n" + note;
    message("message", all);
    if (d.span.valid()) {
      out_.key("locations"), out_.begin_array(), out_.begin_object();
      place(*f.sources, d.span);
      out_.end_object(), out_.end_array();
    }
    if (!d.secondary.empty()) {
      out_.key("relatedLocations"), out_.begin_array();
      for (const Label& label : d.secondary) {
        out_.begin_object();
        place(*f.sources, label.span);
        message("message", label.text.empty() ? "here" : label.text);
        out_.end_object();
      }
      out_.end_array();
    }
    if (!d.fixes.empty()) fix(f);
    out_.end_object();
  }

  void artifact(const source::File& file) {
    out_.key("artifactLocation"), out_.begin_object();
    text("uri", uri_of(file.name()));
    out_.end_object();
  }

  void place(const source::Manager& sources, Span span) {
    const source::File& file = sources[span.file];
    out_.key("physicalLocation"), out_.begin_object();
    artifact(file);
    out_.key("region");
    region(file, span);
    out_.end_object();
  }

  // Columns of the format count code points.
  static uint64_t column(const source::File& file, source::Position p) {
    return count_code_points(file.line(p.line).substr(0, p.column - 1)) + 1;
  }

  void region(const source::File& file, Span span) {
    const source::Position begin = file.position(span.begin);
    const source::Position end = file.position(span.end);
    out_.begin_object();
    number("startLine", begin.line);
    number("startColumn", column(file, begin));
    number("endLine", end.line);
    number("endColumn", column(file, end));
    number("byteOffset", span.begin);
    number("byteLength", span.end - span.begin);
    out_.end_object();
  }

  void fix(const Finding& f) {
    out_.key("fixes"), out_.begin_array();
    for (const Fix& fix : f.diagnostic->fixes) {
      const source::File& file = (*f.sources)[fix.span.file];
      out_.begin_object();
      message("description",
              fix.text.empty() ? "remove this" : fmt::format("write `{}`", fix.text));
      out_.key("artifactChanges"), out_.begin_array(), out_.begin_object();
      artifact(file);
      out_.key("replacements"), out_.begin_array(), out_.begin_object();
      out_.key("deletedRegion");
      region(file, fix.span);
      message("insertedContent", fix.text);
      out_.end_object(), out_.end_array();
      out_.end_object(), out_.end_array();
      out_.end_object();
    }
    out_.end_array();
  }

  JsonWriter out_{2};
  std::vector<Kind> kinds_;
};

}  // namespace

std::string render_sarif(const Findings& findings, std::string_view version) {
  return Writer().run(findings, version);
}

}  // namespace kflow::diagnostics
