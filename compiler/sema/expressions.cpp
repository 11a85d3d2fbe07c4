// Checks expressions bottom up over the Ast: names, fields, operators, functions; poison causes no
// further messages.
#include "compiler/sema/expressions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/functions.hpp"

namespace kflow::sema {

using cel::ExprKind;
using cel::OpCode;
using diagnostics::Kind;
using schema::TypeKind;
using schema::TypeTable;

namespace {

constexpr int max_inline_depth = 50;

struct Info {
  TypeId type = TypeTable::simple(TypeKind::poison);
  bool optional = false;
};

class Checker {
 public:
  Checker(Model& m, ExpressionScope& scope, CheckedExpression& out)
      : m_(m), t_(m.types), scope_(scope), out_(out) {
    for (const auto& [name, type] : scope.locals) locals_.push_back({name, type});
  }

  Info check(uint32_t id) {
    // A copy: checking may add expressions (functions are expanded in place).
    const ExprKind kind = out_.ast.exprs[id].kind;
    switch (kind) {
      case ExprKind::poison:
        return {};
      case ExprKind::literal:
        return {type_of(m_, out_.ast.exprs[id].literal), false};
      case ExprKind::name:
        return name(id);
      case ExprKind::select:
        return select(id);
      case ExprKind::call:
        return call(id);
      case ExprKind::op:
        return op(id);
    }
    std::unreachable();
  }

 private:
  struct Local {
    std::string name;
    TypeId type;
  };

  static TypeId simple(TypeKind kind) { return TypeTable::simple(kind); }
  source::Span span(uint32_t id) const {
    const cel::Expr& e = out_.ast.exprs[id];
    return {scope_.module->file, e.begin, e.end};
  }
  TypeKind kind(TypeId id) const { return t_[id].kind; }
  bool unknown(TypeId id) const {
    return kind(id) == TypeKind::any || kind(id) == TypeKind::poison;
  }
  TypeId plain(const Info& i) { return i.optional ? t_.nullable(i.type) : i.type; }
  std::string show(const Info& i) { return t_.display(plain(i)); }
  /// string of "a", int of 1; other types themselves.
  TypeId widened(TypeId id) const {
    const schema::Type& type = t_[id];
    if (type.kind != TypeKind::literal_union) return id;
    switch (type.literals.front().kind()) {
      case cel::Kind::string:
        return simple(TypeKind::string);
      case cel::Kind::int_:
        return simple(TypeKind::int_);
      case cel::Kind::boolean:
        return simple(TypeKind::boolean);
      default:
        return simple(TypeKind::any);
    }
  }
  bool is_number(TypeId id) const {
    const TypeKind k = kind(widened(id));
    return k == TypeKind::int_ || k == TypeKind::uint_ || k == TypeKind::double_;
  }
  Info poison() { return {}; }

  bool known_non_null(uint32_t id) const {
    const std::string path = out_.ast.dotted(id);
    return !path.empty() &&
           std::find(scope_.non_null.begin(), scope_.non_null.end(), path) != scope_.non_null.end();
  }
  Info narrowed(uint32_t id, Info info) {
    if (kind(info.type) == TypeKind::nullable && known_non_null(id))
      info.type = t_.without_null(info.type);
    return info;
  }

  // ---- names

  Info name(uint32_t id) {
    const std::string text = out_.ast.exprs[id].text;
    for (auto it = locals_.rbegin(); it != locals_.rend(); ++it) {
      if (it->name == text) return narrowed(id, {it->type, false});
    }
    if (scope_.own_value && (text == scope_.own_name || text == "this")) {
      out_.references.emplace_back(id, ir::VarRef{.source = ir::VarSource::own_value});
      return {*scope_.own_value, false};
    }
    if (scope_.own_key && text == "idempotency_key") {
      out_.references.emplace_back(id, ir::VarRef{.source = ir::VarSource::own_key});
      return {simple(TypeKind::string), false};
    }
    bool reported = false;
    if (scope_.lookup) {
      if (const auto found = scope_.lookup(text, span(id), reported)) {
        out_.references.emplace_back(id, found->ref);
        return narrowed(id, {found->type, false});
      }
    }
    if (reported) return poison();
    if (const ConstInfo* info = constant(m_, *scope_.module, text)) {
      cel::Expr& e = out_.ast.exprs[id];
      e.kind = ExprKind::literal;
      e.literal = info->value;
      return {info->type, false};
    }
    if (scope_.module->secrets.contains(text)) {
      // Its value is its name, in a form that no text can have: what it stands for is known to the
      // effect that uses it alone.
      cel::Expr& e = out_.ast.exprs[id];
      e.kind = ExprKind::literal;
      e.literal = cel::make_record({{"secret", cel::Value::string(text)}});
      return {simple(TypeKind::secret), false};
    }
    static constexpr std::string_view types[] = {"int",       "uint",  "double",       "bool",
                                                 "string",    "bytes", "list",         "map",
                                                 "null_type", "type",  "optional_type"};
    if (std::find(std::begin(types), std::end(types), text) != std::end(types))
      return {simple(TypeKind::any), false};
    unknown_name(id, text);
    return poison();
  }

  void unknown_name(uint32_t id, const std::string& text) {
    if (!m_.unknown_names.insert(text).second) return;
    // What could not be read may have declared it.
    if (scope_.module->has_syntax_errors && locals_.empty() && !scope_.lookup) return;
    if (const auto it = scope_.module->imports.find(text); it != scope_.module->imports.end()) {
      m_.sink.report(Kind::unknown_name, span(id),
                     fmt::format("`{}` is a module, not a value", text));
      return;
    }
    if (find_callable(m_, *scope_.module, text) || ir::find_builtin(text) != nullptr) {
      m_.sink
          .report(Kind::unknown_name, span(id),
                  fmt::format("`{}` is called by a step, it is not a value", text))
          .note(fmt::format("write `step x = {}(…)` and use `x`", text));
      return;
    }
    std::vector<std::string> candidates = scope_.candidates;
    for (const Local& l : locals_) candidates.push_back(l.name);
    for (const auto& [n, c] : scope_.module->consts) candidates.push_back(n);
    m_.sink.report(Kind::unknown_name, span(id), fmt::format("nothing is named `{}` here", text))
        .suggest(text, candidates);
  }

  // ---- fields

  const schema::Field* field(TypeId record, std::string_view wanted) const {
    for (const schema::Field& f : t_[record].fields) {
      if (f.name == wanted) return &f;
    }
    return nullptr;
  }

  Info select(uint32_t id) {
    const uint32_t operand_id = out_.ast.exprs[id].args[0];
    const std::string text = out_.ast.exprs[id].text;
    const uint8_t flags = out_.ast.exprs[id].flags;
    if (const auto module_const = imported_const(id, operand_id, text)) return *module_const;
    Info operand = check(operand_id);
    if (unknown(operand.type))
      return {flags & cel::op_flag::test ? simple(TypeKind::boolean) : operand.type,
              operand.optional || flags & cel::op_flag::optional};
    const bool nullable = kind(operand.type) == TypeKind::nullable;
    const TypeId target = t_.without_null(operand.type);
    const bool soft = flags & (cel::op_flag::optional | cel::op_flag::test) || operand.optional;
    if (nullable && !soft) {
      m_.sink
          .report(Kind::maybe_null, span(id),
                  fmt::format("`{}` may be null, so `.{}` may fail", source_text(operand_id), text))
          .label(fmt::format("this is {}", t_.display(operand.type)))
          .note("write `.?" + text + "` with `?? …`, or check `!= null` before");
      return poison();
    }
    TypeId result = simple(TypeKind::any);
    switch (kind(target)) {
      case TypeKind::map:
        result = t_[target].element;
        break;
      case TypeKind::record: {
        const schema::Field* f = field(target, text);
        if (f == nullptr) return unknown_field(id, target, text);
        result = f->type;
        break;
      }
      case TypeKind::record_union: {
        TypeId joined;
        for (const TypeId arm : t_[target].arms) {
          const schema::Field* f = field(arm, text);
          if (f == nullptr) return unknown_field(id, target, text);
          joined = joined ? t_.join(joined, f->type) : f->type;
        }
        result = joined;
        break;
      }
      case TypeKind::any:
      case TypeKind::poison:
        break;
      default:
        m_.sink.report(Kind::unknown_field, span(id),
                       fmt::format("{} has no fields", t_.display(target)));
        return poison();
    }
    if (flags & cel::op_flag::test) return {simple(TypeKind::boolean), false};
    const bool optional = (flags & cel::op_flag::optional) || operand.optional;
    return narrowed(id, {optional ? t_.without_null(result) : result, optional});
  }

  std::optional<Info> imported_const(uint32_t id, uint32_t operand, const std::string& text) {
    const cel::Expr& e = out_.ast.exprs[operand];
    if (e.kind != ExprKind::name) return std::nullopt;
    const auto import = scope_.module->imports.find(e.text);
    if (import == scope_.module->imports.end() || is_local(e.text)) return std::nullopt;
    if (import->second == UINT32_MAX) return poison();
    Module& other = *m_.modules[import->second];
    const ConstInfo* info = is_private(text) ? nullptr : constant(m_, other, text);
    if (info == nullptr) {
      std::vector<std::string> names;
      for (const auto& [n, c] : other.consts) {
        if (!is_private(n)) names.push_back(n);
      }
      m_.sink
          .report(Kind::unknown_name, span(id),
                  fmt::format("the module `{}` has no const `{}`", import->first, text))
          .suggest(text, names);
      return poison();
    }
    cel::Expr& self = out_.ast.exprs[id];
    self.kind = ExprKind::literal;
    self.literal = info->value;
    self.args.clear();
    return Info{info->type, false};
  }
  bool is_local(std::string_view text) const {
    return std::any_of(locals_.begin(), locals_.end(),
                       [&](const Local& l) { return l.name == text; });
  }

  Info unknown_field(uint32_t id, TypeId target, const std::string& text) {
    std::vector<std::string> names;
    const std::vector<TypeId> arms =
        kind(target) == TypeKind::record_union ? t_[target].arms : std::vector<TypeId>{target};
    for (const TypeId arm : arms) {
      for (const schema::Field& f : t_[arm].fields) names.push_back(f.name);
    }
    const cel::Expr& e = out_.ast.exprs[id];
    const source::Span at{
        scope_.module->file,
        e.end - static_cast<uint32_t>(std::min<size_t>(text.size(), e.end - e.begin)), e.end};
    m_.sink
        .report(Kind::unknown_field, at,
                fmt::format("`{}` has no field `{}`", t_.display(target), text))
        .suggest(text, names)
        .note(fmt::format("fields: {}", fmt::join(names, ", ")));
    return poison();
  }

  std::string source_text(uint32_t id) const {
    const cel::Expr& e = out_.ast.exprs[id];
    std::string text(m_.sources[scope_.module->file].text().substr(e.begin, e.end - e.begin));
    return text.size() > 40 ? text.substr(0, 37) + "…" : text;
  }

  // ---- operators

  Info op(uint32_t id) {
    const OpCode code = out_.ast.exprs[id].op;
    const std::vector<uint32_t> args = out_.ast.exprs[id].args;
    switch (code) {
      case OpCode::list:
        return list(id, args);
      case OpCode::map:
        return map(id, args);
      case OpCode::conditional:
        return conditional(args);
      case OpCode::and_:
      case OpCode::or_:
        return logic(args, code == OpCode::and_);
      case OpCode::coalesce:
        return coalesce(args);
      case OpCode::not_:
        boolean(args[0], "`!`");
        return {simple(TypeKind::boolean), false};
      case OpCode::negate:
        return negate(id, args[0]);
      case OpCode::add:
      case OpCode::subtract:
      case OpCode::multiply:
      case OpCode::divide:
      case OpCode::modulo:
        return arithmetic(id, code, args);
      case OpCode::equal:
      case OpCode::not_equal:
        return equality(id, args);
      case OpCode::less:
      case OpCode::less_equal:
      case OpCode::greater:
      case OpCode::greater_equal:
        return order(id, args);
      case OpCode::in:
        return membership(id, args);
      case OpCode::index:
        return index(id, args);
      case OpCode::interpolate:
        return interpolate(args);
      default:
        return macro(id, code, args);
    }
  }

  void boolean(uint32_t id, std::string_view what) {
    const Info i = check(id);
    if (unknown(i.type) || (!i.optional && kind(widened(i.type)) == TypeKind::boolean)) return;
    m_.sink.report(Kind::type_mismatch, span(id),
                   fmt::format("{} takes bool, not {}", what, show(i)));
  }

  // Runs `body` with more paths known not to be null.
  template <typename Body>
  auto with(std::vector<std::string> paths, Body body) {
    const size_t before = scope_.non_null.size();
    scope_.non_null.insert(scope_.non_null.end(), paths.begin(), paths.end());
    auto result = body();
    scope_.non_null.resize(before);
    return result;
  }

  Info logic(const std::vector<uint32_t>& args, bool conjunction) {
    boolean(args[0], conjunction ? "`&&`" : "`||`");
    with(non_null_when(out_.ast, args[0], conjunction),
         [&] { return boolean(args[1], conjunction ? "`&&`" : "`||`"), 0; });
    return {simple(TypeKind::boolean), false};
  }

  Info conditional(const std::vector<uint32_t>& args) {
    boolean(args[0], "the condition of `? :`");
    const Info a = with(non_null_when(out_.ast, args[0], true), [&] { return check(args[1]); });
    const Info b = with(non_null_when(out_.ast, args[0], false), [&] { return check(args[2]); });
    return {t_.join(plain(a), plain(b)), false};
  }

  Info coalesce(const std::vector<uint32_t>& args) {
    const Info a = check(args[0]);
    const Info b = check(args[1]);
    return {t_.join(t_.without_null(a.type), plain(b)), false};
  }

  Info negate(uint32_t id, uint32_t arg) {
    const Info a = check(arg);
    if (unknown(a.type)) return a;
    const TypeId w = widened(a.type);
    if (kind(w) == TypeKind::int_ || kind(w) == TypeKind::double_) return {w, false};
    m_.sink.report(Kind::bad_operands, span(id),
                   fmt::format("`-` takes int or double, not {}", show(a)));
    return poison();
  }

  Info null_operand(uint32_t id, const Info& i) {
    m_.sink
        .report(Kind::maybe_null, span(id), fmt::format("`{}` may be null here", source_text(id)))
        .label(fmt::format("this is {}", show(i)))
        .note("give a default with `?? …`, or check `!= null` before");
    return poison();
  }
  bool may_be_null(const Info& i) const { return i.optional || kind(i.type) == TypeKind::nullable; }

  Info arithmetic(uint32_t id, OpCode code, const std::vector<uint32_t>& args) {
    const Info a = check(args[0]);
    const Info b = check(args[1]);
    if (may_be_null(a) && !unknown(a.type)) return null_operand(args[0], a);
    if (may_be_null(b) && !unknown(b.type)) return null_operand(args[1], b);
    if (unknown(a.type) && unknown(b.type)) return {a.type, false};
    const TypeId x = widened(a.type);
    const TypeId y = widened(b.type);
    if (is_number(x) && is_number(y)) return {x == y ? x : simple(TypeKind::double_), false};
    if (unknown(x) || unknown(y)) {
      const TypeId known = unknown(x) ? y : x;
      if (is_number(known) || kind(known) == TypeKind::string || kind(known) == TypeKind::bytes ||
          kind(known) == TypeKind::list || kind(known) == TypeKind::timestamp ||
          kind(known) == TypeKind::duration) {
        return {is_number(known) || kind(known) == TypeKind::timestamp ||
                        kind(known) == TypeKind::duration
                    ? simple(TypeKind::any)
                    : known,
                false};
      }
    }
    if (code == OpCode::add) {
      if (kind(x) == kind(y) && (kind(x) == TypeKind::string || kind(x) == TypeKind::bytes))
        return {x, false};
      if (kind(x) == TypeKind::list && kind(y) == TypeKind::list) return {t_.join(x, y), false};
    }
    const bool plus = code == OpCode::add;
    const bool minus = code == OpCode::subtract;
    const auto is = [&](TypeId t, TypeKind k) { return kind(t) == k; };
    if ((plus || minus) && is(x, TypeKind::timestamp) && is(y, TypeKind::duration))
      return {x, false};
    if (plus && is(x, TypeKind::duration) && is(y, TypeKind::timestamp)) return {y, false};
    if ((plus || minus) && is(x, TypeKind::duration) && is(y, TypeKind::duration))
      return {x, false};
    if (minus && is(x, TypeKind::timestamp) && is(y, TypeKind::timestamp))
      return {simple(TypeKind::duration), false};
    static const std::map<OpCode, std::string_view> symbols{{OpCode::add, "+"},
                                                            {OpCode::subtract, "-"},
                                                            {OpCode::multiply, "*"},
                                                            {OpCode::divide, "/"},
                                                            {OpCode::modulo, "%"}};
    auto d = m_.sink.report(
        Kind::bad_operands, span(id),
        fmt::format("`{}` does not take {} and {}", symbols.at(code), show(a), show(b)));
    if (plus && (is(x, TypeKind::string) || is(y, TypeKind::string)))
      d.note("put values into strings with `${…}`");
    return poison();
  }

  Info equality(uint32_t id, const std::vector<uint32_t>& args) {
    const Info a = check(args[0]);
    const Info b = check(args[1]);
    const TypeId x = t_.without_null(a.type);
    const TypeId y = t_.without_null(b.type);
    if (!unknown(x) && !unknown(y) && kind(x) != TypeKind::null && kind(y) != TypeKind::null &&
        !(is_number(x) && is_number(y)) && kind(widened(x)) != kind(widened(y)) &&
        !t_.assignable(x, y) && !t_.assignable(y, x)) {
      m_.sink.report(Kind::bad_operands, span(id),
                     fmt::format("{} and {} are never equal", show(a), show(b)));
    } else if (kind(x) == TypeKind::literal_union && kind(y) == TypeKind::literal_union &&
               !overlap(x, y)) {
      m_.sink.report(Kind::bad_operands, span(id),
                     fmt::format("{} and {} are never equal", show(a), show(b)));
    }
    return {simple(TypeKind::boolean), false};
  }
  bool overlap(TypeId x, TypeId y) const {
    for (const cel::Value& v : t_[x].literals) {
      for (const cel::Value& w : t_[y].literals) {
        if (v == w) return true;
      }
    }
    return false;
  }

  Info order(uint32_t id, const std::vector<uint32_t>& args) {
    const Info a = check(args[0]);
    const Info b = check(args[1]);
    const Info result{simple(TypeKind::boolean), false};
    if (unknown(a.type) || unknown(b.type)) return result;
    // Before the first iteration there is no value: language.md lets `until` compare one, so null
    // is an error only here.
    if (may_be_null(a)) return null_operand(args[0], a), result;
    if (may_be_null(b)) return null_operand(args[1], b), result;
    const TypeId x = widened(a.type);
    const TypeId y = widened(b.type);
    if (is_number(x) && is_number(y)) return result;
    const TypeKind k = kind(x);
    const bool ordered = k == TypeKind::boolean || k == TypeKind::string || k == TypeKind::bytes ||
                         k == TypeKind::timestamp || k == TypeKind::duration;
    if (k != kind(y) || !ordered)
      m_.sink.report(Kind::bad_operands, span(id),
                     fmt::format("{} and {} have no order", show(a), show(b)));
    return result;
  }

  Info membership(uint32_t id, const std::vector<uint32_t>& args) {
    const Info item = check(args[0]);
    const Info in = check(args[1]);
    const Info result{simple(TypeKind::boolean), false};
    if (unknown(in.type)) return result;
    if (may_be_null(in)) return null_operand(args[1], in), result;
    const TypeKind k = kind(in.type);
    if (k != TypeKind::list && k != TypeKind::map && k != TypeKind::record) {
      auto d = m_.sink.report(Kind::bad_operands, span(id),
                              fmt::format("`in` looks into a list or map, not {}", show(in)));
      if (kind(widened(in.type)) == TypeKind::string)
        d.note("for text write `text.contains(part)`");
    }
    (void)item;
    return result;
  }

  Info index(uint32_t id, const std::vector<uint32_t>& args) {
    const Info target = check(args[0]);
    const Info key = check(args[1]);
    const bool soft = out_.ast.exprs[id].flags & cel::op_flag::optional || target.optional;
    if (unknown(target.type)) return {target.type, soft};
    if (kind(target.type) == TypeKind::nullable && !soft) return null_operand(args[0], target);
    const TypeId inner = t_.without_null(target.type);
    switch (kind(inner)) {
      case TypeKind::list:
        if (!unknown(key.type) && !is_number(key.type)) {
          m_.sink.report(Kind::bad_operands, span(args[1]),
                         fmt::format("a list index is an int, not {}", show(key)));
        }
        return {t_[inner].element, soft};
      case TypeKind::map:
        if (!unknown(key.type) && kind(widened(key.type)) != TypeKind::string) {
          m_.sink.report(Kind::bad_operands, span(args[1]),
                         fmt::format("the keys of this map are strings, not {}", show(key)));
        }
        return {t_[inner].element, soft};
      case TypeKind::record: {
        const cel::Expr& k = out_.ast.exprs[args[1]];
        if (k.kind == ExprKind::literal && k.literal.kind() == cel::Kind::string) {
          const schema::Field* f = field(inner, k.literal.as_string());
          if (f != nullptr) return {f->type, soft};
          return unknown_field(id, inner, std::string(k.literal.as_string()));
        }
        return {simple(TypeKind::any), soft};
      }
      default:
        m_.sink.report(Kind::bad_operands, span(id), fmt::format("{} has no items", show(target)));
        return poison();
    }
  }

  Info list(uint32_t id, const std::vector<uint32_t>& args) {
    TypeId element;
    const std::vector<uint8_t> marks = out_.ast.exprs[id].marks;
    for (size_t i = 0; i < args.size(); ++i) {
      const Info item = check(args[i]);
      const TypeId type = marks[i] ? item.type : plain(item);
      element = element ? t_.join(element, type) : type;
    }
    return {t_.list_of(element ? element : simple(TypeKind::poison)), false};
  }

  Info map(uint32_t id, const std::vector<uint32_t>& args) {
    std::vector<schema::Field> fields;
    bool record = true;
    TypeId element;
    const std::vector<uint8_t> marks = out_.ast.exprs[id].marks;
    for (size_t i = 0; i + 1 < args.size(); i += 2) {
      const Info key = check(args[i]);
      const Info value = check(args[i + 1]);
      const TypeId type = marks[i] ? value.type : plain(value);
      element = element ? t_.join(element, type) : type;
      const cel::Expr& k = out_.ast.exprs[args[i]];
      if (k.kind == ExprKind::literal && k.literal.kind() == cel::Kind::string && !marks[i]) {
        const std::string name(k.literal.as_string());
        if (std::any_of(fields.begin(), fields.end(),
                        [&](const auto& f) { return f.name == name; })) {
          m_.sink.report(Kind::duplicate_name, span(args[i]),
                         fmt::format("the key `{}` stands twice", name));
          continue;
        }
        fields.push_back({.name = name,
                          .type = type,
                          .fallback = {},
                          .constraints = {},
                          .doc = "",
                          .was = "",
                          .alias = ""});
      } else {
        record = false;
        if (!unknown(key.type) && kind(widened(key.type)) != TypeKind::string &&
            kind(widened(key.type)) != TypeKind::int_ &&
            kind(widened(key.type)) != TypeKind::boolean && kind(key.type) != TypeKind::uint_) {
          m_.sink.report(Kind::bad_operands, span(args[i]),
                         fmt::format("{} cannot be a key", show(key)));
        }
      }
    }
    if (record) return {t_.record(std::move(fields)), false};
    return {t_.map_of(element ? element : simple(TypeKind::poison)), false};
  }

  Info interpolate(const std::vector<uint32_t>& args) {
    for (const uint32_t arg : args) {
      const Info part = check(arg);
      if (unknown(part.type) && !part.optional) continue;
      const std::string text = source_text(arg);
      if (may_be_null(part)) {
        m_.sink
            .report(Kind::not_interpolable, span(arg),
                    fmt::format("`{}` may be null, which has no place in a string", text))
            .label(fmt::format("this is {}", show(part)))
            .note("give a default: `${… ?? \"\"}`");
        continue;
      }
      switch (kind(widened(part.type))) {
        case TypeKind::string:
        case TypeKind::boolean:
        case TypeKind::int_:
        case TypeKind::uint_:
        case TypeKind::double_:
        case TypeKind::duration:
        case TypeKind::timestamp:
        case TypeKind::any:
        case TypeKind::poison:
          break;
        case TypeKind::secret:
          m_.sink.report(Kind::not_interpolable, span(arg), "a secret is never put into a string");
          break;
        case TypeKind::record_union:
          if (t_[widened(part.type)].discriminator.empty()) {
            m_.sink.report(
                Kind::not_interpolable, span(arg),
                fmt::format("`{}` may be a secret, which is never put into a string", text));
            break;
          }
          [[fallthrough]];
        default:
          m_.sink
              .report(Kind::not_interpolable, span(arg),
                      fmt::format("{} has no place in a string", show(part)))
              .note(fmt::format("write `${{json({})}}`", text));
      }
    }
    return {simple(TypeKind::string), false};
  }

  // ---- macros

  Info macro(uint32_t id, OpCode code, const std::vector<uint32_t>& args) {
    const std::string first = out_.ast.exprs[id].variable;
    const std::string second = out_.ast.exprs[id].variable2;
    const uint8_t flags = out_.ast.exprs[id].flags;
    Info range = check(args[0]);
    const size_t before = locals_.size();
    if (code == OpCode::bind || code == OpCode::opt_map || code == OpCode::opt_flat_map) {
      locals_.push_back({first, code == OpCode::bind ? plain(range) : range.type});
      const Info body = check(args[1]);
      locals_.resize(before);
      if (code == OpCode::bind) return body;
      return {body.type, true};
    }
    if (may_be_null(range) && !unknown(range.type)) {
      null_operand(args[0], range);
      range = {};
    }
    TypeId key = simple(TypeKind::int_);
    TypeId value = simple(TypeKind::any);
    switch (kind(range.type)) {
      case TypeKind::list:
        value = t_[range.type].element;
        break;
      case TypeKind::map:
        key = simple(TypeKind::string), value = t_[range.type].element;
        break;
      case TypeKind::record:
        key = simple(TypeKind::string);
        break;
      case TypeKind::any:
        key = simple(TypeKind::any);
        break;
      case TypeKind::poison:
        key = value = simple(TypeKind::poison);
        break;
      default:
        m_.sink.report(Kind::bad_operands, span(args[0]),
                       fmt::format("a list or map is needed here, not {}", show(range)));
        key = value = simple(TypeKind::poison);
    }
    const bool over_keys =
        kind(range.type) == TypeKind::map || kind(range.type) == TypeKind::record;
    const TypeId element = over_keys && second.empty() ? key : value;
    if (second.empty()) {
      locals_.push_back({first, element});
    } else {
      locals_.push_back({first, key});
      locals_.push_back({second, value});
    }
    Info out;
    switch (code) {
      case OpCode::all:
      case OpCode::exists:
      case OpCode::exists_one:
        boolean(args[1], "a predicate");
        out = {simple(TypeKind::boolean), false};
        break;
      case OpCode::filter:
        boolean(args[1], "a predicate");
        out = {t_.list_of(element), false};
        break;
      default: {
        const bool filtered = flags & cel::op_flag::filtered;
        if (filtered) boolean(args[1], "a predicate");
        const Info item =
            filtered ? with(non_null_when(out_.ast, args[1], true), [&] { return check(args[2]); })
                     : check(args[1]);
        if (code == OpCode::map_list) {
          out = {t_.list_of(plain(item)), false};
        } else if (code == OpCode::transform_map) {
          out = {t_.map_of(plain(item)), false};
        } else {
          out = {kind(item.type) == TypeKind::map ? item.type : t_.map_of(simple(TypeKind::any)),
                 false};
        }
      }
    }
    locals_.resize(before);
    return out;
  }

  // ---- calls

  Info call(uint32_t id) {
    const std::string name = out_.ast.exprs[id].text;
    const bool member = out_.ast.exprs[id].flags & cel::op_flag::member;
    const std::vector<uint32_t> args = out_.ast.exprs[id].args;
    if (!member && (name == "info" || name == "errors") && scope_.facts)
      return facts(id, name, args);
    if (const auto expanded = user_function(id, name, member, args)) return *expanded;
    const cel::Function* f = cel::find_function(name, member);
    if (f == nullptr) {
      unknown_function(id, name, member, args);
      const auto given = std::span(args).subspan(member ? 1 : 0);
      // `x` of a misspelled `xs.fliter(x, x > 1)` is not looked for.
      const bool macro_like = given.size() >= 2 && out_.ast.exprs[given[0]].kind == ExprKind::name;
      if (!macro_like) {
        for (const uint32_t arg : given) check(arg);
      }
      return poison();
    }
    std::vector<Info> infos;
    for (const uint32_t arg : args) infos.push_back(check(arg));
    return overload(id, *f, args, infos);
  }

  Info facts(uint32_t id, const std::string& name, const std::vector<uint32_t>& args) {
    if (args.size() != 1 || out_.ast.exprs[args[0]].kind != ExprKind::name) {
      m_.sink.report(Kind::wrong_arguments, span(id),
                     fmt::format("`{}` takes the name of a step, for or loop", name));
      return poison();
    }
    const auto ref = scope_.facts(out_.ast.exprs[args[0]].text, name == "errors", span(args[0]));
    if (!ref) return poison();
    out_.references.emplace_back(id, *ref);
    return {simple(TypeKind::any), false};
  }

  void unknown_function(uint32_t id, const std::string& name, bool member,
                        const std::vector<uint32_t>& args) {
    if (!member) {
      const bool step =
          find_callable(m_, *scope_.module, name) || ir::find_builtin(name) != nullptr;
      if (step) {
        m_.sink
            .report(Kind::unknown_function, span(id),
                    fmt::format("`{}` does something, so only a step can call it", name))
            .note(fmt::format("write `step x = {}(…)` and use `x`", name));
        return;
      }
    } else {
      const std::string space = out_.ast.dotted(args[0]);
      if (!space.empty() && (find_callable(m_, *scope_.module, space + "." + name) ||
                             ir::find_builtin(space + "." + name) != nullptr)) {
        m_.sink
            .report(Kind::unknown_function, span(id),
                    fmt::format("`{}.{}` does something, so only a step can call it", space, name))
            .note(fmt::format("write `step x = {}.{}(…)` and use `x`", space, name));
        return;
      }
      if (unknown_in_module(id, space, name)) return;
      check(args[0]);
    }
    std::vector<std::string> names = cel::function_names();
    for (const auto& [n, f] : scope_.module->functions) names.push_back(n);
    m_.sink.report(Kind::unknown_function, span(id), fmt::format("no function is named `{}`", name))
        .suggest(name, names);
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
  }

  bool unknown_in_module(uint32_t id, const std::string& space, const std::string& name) {
    const auto import = scope_.module->imports.find(space);
    if (import == scope_.module->imports.end() || is_local(space)) return false;
    if (import->second == UINT32_MAX) return true;  // reported at the import
    const Module& other = *m_.modules[import->second];
    if (other.has_syntax_errors) return true;
    std::vector<std::string> names;
    for (const auto& [n, f] : other.functions) {
      if (!is_private(n)) names.push_back(n);
    }
    auto report = m_.sink.report(Kind::unknown_function, span(id),
                                 fmt::format("the module `{}` has no function `{}`", space, name));
    if (is_private(name)) report.note("names that begin with `_` are known in their own file only");
    report.suggest(name, names);
    return true;
  }

  // Pure functions are expanded in place: `cel.bind` of fresh names around a copy of the body.
  std::optional<Info> user_function(uint32_t id, const std::string& name, bool member,
                                    const std::vector<uint32_t>& args) {
    Module* owner = scope_.module;
    std::string shown_name = name;  // as it is called
    std::vector<uint32_t> actual = args;
    if (member) {
      const std::string space = out_.ast.dotted(args[0]);
      const auto import = scope_.module->imports.find(space);
      if (space.empty() || import == scope_.module->imports.end() || import->second == UINT32_MAX ||
          is_local(space) || is_private(name))
        return std::nullopt;
      owner = m_.modules[import->second].get();
      shown_name = space + "." + name;
      actual.erase(actual.begin());
    }
    const auto it = owner->functions.find(name);
    if (it == owner->functions.end()) return std::nullopt;
    FunctionInfo& f = it->second;
    if (f.open) {
      m_.sink.report(Kind::recursive, span(id), fmt::format("the function `{}` calls itself", name))
          .note("functions are not recursive, so that every expression ends");
      return poison();
    }
    size_t least = f.params.size();
    while (least > 0 && f.params[least - 1].optional) --least;
    const size_t most = f.params.size();
    if (actual.size() < least || actual.size() > most) {
      m_.sink.report(
          Kind::wrong_arguments, span(id),
          fmt::format("`{}` takes {} argument{}, not {}", shown_name,
                      least == most ? std::to_string(most) : fmt::format("{} to {}", least, most),
                      most == 1 ? "" : "s", actual.size()));
      return poison();
    }
    while (actual.size() < most) {
      const auto value = fallback(*owner, f.params[actual.size()]);
      if (!value) return poison();
      cel::Expr literal{.kind = ExprKind::literal, .literal = *value};
      literal.begin = out_.ast.exprs[id].begin;
      literal.end = out_.ast.exprs[id].end;
      actual.push_back(static_cast<uint32_t>(out_.ast.exprs.size()));
      out_.ast.exprs.push_back(std::move(literal));
    }
    for (size_t i = 0; i < actual.size(); ++i) {
      const Info a = check(actual[i]);
      if (!t_.assignable(plain(a), f.params[i].type)) {
        m_.sink.report(Kind::type_mismatch, span(actual[i]),
                       fmt::format("the parameter `{}` of `{}` takes {}, not {}", f.params[i].name,
                                   shown_name, t_.display(f.params[i].type), show(a)));
      }
    }
    if (++inlined_ > max_inline_depth) {
      m_.sink.report(Kind::recursive, span(id), "functions call each other too deeply");
      return poison();
    }
    f.open = true;
    expand(id, *owner, f, actual);
    f.open = false;
    return Info{f.result, false};
  }

  // What a parameter is when nothing is given for it.
  std::optional<cel::Value> fallback(Module& owner, const ParamInfo& p) {
    if (!p.fallback) return cel::Value();
    return constant_value(m_, owner, p.fallback);
  }

  void expand(uint32_t id, Module& owner, FunctionInfo& f, const std::vector<uint32_t>& actual) {
    // The body is checked in its own module, with its parameters as locals; then its tree is
    // appended to ours.
    ExpressionScope scope{.module = &owner};
    std::map<std::string, std::string> fresh;
    for (const ParamInfo& p : f.params) scope.locals.emplace_back(p.name, p.type);
    const CheckedExpression body = check_expression(m_, scope, f.node.expression());
    if (body.ast.exprs.empty()) {
      out_.ast.exprs[id].kind = ExprKind::poison;  // its body is malformed, as reported
      return;
    }
    for (const ParamInfo& p : f.params) fresh[p.name] = fmt::format("{}#{}", p.name, fresh_++);
    const auto offset = static_cast<uint32_t>(out_.ast.exprs.size());
    const cel::Expr site = out_.ast.exprs[id];
    for (cel::Expr e : body.ast.exprs) {
      for (uint32_t& arg : e.args) arg += offset;
      e.begin = site.begin;
      e.end = site.end;
      if (e.kind == ExprKind::name && fresh.contains(e.text)) e.text = fresh[e.text];
      out_.ast.exprs.push_back(std::move(e));
    }
    uint32_t inner = body.ast.root + offset;
    for (size_t i = f.params.size(); i-- > 0;) {
      cel::Expr bind{.kind = ExprKind::op,
                     .op = OpCode::bind,
                     .variable = fresh[f.params[i].name],
                     .args = {actual[i], inner},
                     .begin = site.begin,
                     .end = site.end};
      out_.ast.exprs.push_back(std::move(bind));
      inner = static_cast<uint32_t>(out_.ast.exprs.size() - 1);
    }
    out_.ast.exprs[id] = out_.ast.exprs[inner];
  }

  bool may_be_secret(TypeId type) const {  // `string | secret`
    const schema::Type& t = t_[t_.without_null(type)];
    return t.kind == TypeKind::record_union && t.discriminator.empty();
  }

  bool fits(char letter, const Info& i) {
    if (t_.is_secret(i.type) || may_be_secret(i.type)) return false;
    if (letter == '*' || unknown(i.type)) return true;
    if (letter == 'O') return i.optional;
    if (i.optional || kind(i.type) == TypeKind::nullable) return false;
    const TypeKind k = kind(widened(i.type));
    switch (letter) {
      case 'n':
        return k == TypeKind::null;
      case 'b':
        return k == TypeKind::boolean;
      case 'i':
        return k == TypeKind::int_;
      case 'u':
        return k == TypeKind::uint_;
      case 'd':
        return k == TypeKind::double_;
      case 's':
        return k == TypeKind::string;
      case 'y':
        return k == TypeKind::bytes;
      case 't':
        return k == TypeKind::timestamp;
      case 'D':
        return k == TypeKind::duration;
      case 'L':
      case 'S':
        return k == TypeKind::list;
      case 'M':
        return k == TypeKind::map || k == TypeKind::record;
      default:
        return false;
    }
  }

  Info result_of(char letter, const cel::Function& f, const std::vector<Info>& args) {
    switch (letter) {
      case 'n':
        return {simple(TypeKind::null), false};
      case 'b':
        return {simple(TypeKind::boolean), false};
      case 'i':
        return {simple(TypeKind::int_), false};
      case 'u':
        return {simple(TypeKind::uint_), false};
      case 'd':
        return {simple(TypeKind::double_), false};
      case 's':
        return {simple(TypeKind::string), false};
      case 'y':
        return {simple(TypeKind::bytes), false};
      case 't':
        return {simple(TypeKind::timestamp), false};
      case 'D':
        return {simple(TypeKind::duration), false};
      case 'S':
        return {t_.list_of(simple(TypeKind::string)), false};
      case 'L':
        if (f.name == "lists.range") return {t_.list_of(simple(TypeKind::int_)), false};
        if (f.name == "csv_parse") return {t_.list_of(t_.list_of(simple(TypeKind::string))), false};
        if (f.name != "flatten" && !args.empty() && kind(args[0].type) == TypeKind::list)
          return {args[0].type, false};
        return {t_.list_of(simple(TypeKind::any)), false};
      case 'O':
        if (f.name == "regex.extract") return {simple(TypeKind::string), true};
        if ((f.name == "first" || f.name == "last") && kind(args[0].type) == TypeKind::list)
          return {t_[args[0].type].element, true};
        if (f.name == "optional.of" || f.name == "optional.ofNonZeroValue" || f.name == "or")
          return {args[0].type, true};
        return {simple(TypeKind::any), true};
      default:
        if (f.name == "value" && !args.empty()) return {args[0].type, false};
        if (f.name == "orValue" && args.size() == 2)
          return {t_.join(args[0].type, plain(args[1])), false};
        return {simple(TypeKind::any), false};
    }
  }

  Info overload(uint32_t id, const cel::Function& f, const std::vector<uint32_t>& ids,
                const std::vector<Info>& args) {
    const size_t receiver = f.member ? 1 : 0;
    if (args.size() < f.min_args || args.size() > f.max_args) {
      const size_t least = f.min_args - receiver;
      const size_t most = f.max_args - receiver;
      m_.sink.report(
          Kind::wrong_arguments, span(id),
          fmt::format("`{}` takes {} argument{}, not {}", f.name,
                      least == most ? std::to_string(least) : fmt::format("{} to {}", least, most),
                      most == 1 ? "" : "s", args.size() - receiver));
      return poison();
    }
    std::string_view rest = f.signatures;
    bool variadic = f.max_args == 255;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(';'), rest.size());
      std::string_view row = rest.substr(0, end);
      while (row.starts_with(' ')) row.remove_prefix(1);
      rest.remove_prefix(std::min(rest.size(), end + 1));
      const size_t arrow = row.find('>');
      std::vector<char> letters;
      for (const char c : row.substr(0, arrow)) {
        if (c != ',') letters.push_back(c);
      }
      if (!variadic && letters.size() != args.size()) continue;
      bool ok = true;
      for (size_t i = 0; i < args.size() && ok; ++i) ok = variadic || fits(letters[i], args[i]);
      if (ok) return result_of(row[arrow + 1], f, args);
    }
    for (size_t i = 0; i < args.size(); ++i) {
      if (may_be_null(args[i]) && !unknown(args[i].type)) return null_operand(ids[i], args[i]);
    }
    std::string given;
    for (size_t i = receiver; i < args.size(); ++i)
      given += (given.empty() ? "" : ", ") + show(args[i]);
    m_.sink
        .report(Kind::bad_operands, span(id),
                receiver == 1
                    ? fmt::format("`{}` of {} does not take ({})", f.name, show(args[0]), given)
                    : fmt::format("`{}` does not take ({})", f.name, given))
        .note(fmt::format("`{}`: {}", f.name, f.doc));
    return poison();
  }

  Model& m_;
  TypeTable& t_;
  ExpressionScope& scope_;
  CheckedExpression& out_;
  std::vector<Local> locals_;
  int inlined_ = 0;
  static inline uint32_t fresh_ = 0;
};

class References : public cel::NameResolver {
 public:
  explicit References(const CheckedExpression& checked) {
    for (const auto& [id, ref] : checked.references) {
      const auto known = std::find(variables.begin(), variables.end(), ref);
      const auto index = static_cast<uint32_t>(known - variables.begin());
      if (known == variables.end()) variables.push_back(ref);
      by_id_[id] = index;
    }
  }
  std::optional<uint32_t> variable(uint32_t id, std::string_view, bool) override {
    const auto it = by_id_.find(id);
    return it == by_id_.end() ? std::nullopt : std::optional(it->second);
  }
  std::vector<ir::VarRef> variables;

 private:
  std::map<uint32_t, uint32_t> by_id_;
};

class LocalNames : public cel::NameResolver {
 public:
  explicit LocalNames(const ExpressionScope& scope) : scope_(scope) {}
  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool) override {
    for (uint32_t i = 0; i < scope_.locals.size(); ++i) {
      if (scope_.locals[i].first == dotted) return i;
    }
    return std::nullopt;
  }

 private:
  const ExpressionScope& scope_;
};

class NoBindings : public cel::Bindings {
 public:
  const cel::Value* lookup(uint32_t) override { return nullptr; }
};

void collect_non_null(const cel::Ast& ast, uint32_t id, bool truth, std::vector<std::string>& out) {
  const cel::Expr& e = ast[id];
  if (e.kind != ExprKind::op) return;
  if (e.op == OpCode::not_) return collect_non_null(ast, e.args[0], !truth, out);
  if ((e.op == OpCode::and_ && truth) || (e.op == OpCode::or_ && !truth)) {
    collect_non_null(ast, e.args[0], truth, out);
    return collect_non_null(ast, e.args[1], truth, out);
  }
  if ((e.op == OpCode::not_equal && truth) || (e.op == OpCode::equal && !truth)) {
    for (const auto& [a, b] : {std::pair{e.args[0], e.args[1]}, std::pair{e.args[1], e.args[0]}}) {
      if (ast[b].kind == ExprKind::literal && ast[b].literal.is_null()) {
        std::string path = ast.dotted(a);
        if (!path.empty()) out.push_back(std::move(path));
      }
    }
  }
}

}  // namespace

CheckedExpression check_expression(Model& m, ExpressionScope& scope, Cursor node) {
  CheckedExpression out;
  out.type = TypeTable::simple(TypeKind::poison);
  if (!node) return out;
  out.ast = cel::build_ast(node, {});
  for (const cel::AstError& e : out.ast.errors)
    m.sink.report(Kind::bad_expression, {scope.module->file, e.begin, e.end}, e.message);
  if (!out.ast.errors.empty()) return out;
  Checker checker(m, scope, out);
  const Info info = checker.check(out.ast.root);
  out.type = info.type;
  out.optional = info.optional;
  return out;
}

ir::Expr compile_expression(const CheckedExpression& checked) {
  References references(checked);
  ir::Expr out;
  if (checked.ast.exprs.empty()) return out;
  out.program = cel::compile(checked.ast, references, false);
  out.variables = std::move(references.variables);
  out.type = checked.type;
  return out;
}

cel::Program compile_with_locals(Model& m, ExpressionScope& scope, Cursor node) {
  const CheckedExpression checked = check_expression(m, scope, node);
  LocalNames names(scope);
  if (checked.ast.exprs.empty()) return {};
  return cel::compile(checked.ast, names, false);
}

TypeId outer_type(Model& m, const CheckedExpression& checked) {
  return checked.optional ? m.types.nullable(checked.type) : checked.type;
}

bool require_assignable(Model& m, const CheckedExpression& checked, TypeId wanted,
                        source::Span span, std::string_view what) {
  const TypeId type = outer_type(m, checked);
  if (m.types.assignable(type, wanted)) return true;
  auto d = m.sink.report(
      m.types.accepts_null(type) && m.types.assignable(m.types.without_null(type), wanted)
          ? Kind::maybe_null
          : Kind::type_mismatch,
      span,
      fmt::format("{} takes {}, not {}", what, m.types.display(wanted), m.types.display(type)));
  if (m.types.assignable(m.types.without_null(type), wanted))
    d.note("give a default with `?? …`, or check `!= null` before");
  return false;
}

std::vector<std::string> non_null_when(const cel::Ast& ast, uint32_t id, bool truth) {
  std::vector<std::string> out;
  if (id < ast.exprs.size()) collect_non_null(ast, id, truth, out);
  return out;
}

std::optional<cel::Value> constant_value(Model& m, Module& module, Cursor node) {
  if (!node) return std::nullopt;
  ExpressionScope scope{.module = &module};
  const size_t errors = m.sink.errors();
  const CheckedExpression checked = check_expression(m, scope, node);
  if (m.sink.errors() > errors || checked.ast.exprs.empty()) return std::nullopt;
  LocalNames names(scope);
  const cel::Program program = cel::compile(checked.ast, names, false);
  NoBindings bindings;
  auto result = cel::evaluate(program, bindings);
  if (auto* value = std::get_if<cel::Value>(&result)) {
    if (value->kind() == cel::Kind::optional)
      return value->as_optional() == nullptr ? cel::Value() : cel::Value(*value->as_optional());
    return std::move(*value);
  }
  if (m.sink.errors() == errors)
    m.sink.report(Kind::not_constant, node.span(),
                  fmt::format("this cannot be computed before the run: {}",
                              std::get<cel::EvalError>(result).message));
  return std::nullopt;
}

}  // namespace kflow::sema
