// Checks values against types at run time, with path, rule and value of each violation.
#include <algorithm>

#include "compiler/base/check.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/operators.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/ir/schema/types.hpp"

namespace kflow::schema {
namespace {

using cel::Kind;
using cel::Value;

std::string shown(const Value& v) {
  std::string text = cel::to_display(v);
  if (text.size() > 80) {
    size_t cut = 77;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
    text = text.substr(0, cut) + "…";
  }
  return text;
}

std::string join(const std::string& path, std::string_view field) {
  return path.empty() ? std::string(field) : path + "." + std::string(field);
}

class OneValue : public cel::Bindings {
 public:
  explicit OneValue(const Value& v) : value_(v) {}
  const Value* lookup(uint32_t) override { return &value_; }

 private:
  const Value& value_;
};

class Validator {
 public:
  Validator(const TypeTable& types, Source source) : types_(types), json_(source == Source::json) {}
  std::vector<Violation> violations;

  Value check(TypeId id, const Value& v, const std::string& path) {
    if (violations.size() >= max_violations) return v;
    const Type& t = types_[id];
    switch (t.kind) {
      case TypeKind::any:
      case TypeKind::poison:
        return v;
      case TypeKind::nullable:
        return v.is_null() ? v : check(t.element, v, path);
      case TypeKind::null:
        return expect(v, Kind::null, id, path);
      case TypeKind::boolean:
        return expect(v, Kind::boolean, id, path);
      case TypeKind::int_:
        return number(id, v, path);
      case TypeKind::uint_:
        return number(id, v, path);
      case TypeKind::double_:
        return number(id, v, path);
      case TypeKind::string:
        return expect(v, Kind::string, id, path);
      case TypeKind::secret:
        // Whoever could name one here could have any variable of the environment sent somewhere.
        violations.push_back({path, "a secret is declared in the program, never given", "…"});
        return v;
      case TypeKind::bytes: {
        if (json_ && v.kind() == Kind::string) {
          if (const auto octets = cel::base64_decode(v.as_string())) return Value::bytes(*octets);
        }
        return expect(v, Kind::bytes, id, path);
      }
      case TypeKind::timestamp: {
        if (json_ && v.kind() == Kind::string) {
          if (const auto time = cel::parse_timestamp(v.as_string())) return Value::timestamp(*time);
        }
        return expect(v, Kind::timestamp, id, path);
      }
      case TypeKind::duration: {
        if (json_ && v.kind() == Kind::string) {
          if (const auto d = cel::parse_duration(v.as_string())) return Value::duration(*d);
          if (const auto d = cel::parse_duration_literal(v.as_string())) return Value::duration(*d);
        }
        return expect(v, Kind::duration, id, path);
      }
      case TypeKind::file:
        return file(id, v, path);
      case TypeKind::list: {
        if (v.kind() != Kind::list) return wrong(id, v, path);
        std::vector<Value> items;
        items.reserve(v.as_list().size());
        for (size_t i = 0; i < v.as_list().size(); ++i) {
          items.push_back(check(t.element, v.as_list()[i], path + "[" + std::to_string(i) + "]"));
        }
        return Value::list(std::move(items));
      }
      case TypeKind::map: {
        if (v.kind() != Kind::map) return wrong(id, v, path);
        std::vector<cel::MapEntry> entries;
        for (const cel::MapEntry& e : v.as_map()) {
          if (e.key.kind() != Kind::string) {
            add(path, "map keys must be strings", e.key);
            continue;
          }
          entries.push_back({e.key, check(t.element, e.value, join(path, e.key.as_string()))});
        }
        return Value::map(std::move(entries));
      }
      case TypeKind::literal_union: {
        for (const Value& literal : t.literals) {
          if (literal.kind() == v.kind() && literal == v) return v;
        }
        add(path, "expected " + types_.display(id), v);
        return v;
      }
      case TypeKind::record:
        return record(id, t, v, path);
      case TypeKind::record_union:
        // Of `string | secret` a secret comes from the program alone, which needs no check.
        if (t.discriminator.empty()) return expect(v, Kind::string, id, path);
        return record_union(id, t, v, path);
    }
    std::unreachable();
  }

 private:
  void add(const std::string& path, std::string rule, const Value& v) {
    if (violations.size() < max_violations) violations.push_back({path, std::move(rule), shown(v)});
  }
  Value wrong(TypeId id, const Value& v, const std::string& path) {
    add(path, "expected " + types_.display(id), v);
    return v;
  }
  Value expect(const Value& v, Kind kind, TypeId id, const std::string& path) {
    return v.kind() == kind ? v : wrong(id, v, path);
  }

  // From outside, a record of what is known of a file that the store holds.
  Value file(TypeId id, const Value& v, const std::string& path) {
    if (v.kind() == Kind::file) return v;
    if (json_) {
      if (auto known = cel::file_from_record(v)) return Value::file(std::move(*known));
    }
    if (json_) {
      add(path, "expected a file: a record of name, media_type, size and sha256", v);
      return v;
    }
    return wrong(id, v, path);
  }

  Value number(TypeId id, const Value& v, const std::string& path) {
    switch (types_[id].kind) {
      case TypeKind::double_:
        if (v.kind() == Kind::double_) return v;
        if (v.kind() == Kind::int_) return Value::number(static_cast<double>(v.as_int()));
        if (v.kind() == Kind::uint_) return Value::number(static_cast<double>(v.as_uint()));
        break;
      case TypeKind::int_:
        if (v.kind() == Kind::int_) return v;
        if (json_ && v.is_number()) {
          if (const auto i = cel::integral(v)) return Value::integer(*i);
        }
        break;
      default:
        if (v.kind() == Kind::uint_) return v;
        if (json_ && v.is_number()) {
          if (const auto i = cel::integral(v); i && *i >= 0)
            return Value::unsigned_integer(static_cast<uint64_t>(*i));
        }
    }
    return wrong(id, v, path);
  }

  Value record(TypeId id, const Type& t, const Value& v, const std::string& path) {
    if (v.kind() != Kind::map) return wrong(id, v, path);
    std::vector<cel::MapEntry> entries;
    for (const Field& f : t.fields) {
      const Value* given = v.find(f.name);
      if (given == nullptr && !f.alias.empty()) given = v.find(f.alias);
      // Models are made to name every field; null is then what is left out.
      if (json_ && given != nullptr && given->is_null() && f.fallback &&
          !types_.accepts_null(f.type))
        given = nullptr;
      if (given == nullptr) {
        if (f.fallback) {
          entries.push_back({Value::string(f.name), *f.fallback});
        } else if (types_.accepts_null(f.type)) {
          entries.push_back({Value::string(f.name), Value()});
        } else {
          add(path, "the field `" + f.name + "` is missing", v);
        }
        continue;
      }
      const std::string inner = join(path, f.name);
      const size_t before = violations.size();
      Value checked = check(f.type, *given, inner);
      if (violations.size() == before && !checked.is_null())
        check_constraints(f.constraints, checked, inner, violations);
      entries.push_back({Value::string(f.name), std::move(checked)});
    }
    for (const cel::MapEntry& e : v.as_map()) {
      const bool known = e.key.kind() == Kind::string &&
                         std::any_of(t.fields.begin(), t.fields.end(), [&](const Field& f) {
                           return f.name == e.key.as_string() || f.alias == e.key.as_string();
                         });
      if (!known) add(path, "no field " + shown(e.key) + " in " + types_.display(id), v);
    }
    return Value::map(std::move(entries));
  }

  Value record_union(TypeId id, const Type& t, const Value& v, const std::string& path) {
    const Value* tag = v.kind() == Kind::map ? v.find(t.discriminator) : nullptr;
    if (tag == nullptr) return wrong(id, v, path);
    for (const TypeId arm : t.arms) {
      for (const Field& f : types_[arm].fields) {
        if (f.name != t.discriminator || types_[f.type].kind != TypeKind::literal_union) continue;
        const auto& literals = types_[f.type].literals;
        if (std::any_of(literals.begin(), literals.end(),
                        [&](const Value& l) { return l == *tag; }))
          return check(arm, v, path);
      }
    }
    add(join(path, t.discriminator), "no kind of " + types_.display(id) + " has this", *tag);
    return v;
  }

  const TypeTable& types_;
  bool json_;
};

std::string range_text(const Constraint& c) {
  if (c.max.is_null()) return "at least " + cel::to_display(c.min);
  if (c.min.is_null()) return "at most " + cel::to_display(c.max);
  return cel::to_display(c.min) + " to " + cel::to_display(c.max);
}

bool within(const Constraint& c, const Value& v) {
  const auto low =
      c.min.is_null() ? std::optional(std::partial_ordering::greater) : cel::compare(v, c.min);
  const auto high =
      c.max.is_null() ? std::optional(std::partial_ordering::less) : cel::compare(v, c.max);
  return low && high && *low >= 0 && *high <= 0;
}

// Patterns of the well-known formats (RFC 5322 and others, in the reach of a regular expression).
std::string_view format_pattern(std::string_view name) {
  if (name == "email") return R"(^[^\s@]+@[^\s@]+\.[^\s@]+$)";
  if (name == "uri") return R"(^[A-Za-z][A-Za-z0-9+.-]*:\S+$)";
  if (name == "date") return R"(^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$)";
  if (name == "time") return R"(^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$)";
  if (name == "uuid") return R"(^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)";
  if (name == "hostname")
    return R"(^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$)";
  if (name == "ipv4") return R"(^((25[0-5]|2[0-4]\d|1?\d?\d)(\.|$)){4}$)";
  return "";
}

}  // namespace

bool is_known_format(std::string_view name) {
  return name == "date-time" || !format_pattern(name).empty();
}

void check_constraints(const std::vector<Constraint>& constraints, const Value& value,
                       const std::string& path, std::vector<Violation>& out) {
  const auto add = [&](std::string rule) {
    if (out.size() < max_violations) out.push_back({path, std::move(rule), shown(value)});
  };
  for (const Constraint& c : constraints) {
    switch (c.kind) {
      case Constraint::Kind::range:
        if (!within(c, value)) add("must be " + range_text(c));
        break;
      case Constraint::Kind::length: {
        const bool sized = value.kind() >= Kind::string && value.kind() <= Kind::map;
        if (sized && !within(c, Value::integer(value.size())))
          add("its length must be " + range_text(c));
        break;
      }
      case Constraint::Kind::pattern:
      case Constraint::Kind::format: {
        if (value.kind() != Kind::string) break;
        const bool is_format = c.kind == Constraint::Kind::format;
        if (is_format && c.text == "date-time") {
          if (!cel::parse_timestamp(value.as_string())) add("must be a date-time (RFC 3339)");
          break;
        }
        const auto regex =
            cel::Regex::compile(is_format ? format_pattern(c.text) : std::string_view(c.text));
        if (regex && !regex->matches(value.as_string()))
          add(is_format ? "must be a " + c.text : "must match `" + c.text + "`");
        break;
      }
      case Constraint::Kind::check: {
        OneValue bindings(value);
        const auto result = cel::evaluate(c.program, bindings);
        const Value* verdict = std::get_if<Value>(&result);
        if (verdict == nullptr || verdict->kind() != Kind::boolean || !verdict->as_bool())
          add("must satisfy `" + c.text + "`");
        break;
      }
    }
  }
}

Validation validate(const TypeTable& types, TypeId type, const Value& value, Source source) {
  Validator validator(types, source);
  Validation out;
  out.value = validator.check(type, value, "");
  out.violations = std::move(validator.violations);
  return out;
}

}  // namespace kflow::schema
