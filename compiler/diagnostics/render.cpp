// The caret style of rustc and the JSON form.
#include "compiler/diagnostics/render.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/base/json.hpp"
#include "compiler/base/utf8.hpp"

namespace kflow::diagnostics {
namespace {

// Longest source line that is shown whole; of a longer one a window around the place.
constexpr size_t max_shown_columns = 160;

struct Style {
  bool colour;
  std::string operator()(std::string_view code, std::string_view text) const {
    if (!colour || text.empty()) return std::string(text);
    return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
  }
};

// Columns a code point takes on a terminal.
size_t width_of(char32_t c) {
  if (c < 0x20 || (c >= 0x7f && c < 0xa0)) return 1;
  if ((c >= 0x300 && c <= 0x36f) || (c >= 0x200b && c <= 0x200f) || (c >= 0xfe00 && c <= 0xfe0f) ||
      c == 0xfeff)
    return 0;
  if ((c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
      (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
      (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
      (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd)) {
    return 2;
  }
  return 1;
}

// A line made fit for a terminal: tabs widened, control characters and malformed bytes replaced.
// `columns[i]` is the display column at which byte i begins.
struct ShownLine {
  std::string text;
  std::vector<size_t> columns;
};

ShownLine show(std::string_view line) {
  ShownLine out;
  size_t column = 0;
  for (size_t pos = 0; pos < line.size();) {
    const CodePoint c = decode_utf8(line, pos);
    const size_t length = c.length == 0 ? 1 : c.length;
    for (size_t i = 0; i < length; ++i) out.columns.push_back(column);
    if (line[pos] == '\t') {
      out.text.append(4, ' ');
      column += 4;
    } else if (c.length == 0 || c.value < 0x20 || c.value == 0x7f) {
      out.text.append("\xef\xbf\xbd");
      column += 1;
    } else {
      out.text.append(line.substr(pos, length));
      column += width_of(c.value);
    }
    pos += length;
  }
  out.columns.push_back(column);
  return out;
}

// Cuts a long line down to a window of bytes around [begin, end) before it is shown.
std::string_view window(std::string_view line, size_t& begin, size_t& end) {
  if (line.size() <= max_shown_columns) return line;
  size_t from = begin > max_shown_columns / 2 ? begin - max_shown_columns / 2 : 0;
  while (from > 0 && (static_cast<unsigned char>(line[from]) & 0xc0) == 0x80) --from;
  const std::string_view part = line.substr(from, max_shown_columns);
  begin -= from;
  end = std::min(end - from, part.size());
  begin = std::min(begin, part.size());
  return part;
}

struct Mark {
  size_t begin;  // byte columns from 0 within the line
  size_t end;
  bool primary;
  std::string text;
};

class HumanRenderer {
 public:
  explicit HumanRenderer(bool colour) : style_{colour} {}

  void render(const Finding& finding, std::string& out) {
    const Diagnostic& d = *finding.diagnostic;
    sources_ = finding.sources;
    const bool error = info(d.kind).severity == Severity::error;
    const std::string_view colour = error ? "1;31" : "1;33";
    out += style_(colour, fmt::format("{}[{}]", error ? "error" : "warning", code_text(d.kind)));
    out += style_("1", fmt::format(": {}", d.message));
    out += '\n';
    if (d.span.valid()) place(d, colour, out);
    for (const std::string& note : d.notes)
      out += fmt::format("{}{} {}\n", pad(), style_("1;34", "="), note);
  }

 private:
  std::string pad() const { return std::string(gutter_ + 1, ' '); }

  void place(const Diagnostic& d, std::string_view colour, std::string& out) {
    const source::File& file = (*sources_)[d.span.file];
    // Lines to show, with their marks, of the primary's file; secondary places elsewhere follow as
    // lines of their own.
    std::map<uint32_t, std::vector<Mark>> lines;
    add_mark(lines, file, d.span, true, primary_text(d));
    std::vector<const Label*> elsewhere;
    for (const Label& label : d.secondary) {
      if (label.span.file == d.span.file) {
        add_mark(lines, file, label.span, false, label.text);
      } else {
        elsewhere.push_back(&label);
      }
    }
    gutter_ = std::to_string(lines.rbegin()->first).size();
    const source::Position at = file.position(d.span.begin);
    out += fmt::format("{}{} {}:{}:{}\n", std::string(gutter_, ' '), style_("1;34", "-->"),
                       file.name(), at.line, at.column);
    out += fmt::format("{}{}\n", pad(), style_("1;34", "|"));
    uint32_t previous = 0;
    for (auto& [number, marks] : lines) {
      if (previous != 0 && number > previous + 1) out += fmt::format("{}\n", style_("1;34", "..."));
      line(file, number, marks, colour, out);
      previous = number;
    }
    for (const Label* label : elsewhere) {
      const source::File& other = (*sources_)[label->span.file];
      const source::Position p = other.position(label->span.begin);
      out += fmt::format("{}{} {}:{}:{}: {}\n", std::string(gutter_, ' '), style_("1;34", ":::"),
                         other.name(), p.line, p.column, label->text);
    }
  }

  static std::string primary_text(const Diagnostic& d) {
    std::string text = d.label;
    if (d.suggestions.empty()) return text;
    std::string mean = "did you mean ";
    for (size_t i = 0; i < d.suggestions.size(); ++i) {
      if (i > 0) mean += i + 1 == d.suggestions.size() ? " or " : ", ";
      mean += fmt::format("`{}`", d.suggestions[i]);
    }
    mean += '?';
    return text.empty() ? mean : text + "; " + mean;
  }

  static void add_mark(std::map<uint32_t, std::vector<Mark>>& lines, const source::File& file,
                       Span span, bool primary, std::string text) {
    const source::Position begin = file.position(span.begin);
    const std::string_view line = file.line(begin.line);
    const size_t from = std::min<size_t>(begin.column - 1, line.size());
    // Of a span over several lines, the first line is marked to its end.
    const size_t to = std::min<size_t>(from + (span.end - span.begin), line.size());
    lines[begin.line].push_back({from, std::max(to, from), primary, std::move(text)});
  }

  void line(const source::File& file, uint32_t number, std::vector<Mark>& marks,
            std::string_view colour, std::string& out) const {
    std::sort(marks.begin(), marks.end(),
              [](const Mark& a, const Mark& b) { return a.begin < b.begin; });
    std::string_view text = file.line(number);
    if (marks.size() == 1) {
      text = window(text, marks[0].begin, marks[0].end);
    } else if (text.size() > max_shown_columns) {
      text = text.substr(0, max_shown_columns);
    }
    const ShownLine shown = show(text);
    out += fmt::format("{} {} {}\n", style_("1;34", fmt::format("{:>{}}", number, gutter_)),
                       style_("1;34", "|"), shown.text);
    for (const Mark& mark : marks) {
      const size_t begin = shown.columns[std::min(mark.begin, shown.columns.size() - 1)];
      const size_t end = shown.columns[std::min(mark.end, shown.columns.size() - 1)];
      const std::string carets(std::max<size_t>(1, end - begin), mark.primary ? '^' : '-');
      const std::string label = mark.text.empty() ? "" : " " + mark.text;
      out += fmt::format("{}{} {}{}\n", pad(), style_("1;34", "|"), std::string(begin, ' '),
                         style_(mark.primary ? colour : std::string_view("1;34"), carets + label));
    }
  }

  const source::Manager* sources_ = nullptr;
  Style style_;
  size_t gutter_ = 1;
};

void json_place(JsonWriter& out, const source::Manager& sources, Span span) {
  if (!span.valid()) return;
  const source::File& file = sources[span.file];
  const source::Position begin = file.position(span.begin);
  const source::Position end = file.position(span.end);
  out.key("file"), out.string(file.name());
  out.key("line"), out.integer(begin.line);
  out.key("column"), out.integer(begin.column);
  out.key("end_line"), out.integer(end.line);
  out.key("end_column"), out.integer(end.column);
}

void json_strings(JsonWriter& out, std::string_view key, const std::vector<std::string>& values) {
  out.key(key);
  out.begin_array();
  for (const std::string& value : values) out.string(value);
  out.end_array();
}

void json_diagnostic(JsonWriter& out, const Finding& finding) {
  const Diagnostic& d = *finding.diagnostic;
  const source::Manager& sources = *finding.sources;
  out.begin_object();
  out.key("code"), out.string(code_text(d.kind));
  out.key("severity"), out.string(info(d.kind).severity == Severity::error ? "error" : "warning");
  out.key("message"), out.string(d.message);
  json_place(out, sources, d.span);
  out.key("label"), out.string(d.label);
  json_strings(out, "notes", d.notes);
  json_strings(out, "suggestions", d.suggestions);
  out.key("secondary");
  out.begin_array();
  for (const Label& label : d.secondary) {
    out.begin_object();
    json_place(out, sources, label.span);
    out.key("text"), out.string(label.text);
    out.end_object();
  }
  out.end_array();
  out.key("fixes");
  out.begin_array();
  for (const Fix& fix : d.fixes) {
    out.begin_object();
    json_place(out, sources, fix.span);
    out.key("text"), out.string(fix.text);
    out.end_object();
  }
  out.end_array();
  out.end_object();
}

// What a message for programs says in one text: the message, the label, suggestions and notes.
std::string whole_message(const Diagnostic& d) {
  std::string out = d.message;
  if (!d.label.empty()) out += ": " + d.label;
  if (!d.suggestions.empty())
    out += fmt::format("; did you mean `{}`?", fmt::join(d.suggestions, "` or `"));
  for (const std::string& note : d.notes) out += "\n" + note;
  return out;
}

// `%`, line ends and, in properties, `:` and `,` are escaped.
std::string github_escaped(std::string_view text, bool property) {
  std::string out;
  for (const char c : text) {
    if (c == '%' || c == '\r' || c == '\n' || (property && (c == ':' || c == ','))) {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

Findings findings_of(const Sink& sink, const source::Manager& sources) {
  Findings out;
  out.add(sink, sources);
  return out;
}

}  // namespace

void Findings::add(const Sink& sink, const source::Manager& sources) {
  for (const Diagnostic* d : sink.sorted()) {
    const std::string path = d->span.valid() ? sources[d->span.file].path() : "";
    if (!seen_.insert({d->kind, path, d->span.begin, d->span.end, d->message}).second) continue;
    all_.push_back({d, &sources});
    (info(d->kind).severity == Severity::error ? errors_ : warnings_) += 1;
  }
  dropped_ += sink.dropped();
}

std::string render_human(const Findings& findings, bool colour) {
  std::string out;
  HumanRenderer renderer(colour);
  for (const Finding& finding : findings.all()) {
    renderer.render(finding, out);
    out += '\n';
  }
  if (out.empty()) return out;
  const auto count = [](size_t n, std::string_view what) {
    return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
  };
  if (findings.dropped() > 0)
    out += fmt::format("and {} more that are not shown\n", findings.dropped());
  const std::string errors = count(findings.errors(), "error");
  const std::string warnings = count(findings.warnings(), "warning");
  if (findings.errors() > 0 && findings.warnings() > 0)
    return out + errors + ", " + warnings + "\n";
  return out + (findings.errors() > 0 ? errors : warnings) + "\n";
}

std::string render_human(const Sink& sink, const source::Manager& sources, bool colour) {
  return render_human(findings_of(sink, sources), colour);
}

std::string render_json(const Findings& findings) {
  JsonWriter out(2);
  out.begin_object();
  out.key("diagnostics");
  out.begin_array();
  for (const Finding& finding : findings.all()) json_diagnostic(out, finding);
  out.end_array();
  out.key("errors"), out.unsigned_integer(findings.errors());
  out.key("warnings"), out.unsigned_integer(findings.warnings());
  out.end_object();
  return out.take() + "\n";
}

std::string render_json(const Sink& sink, const source::Manager& sources) {
  return render_json(findings_of(sink, sources));
}

std::string render_github(const Findings& findings) {
  std::string out;
  for (const Finding& finding : findings.all()) {
    const Diagnostic& d = *finding.diagnostic;
    out += info(d.kind).severity == Severity::error ? "::error " : "::warning ";
    if (d.span.valid()) {
      const source::File& file = (*finding.sources)[d.span.file];
      const source::Position begin = file.position(d.span.begin);
      const source::Position end = file.position(d.span.end);
      out += fmt::format("file={},line={},endLine={},", github_escaped(file.name(), true),
                         begin.line, end.line);
      // GitHub takes columns only of what lies within one line.
      if (begin.line == end.line)
        out += fmt::format("col={},endColumn={},", begin.column, end.column);
    }
    out +=
        fmt::format("title={}::{}\n", code_text(d.kind), github_escaped(whole_message(d), false));
  }
  return out;
}

}  // namespace kflow::diagnostics
