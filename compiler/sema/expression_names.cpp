// Names and fields of expressions.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/expression_checker.hpp"
#include "compiler/sema/habits.hpp"

namespace kflow::sema {

using cel::ExprKind;
using cel::OpCode;
using diagnostics::Kind;
using schema::TypeKind;
using schema::TypeTable;

Info ExpressionChecker::check(uint32_t id) {
  const source::Span at = span(id);  // of it before functions are expanded
  const Info info = checked(id);
  if (m_.index != nullptr) m_.index->types.push_back({at, plain(info)});
  return info;
}

Info ExpressionChecker::checked(uint32_t id) {
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

source::Span ExpressionChecker::span(uint32_t id) const {
  const cel::Expr& e = out_.ast.exprs[id];
  // Of an operator whose right side could not be read, nothing may be known of the end.
  return {scope_.module->file, e.begin, std::max(e.begin, e.end)};
}

bool ExpressionChecker::unknown(TypeId id) const {
  return kind(id) == TypeKind::any || kind(id) == TypeKind::poison;
}

/// string of "a", int of 1; other types themselves.
TypeId ExpressionChecker::widened(TypeId id) const {
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

bool ExpressionChecker::is_number(TypeId id) const {
  const TypeKind k = kind(widened(id));
  return k == TypeKind::int_ || k == TypeKind::uint_ || k == TypeKind::double_;
}

bool ExpressionChecker::known_non_null(uint32_t id) const {
  const std::string path = out_.ast.dotted(id);
  return !path.empty() &&
         std::find(scope_.non_null.begin(), scope_.non_null.end(), path) != scope_.non_null.end();
}

Info ExpressionChecker::narrowed(uint32_t id, Info info) {
  if (kind(info.type) == TypeKind::nullable && known_non_null(id))
    info.type = t_.without_null(info.type);
  return info;
}

std::vector<TypeId> ExpressionChecker::possible_arms(TypeId record_union, uint32_t id) const {
  const schema::Type& type = t_[record_union];
  const std::string path = out_.ast.dotted(id);
  if (path.empty() || type.discriminator.empty()) return type.arms;
  const std::string is = path + "." + type.discriminator + "=";
  const std::string is_not = path + "." + type.discriminator + "!";
  std::vector<TypeId> out;
  for (const TypeId arm : type.arms) {
    const schema::Field* f = field(arm, type.discriminator);
    const bool possible =
        f != nullptr &&
        std::any_of(
            t_[f->type].literals.begin(), t_[f->type].literals.end(), [&](const cel::Value& v) {
              const std::string word = cel::to_display(v) + "\n";
              return std::none_of(
                  scope_.non_null.begin(), scope_.non_null.end(), [&](const std::string& fact) {
                    if (fact.starts_with(is))
                      return ("\n" + fact.substr(is.size())).find("\n" + word) == std::string::npos;
                    return fact == is_not + word;
                  });
            });
    if (possible) out.push_back(arm);
  }
  return out.empty() ? type.arms : out;  // what is never reached may say anything
}

Info ExpressionChecker::name(uint32_t id) {
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
    note_use(m_, span(id), *scope_.module, text);
    cel::Expr& e = out_.ast.exprs[id];
    e.kind = ExprKind::literal;
    e.literal = info->value;
    return {info->type, false};
  }
  if (scope_.module->secrets.contains(text)) {
    note_use(m_, span(id), *scope_.module, text);
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

void ExpressionChecker::unknown_name(uint32_t id, const std::string& text) {
  if (!m_.unknown_names.insert(text).second) return;
  // What could not be read may have declared it.
  if (scope_.module->has_syntax_errors && locals_.empty() && !scope_.lookup) return;
  if (const auto it = scope_.module->imports.find(text); it != scope_.module->imports.end()) {
    m_.sink.report(Kind::unknown_name, span(id),
                   fmt::format("`{}` is a module, not a value", text));
    return;
  }
  if (scope_.module->types.contains(text)) {
    m_.sink.report(Kind::unknown_name, span(id), fmt::format("`{}` is a type, not a value", text));
    return;
  }
  if (find_callable(m_, *scope_.module, text) || ir::find_builtin(text) != nullptr) {
    m_.sink
        .report(Kind::unknown_name, span(id),
                fmt::format("`{}` is called by a step, it is not a value", text))
        .note(fmt::format("write `step x = {}(…)` and use `x`", text));
    return;
  }
  if (!scope_.lookup && m_.is_runtime_name && m_.is_runtime_name(text)) {
    m_.sink
        .report(Kind::not_constant, span(id),
                fmt::format("`{}` is known only while the workflow runs", text))
        .note("what stands here is computed by the compiler: a literal, or a `const`");
    return;
  }
  std::vector<std::string> candidates;
  if (scope_.candidates) candidates = scope_.candidates();
  for (const Local& l : locals_) candidates.push_back(l.name);
  for (const auto& [n, c] : scope_.module->consts) candidates.push_back(n);
  candidates.insert(candidates.end(), scope_.module->secrets.begin(), scope_.module->secrets.end());
  auto report =
      m_.sink.report(Kind::unknown_name, span(id), fmt::format("nothing is named `{}` here", text));
  if (!explain_value_name(text, report)) report.suggest(text, candidates);
}

const schema::Field* ExpressionChecker::field(TypeId record, std::string_view wanted) const {
  for (const schema::Field& f : t_[record].fields) {
    if (f.name == wanted) return &f;
  }
  return nullptr;
}

Info ExpressionChecker::select(uint32_t id) {
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
      if (f == nullptr) return unknown_field(id, {target}, target, text);
      result = f->type;
      break;
    }
    case TypeKind::record_union: {
      TypeId joined;
      const std::vector<TypeId> arms = possible_arms(target, operand_id);
      for (const TypeId arm : arms) {
        const schema::Field* f = field(arm, text);
        if (f == nullptr) return unknown_field(id, arms, target, text);
        joined = joined ? t_.join(joined, f->type) : f->type;
      }
      result = joined;
      break;
    }
    case TypeKind::file:
      if (text == "size") {
        result = simple(TypeKind::int_);
      } else if (text == "name" || text == "media_type" || text == "sha256") {
        result = simple(TypeKind::string);
      } else {
        m_.sink.report(Kind::unknown_field, span(id), fmt::format("a file has no field `{}`", text))
            .suggest(text, {"name", "media_type", "size", "sha256"})
            .note("fields: name, media_type, size, sha256; `file.text` and `file.bytes` read it");
        return poison();
      }
      break;
    case TypeKind::any:
    case TypeKind::poison:
      break;
    default:
      auto report = m_.sink.report(Kind::unknown_field, span(id),
                                   fmt::format("{} has no fields", t_.display(target)));
      if (text == "length" || text == "size" || text == "count")
        report.note("`x.size()` gives how many there are");
      return poison();
  }
  if (flags & cel::op_flag::test) return {simple(TypeKind::boolean), false};
  const bool optional = (flags & cel::op_flag::optional) || operand.optional;
  return narrowed(id, {optional ? t_.without_null(result) : result, optional});
}

std::optional<Info> ExpressionChecker::imported_const(uint32_t id, uint32_t operand,
                                                      const std::string& text) {
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

bool ExpressionChecker::is_local(std::string_view text) const {
  return std::any_of(locals_.begin(), locals_.end(),
                     [&](const Local& l) { return l.name == text; });
}

Info ExpressionChecker::unknown_field(uint32_t id, const std::vector<TypeId>& arms, TypeId target,
                                      const std::string& text) {
  std::vector<std::string> names;
  std::vector<std::string> where;  // it is one of some arms only
  const std::string& word = t_[target].discriminator;
  for (const TypeId arm : arms) {
    for (const schema::Field& f : t_[arm].fields) {
      if (std::find(names.begin(), names.end(), f.name) == names.end()) names.push_back(f.name);
    }
    const schema::Field* literal = field(arm, word);
    if (field(arm, text) == nullptr || literal == nullptr) continue;
    for (const cel::Value& v : t_[literal->type].literals) where.push_back(cel::to_display(v));
  }
  const cel::Expr& e = out_.ast.exprs[id];
  const source::Span at{
      scope_.module->file,
      e.end - static_cast<uint32_t>(std::min<size_t>(text.size(), e.end - e.begin)), e.end};
  if (!where.empty()) {
    m_.sink
        .report(Kind::unknown_field, at,
                fmt::format("not every `{}` has a field `{}`", t_.display(target), text))
        .label(fmt::format("it is there where `{}` is {}", word, fmt::join(where, ", ")))
        .note(fmt::format("`match … .{0}`, or `if … .{0} == …` around it, says which it is", word));
    return poison();
  }
  m_.sink
      .report(Kind::unknown_field, at,
              fmt::format("`{}` has no field `{}`", t_.display(target), text))
      .suggest(text, names)
      .note(fmt::format("fields: {}", fmt::join(names, ", ")));
  return poison();
}

std::string ExpressionChecker::source_text(uint32_t id) const {
  const cel::Expr& e = out_.ast.exprs[id];
  std::string text(m_.sources[scope_.module->file].text().substr(e.begin, e.end - e.begin));
  return text.size() > 40 ? text.substr(0, 37) + "…" : text;
}

}  // namespace kflow::sema
