// Declarations in order of their kinds, read off the tree.
#include "compiler/doc/doc.hpp"

#include <functional>
#include <vector>

namespace kflow::doc {
namespace {

using syntax::Cursor;
using syntax::Node;

// A text on one line, without its comments.
std::string flat(Cursor c) {
  std::string out;
  const auto& nodes = c.tree().nodes();
  for (uint32_t i = c.index(); i < c.index() + nodes[c.index()].size; ++i) {
    if (!syntax::is_leaf(nodes[i].kind)) continue;
    const std::string_view text =
        c.tree().text().substr(nodes[i].begin, nodes[i].end - nodes[i].begin);
    if (syntax::is_trivia(nodes[i].kind)) {
      if (!out.empty() && !out.ends_with(' ')) out += ' ';
    } else {
      out += text;
    }
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

// In a cell of a table.
std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find_first_of("|\n", at)) != std::string::npos; ++at) {
    if (text[at] == '\n') {
      text[at] = ' ';
    } else {
      text.insert(at++, "\\");
    }
  }
  return text;
}

std::string code(const std::string& text) { return text.empty() ? "" : "`" + cell(text) + "`"; }

bool is_type(Cursor c) { return c.kind() >= Node::union_type && c.kind() <= Node::paren_type; }

Cursor type_of(Cursor c) {
  for (Cursor x = c.first(); x; x = c.next(x)) {
    if (is_type(x)) return x;
  }
  return {};
}

std::string annotations(Cursor c) {
  std::string out;
  for (const Cursor a : c.children(Node::annotation)) out += (out.empty() ? "" : " ") + flat(a);
  return out;
}

/// Rows of a table of parameters or fields; "" if there are none.
std::string table(const std::vector<Cursor>& rows, std::string_view what) {
  if (rows.empty()) return "";
  std::string out = "| " + std::string(what) + " | type | default | |\n|---|---|---|---|\n";
  for (const Cursor row : rows) {
    const Cursor type = type_of(row);
    const Cursor fallback = row.expression();
    const std::string rules = annotations(row);
    out += "| `" + std::string(row.name()) + "` | " +
           code((type ? flat(type) : "") + (rules.empty() ? "" : " " + rules)) + " | " +
           (fallback ? code(flat(fallback)) : "") + " | " + cell(row.doc()) + " |\n";
  }
  return out + "\n";
}

// `name(a: int, b: string = "x") -> T`
std::string signature(Cursor c, bool defaults) {
  std::string out(c.name());
  if (const Cursor params = c.child(Node::params)) {
    out += "(";
    bool first = true;
    for (const Cursor p : params.children(Node::param)) {
      const Cursor type = type_of(p);
      out += (first ? "" : ", ") + std::string(p.name()) + ": " + (type ? flat(type) : "");
      if (defaults && p.expression()) out += " = " + flat(p.expression());
      first = false;
    }
    out += ")";
  }
  if (const Cursor result = c.child(Node::result_type)) out += " -> " + flat(type_of(result));
  return out;
}

void heading(std::string& out, Cursor c) {
  out += "### `" + std::string(c.name()) + "`\n\n";
  if (const std::string doc = c.doc(); !doc.empty()) out += doc + "\n\n";
}

void callable(std::string& out, Cursor c) {
  heading(out, c);
  const Cursor word = c.child(Node::keyword);
  out += "```kflow\n" + std::string(word.text()) + " ";
  if (c.is(Node::extern_decl)) out += "tool ";
  out += signature(c, true) + "\n```\n\n";
  if (const Cursor params = c.child(Node::params))
    out += table(params.children(Node::param), "parameter");
  Cursor block = c.child(Node::block);
  if (!block) block = c.child(Node::options);
  if (!block) return;
  std::string options;
  for (const Cursor o : block.children(Node::option)) {
    if (o.name() == "session" && o.child(Node::record_type)) {
      out += "State of the session:\n\n" +
             table(o.child(Node::record_type).children(Node::field), "field");
    } else if (const Cursor value = o.expression();
               value && value.text().find('\n') == std::string_view::npos) {
      options += "- `" + std::string(o.name()) + "`: " + code(flat(value)) + "\n";
    }
  }
  if (!options.empty()) out += options + "\n";
}

void type(std::string& out, Cursor c) {
  heading(out, c);
  const Cursor body = type_of(c);
  if (!body) return;
  if (body.is(Node::record_type)) {
    out += table(body.children(Node::field), "field");
    return;
  }
  if (!body.is(Node::union_type)) {
    out += code(flat(body)) + "\n\n";
    return;
  }
  for (Cursor arm = body.first(); arm; arm = body.next(arm)) {
    if (!is_type(arm)) continue;
    // The comment stands before the arm's `|`.
    std::string doc = arm.doc();
    for (Cursor x = body.first(), before; x && doc.empty(); before = x, x = body.next(x)) {
      if (x.index() == arm.index() && before && !is_type(before)) doc = before.doc();
    }
    out += "- " + code(flat(arm)) + (doc.empty() ? "" : ": " + cell(doc)) + "\n";
  }
  out += "\n";
}

void constant(std::string& out, Cursor c) {
  heading(out, c);
  if (const Cursor value = c.expression())
    out += "```kflow\nconst " + std::string(c.name()) + " = " + std::string(value.text()) +
           "\n```\n\n";
}

void function(std::string& out, Cursor c) {
  heading(out, c);
  out += "```kflow\nfn " + signature(c, true) + "\n```\n\n";
  if (const Cursor params = c.child(Node::params))
    out += table(params.children(Node::param), "parameter");
}

void plain(std::string& out, Cursor c) {
  heading(out, c);
  if (const Cursor options = c.child(Node::options)) {
    for (const Cursor o : options.children(Node::option)) {
      if (const Cursor value = o.expression())
        out += "- `" + std::string(o.name()) + "`: " + code(flat(value)) + "\n";
    }
    out += "\n";
  }
}

// What the first comment of the file says, without its slashes.
std::string file_comment(const syntax::Tree& tree) {
  std::string out;
  for (const syntax::NodeData& n : tree.nodes()) {
    if (n.kind == Node::file || n.kind == Node::whitespace) {
      const std::string_view text = tree.text().substr(n.begin, n.end - n.begin);
      const bool gap = n.kind == Node::whitespace && text.find("\n\n") != std::string_view::npos;
      if (gap && !out.empty()) break;
      continue;
    }
    if (n.kind != Node::comment) break;
    std::string_view line = tree.text().substr(n.begin + 2, n.end - n.begin - 2);
    while (line.starts_with(' ')) line.remove_prefix(1);
    while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
    out += (out.empty() ? "" : "\n") + std::string(line);
  }
  return out;
}

}  // namespace

std::string page(const syntax::Tree& tree, const std::string& name) {
  struct Section {
    std::string_view title;
    std::function<bool(Cursor)> holds;
    void (*write)(std::string&, Cursor);
  };
  const auto word = [](std::string_view wanted) {
    return [wanted](Cursor c) {
      const Cursor k = c.child(Node::keyword);
      return k && k.text() == wanted;
    };
  };
  const std::vector<Section> sections{
      {"Workflows", word("workflow"), callable},
      {"Teams", word("team"), callable},
      {"Agents", word("agent"), callable},
      {"Tools", [&](Cursor c) { return word("tool")(c) || c.is(Node::extern_decl); }, callable},
      {"Functions", word("fn"), function},
      {"Types", word("type"), type},
      {"Constants", word("const"), constant},
      {"Models", word("model"), plain},
      {"MCP servers", word("mcp"), plain},
      {"Retry policies", word("retry"), plain},
      {"Secrets", word("secret"), plain},
  };
  std::string out = "# " + name + "\n\n";
  if (const std::string about = file_comment(tree); !about.empty()) out += about + "\n\n";
  const Cursor root = tree.root();
  for (const Section& section : sections) {
    std::string body;
    for (Cursor c = root.first(); c; c = root.next(c)) {
      if (syntax::is_leaf(c.kind()) || c.name().empty() || c.name().starts_with('_')) continue;
      if (section.holds(c)) section.write(body, c);
    }
    if (!body.empty()) out += "## " + std::string(section.title) + "\n\n" + body;
  }
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

}  // namespace kflow::doc
