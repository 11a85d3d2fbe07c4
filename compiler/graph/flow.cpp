// Figures as nodes and edges: Mermaid and Graphviz lay them out themselves.
#include <fmt/format.h>

#include <optional>

#include "compiler/graph/figure.hpp"

namespace kflow::graph {
namespace {

constexpr size_t max_label = 60;  ///< characters

std::string clipped(std::string_view text) {
  size_t characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) == 0x80) continue;
    if (++characters > max_label) return std::string(text.substr(0, i)) + "…";
  }
  return std::string(text);
}

struct Style {
  std::string_view name;
  std::string_view fill;
  std::string_view stroke;
};
constexpr Style styles[] = {
    {"agent", "#f5f3ff", "#7c3aed"},  {"tool", "#eff6ff", "#2563eb"},
    {"effect", "#f0fdfa", "#0f766e"}, {"person", "#fffbeb", "#b45309"},
    {"time", "#f8fafc", "#475569"},   {"workflow", "#f0fdf4", "#15803d"},
    {"pure", "#ffffff", "#cbd5e1"},   {"good", "#dcfce7", "#15803d"},
    {"bad", "#fee2e2", "#b91c1c"},    {"jump", "#f1f5f9", "#64748b"},
    {"none", "#ffffff", "#94a3b8"},
};
static_assert(std::size(styles) == static_cast<size_t>(Tone::none) + 1);
const Style& style_of(Tone tone) { return styles[static_cast<size_t>(tone)]; }

/// An edge that has not reached its end yet.
struct Loose {
  std::string from;
  std::string label;
};

/// What one language of graphs writes for nodes, edges and groups.
class Language {
 public:
  virtual ~Language() = default;
  virtual void node(const std::string& id, const Item& item) = 0;
  virtual void point(const std::string& id, std::string_view text, bool choice) = 0;
  virtual void edge(const Loose& from, const std::string& to, bool back) = 0;
  virtual void open(const std::string& id, const std::string& title) = 0;
  virtual void close() = 0;
};

class Walker {
 public:
  explicit Walker(Language& language) : out_(language) {}

  std::vector<Loose> items(const std::vector<Item>& all, std::vector<Loose> loose) {
    for (const Item& item : all) loose = one(item, std::move(loose));
    return loose;
  }
  std::string fresh() { return "n" + std::to_string(++count_); }
  void join(const std::vector<Loose>& loose, const std::string& to, bool back = false) {
    for (const Loose& from : loose) out_.edge(from, to, back);
  }

 private:
  std::vector<Loose> one(const Item& item, std::vector<Loose> loose) {
    const std::string id = fresh();
    std::vector<Loose> ends;
    const auto lanes = [&](const std::string& from, size_t first) {
      for (size_t i = first; i < item.lanes.size(); ++i) {
        for (Loose& end : this->items(item.lanes[i].items, {{from, item.lanes[i].label}}))
          ends.push_back(std::move(end));
      }
    };
    switch (item.shape) {
      case Shape::box:
      case Shape::line:
      case Shape::end:
        out_.node(id, item);
        join(loose, id);
        if (item.shape == Shape::end) return {};
        return {{id, ""}};
      case Shape::choice:
        out_.point(id, item.title, true);
        join(loose, id);
        lanes(id, 0);
        return ends;
      case Shape::together: {
        out_.open(id, item.detail.empty() ? item.title : item.title + ", " + item.detail);
        const std::string fork = fresh();
        out_.point(fork, "", false);
        lanes(fork, 0);
        out_.close();
        join(loose, fork);
        return ends;
      }
      case Shape::repeated: {
        out_.open(id, item.detail.empty() ? item.title : item.title + ", " + item.detail);
        const std::string again = fresh();
        out_.point(again, "", false);
        lanes(again, 0);
        if (!ends.empty()) {
          out_.edge({ends.front().from, ends.front().label}, again, true);
        }
        out_.close();
        join(loose, again);
        return ends;
      }
      case Shape::attempt: {
        out_.open(id, item.title);
        const std::string begin = fresh();
        out_.point(begin, "", false);
        lanes(begin, 0);
        out_.close();
        join(loose, begin);
        return ends;
      }
    }
    return ends;
  }

  Language& out_;
  int count_ = 0;
};

class Mermaid : public Language {
 public:
  std::string text;

  void node(const std::string& id, const Item& item) override {
    const bool round = item.shape == Shape::end;
    std::string label = item.shape == Shape::line ? "" : "<b>" + escaped(item.title) + "</b>";
    if (item.shape == Shape::line) label = escaped(item.title);
    if (!item.detail.empty()) label += "<br>" + escaped(item.detail);
    for (const std::string& note : item.notes) label += "<br><i>" + escaped(note) + "</i>";
    line(fmt::format("{}{}\"{}\"{}:::{}", id, round ? "([" : "[", label, round ? "])" : "]",
                     style_of(item.tone).name));
  }
  void point(const std::string& id, std::string_view title, bool choice) override {
    if (choice) {
      line(fmt::format("{}{{\"{}\"}}", id, escaped(title)));
    } else {
      line(fmt::format("{}((\" \"))", id));
    }
  }
  void edge(const Loose& from, const std::string& to, bool back) override {
    const std::string arrow = back ? "-.->" : "-->";
    line(from.label.empty()
             ? fmt::format("{} {} {}", from.from, arrow, to)
             : fmt::format("{} {}|\"{}\"| {}", from.from, arrow, escaped(from.label), to));
  }
  void open(const std::string& id, const std::string& title) override {
    line(fmt::format("subgraph {} [\"{}\"]", id, escaped(title)));
    ++depth_;
  }
  void close() override {
    --depth_;
    line("end");
  }
  void line(std::string_view content) {
    text += std::string(static_cast<size_t>(2 * depth_ + 2), ' ') + std::string(content) + "\n";
  }
  static std::string escaped(std::string_view source) {
    std::string out;
    for (const char c : clipped(source)) {
      if (c == '"') {
        out += "#quot;";
      } else if (c == '<') {
        out += "#lt;";
      } else if (c == '>') {
        out += "#gt;";
      } else if (c == '#') {
        out += "#35;";
      } else if (c == '`' || c == '\\') {
        out += fmt::format("#{};", static_cast<int>(c));
      } else {
        out += c;
      }
    }
    return out;
  }

 private:
  int depth_ = 0;
};

class Dot : public Language {
 public:
  std::string text;

  void node(const std::string& id, const Item& item) override {
    const Style& style = style_of(item.tone);
    std::string label = item.title;
    if (!item.detail.empty()) label += "\n" + clipped(item.detail);
    for (const std::string& note : item.notes) label += "\n" + clipped(note);
    line(fmt::format("{} [label={}, fillcolor=\"{}\", color=\"{}\"{}];", id, quoted(label),
                     style.fill, style.stroke,
                     item.shape == Shape::line ? ", fontsize=9, style=\"filled\"" : ""));
  }
  void point(const std::string& id, std::string_view title, bool choice) override {
    line(choice ? fmt::format("{} [label={}, shape=diamond, style=solid];", id, quoted(title))
                : fmt::format("{} [label=\"\", shape=circle, width=0.12, style=filled, "
                              "fillcolor=\"#94a3b8\"];",
                              id));
  }
  void edge(const Loose& from, const std::string& to, bool back) override {
    std::string options;
    if (!from.label.empty()) options = "label=" + quoted(from.label);
    if (back)
      options += std::string(options.empty() ? "" : ", ") + "style=dashed, constraint=false";
    line(fmt::format("{} -> {}{};", from.from, to, options.empty() ? "" : " [" + options + "]"));
  }
  void open(const std::string& id, const std::string& title) override {
    line(fmt::format("subgraph cluster_{} {{", id));
    ++depth_;
    line(fmt::format("label={}; style=rounded; color=\"#94a3b8\";", quoted(title)));
  }
  void close() override {
    --depth_;
    line("}");
  }
  void line(std::string_view content) {
    text += std::string(static_cast<size_t>(2 * depth_ + 2), ' ') + std::string(content) + "\n";
  }
  static std::string quoted(std::string_view source) {
    std::string out = "\"";
    for (const char c : clipped_lines(source)) {
      if (c == '"' || c == '\\') out += '\\';
      out += c == '\n' ? "\\n" : std::string(1, c);
    }
    return out + "\"";
  }

 private:
  static std::string clipped_lines(std::string_view source) {
    return source.find('\n') == std::string_view::npos ? clipped(source) : std::string(source);
  }
  int depth_ = 0;
};

}  // namespace

std::string mermaid(const Figure& figure) {
  Mermaid out;
  Walker walker(out);
  const std::string start = walker.fresh();
  out.line(fmt::format("{}([\"<b>{}</b>\"])", start, Mermaid::escaped(figure.title)));
  const auto ends = walker.items(figure.items, {{start, ""}});
  if (!ends.empty()) {
    const std::string end = walker.fresh();
    out.line(fmt::format("{}((\" \"))", end));
    walker.join(ends, end);
  }
  for (const Style& style : styles)
    out.line(fmt::format("classDef {} fill:{},stroke:{},color:#0f172a", style.name, style.fill,
                         style.stroke));
  return "flowchart TD\n" + out.text;
}

std::string dot(const Figure& figure) {
  Dot out;
  Walker walker(out);
  const std::string start = walker.fresh();
  out.line("node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];");
  out.line("edge [fontname=\"Helvetica\", fontsize=9, color=\"#64748b\"];");
  out.line(fmt::format("{} [label={}, shape=oval, fillcolor=\"#f1f5f9\", color=\"#475569\"];",
                       start, Dot::quoted(figure.title)));
  const auto ends = walker.items(figure.items, {{start, ""}});
  if (!ends.empty()) {
    const std::string end = walker.fresh();
    out.point(end, "", false);
    walker.join(ends, end);
  }
  return fmt::format("digraph {} {{\n", Dot::quoted(figure.title)) + out.text + "}\n";
}

}  // namespace kflow::graph
