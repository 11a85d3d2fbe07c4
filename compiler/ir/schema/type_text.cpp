// Writes types with their annotations, defaults and doc comments.
#include "compiler/ir/schema/type_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "compiler/cel/value_codec.hpp"

namespace kflow::schema {
namespace {

// A value as the language writes a literal of it.
std::string literal(const cel::Value& v) {
  switch (v.kind()) {
    case cel::Kind::string: {
      std::string out = cel::to_json(v);
      for (size_t at = 0; (at = out.find("${", at)) != std::string::npos; at += 3)
        out.insert(at, 1, '\\');
      return out;
    }
    case cel::Kind::list: {
      std::string out;
      for (const cel::Value& item : v.as_list()) out += (out.empty() ? "" : ", ") + literal(item);
      return "[" + out + "]";
    }
    case cel::Kind::map: {
      std::string out;
      for (const cel::MapEntry& e : v.as_map())
        out += (out.empty() ? "" : ", ") + literal(e.key) + ": " + literal(e.value);
      return "{" + out + "}";
    }
    default:
      return cel::to_display(v);
  }
}

std::string annotation(const Constraint& c) {
  const auto range = [&](std::string_view name) {
    return c.max.is_null() ? fmt::format(" @{}({})", name, literal(c.min))
                           : fmt::format(" @{}({}, {})", name, literal(c.min), literal(c.max));
  };
  switch (c.kind) {
    case Constraint::Kind::range:
      return c.min.is_null() ? "" : range("range");
    case Constraint::Kind::length:
      return c.min.is_null() ? fmt::format(" @length(0, {})", literal(c.max)) : range("length");
    case Constraint::Kind::pattern:
      return fmt::format(" @pattern({})", literal(cel::Value::string(c.text)));
    case Constraint::Kind::format:
      return fmt::format(" @format({})", literal(cel::Value::string(c.text)));
    case Constraint::Kind::check:
      return fmt::format(" @check({})", c.text);
  }
  return "";
}

class Writer {
 public:
  Writer(const TypeTable& types, std::string_view name, std::string_view doc)
      : t_(types), name_(name), doc_(doc) {}

  std::string run(TypeId type) {
    const Type& t = t_[type];
    todo_.push_back(type);
    seen_.insert(type);
    const bool named = !t.name.empty() && t.name == name_;
    if (!named) declare(type, name_);
    for (size_t i = named ? 0 : 1; i < todo_.size(); ++i) declare(todo_[i], t_[todo_[i]].name);
    // A schema that refers to itself has its root written out and once more by name.
    const bool twice = !named && t.kind == TypeKind::record && texts_.size() > 1 &&
                       std::any_of(todo_.begin() + 1, todo_.end(),
                                   [&](TypeId other) { return t_[other].name == name_; });
    if (twice) texts_.erase(texts_.begin());
    std::string out;
    for (auto it = texts_.rbegin(); it != texts_.rend(); ++it)
      out += (out.empty() ? "" : "\n") + *it;
    return out;
  }

 private:
  static void doc(std::string& out, std::string_view text, std::string_view indent) {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      out += fmt::format("{}/// {}\n", indent, text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  void declare(TypeId id, const std::string& name) {
    const Type& t = t_[id];
    std::string out;
    doc(out, t.doc.empty() && name == name_ ? doc_ : t.doc, "");
    if (t.kind == TypeKind::record) {
      out += fmt::format("type {} {}\n", name, record(t, ""));
    } else {
      out += fmt::format("type {} = {}\n", name, content(id, ""));
    }
    texts_.push_back(std::move(out));
  }

  std::string record(const Type& t, const std::string& indent) {
    if (t.fields.empty()) return "{}";
    const std::string inside = indent + "  ";
    std::string out = "{\n";
    for (const Field& f : t.fields) {
      doc(out, f.doc, inside);
      out += fmt::format("{}{}: {}", inside, f.name, text(f.type, inside));
      for (const Constraint& c : f.constraints) out += annotation(c);
      if (!f.alias.empty()) out += fmt::format(" @alias({})", literal(cel::Value::string(f.alias)));
      if (!f.was.empty()) {
        std::string names;
        for (const std::string& name : f.was)
          names += (names.empty() ? "" : ", ") + literal(cel::Value::string(name));
        out += fmt::format(" @was({})", names);
      }
      if (f.fallback) out += " = " + literal(*f.fallback);
      out += '\n';
    }
    return out + indent + "}";
  }

  // By its name, if it has one.
  std::string text(TypeId id, const std::string& indent) {
    if (!t_[id].name.empty()) {
      if (seen_.insert(id).second) todo_.push_back(id);
      return t_[id].name;
    }
    return content(id, indent);
  }

  std::string content(TypeId id, const std::string& indent) {
    const Type& t = t_[id];
    const auto inner = [&] {
      const Type& e = t_[t.element];
      const bool arms = e.kind == TypeKind::literal_union || e.kind == TypeKind::record_union;
      const std::string out = text(t.element, indent);
      return arms && e.name.empty() ? "(" + out + ")" : out;
    };
    switch (t.kind) {
      case TypeKind::list:
        return inner() + "[]";
      case TypeKind::nullable:
        return inner() + "?";
      case TypeKind::map:
        return "map<string, " + text(t.element, indent) + ">";
      case TypeKind::record:
        return record(t, indent);
      case TypeKind::record_union: {
        std::string out;
        for (const TypeId arm : t.arms) out += (out.empty() ? "" : " | ") + text(arm, indent);
        return out;
      }
      case TypeKind::literal_union: {
        std::string out;
        for (const cel::Value& v : t.literals) out += (out.empty() ? "" : " | ") + literal(v);
        return out;
      }
      default:
        return t_.display(id);
    }
  }

  const TypeTable& t_;
  const std::string name_;
  const std::string doc_;
  std::vector<TypeId> todo_;
  std::set<TypeId> seen_;
  std::vector<std::string> texts_;
};

}  // namespace

std::string declarations(const TypeTable& types, TypeId type, std::string_view name,
                         std::string_view doc) {
  return Writer(types, name, doc).run(type);
}

}  // namespace kflow::schema
