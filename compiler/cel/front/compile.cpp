// Ast → Program: iteration variables become slots, names variables, the rest operations.
#include <map>
#include <utility>

#include "compiler/cel/front/ast.hpp"

namespace kflow::cel {
namespace {

class Compiler {
 public:
  Compiler(const Ast& ast, NameResolver& resolver, bool strict) : ast_(ast), resolver_(resolver) {
    out_.strict = strict;
  }

  Program run() {
    compile(ast_.root);
    out_.link();
    return std::move(out_);
  }

 private:
  struct Local {
    std::string name;
    uint32_t slot;
  };

  uint32_t emit(const Expr& e, OpCode code, uint32_t a, const std::vector<uint32_t>& links,
                uint8_t flags = 0, const std::vector<uint8_t>& marks = {}) {
    Op op{.code = code,
          .flags = flags,
          .a = a,
          .first_link = static_cast<uint32_t>(out_.links.size()),
          .link_count = static_cast<uint32_t>(links.size()),
          .begin = e.begin,
          .end = e.end};
    out_.links.insert(out_.links.end(), links.begin(), links.end());
    for (size_t i = 0; i < links.size(); ++i)
      out_.optional_marks.push_back(i < marks.size() ? marks[i] : 0);
    out_.ops.push_back(op);
    return static_cast<uint32_t>(out_.ops.size() - 1);
  }
  uint32_t constant(Value v) {
    out_.constants.push_back(std::move(v));
    return static_cast<uint32_t>(out_.constants.size() - 1);
  }
  uint32_t name(const std::string& text) {
    const auto [it, added] = names_.emplace(text, static_cast<uint32_t>(out_.names.size()));
    if (added) out_.names.push_back(text);
    return it->second;
  }

  std::optional<uint32_t> local(std::string_view text) const {
    for (auto it = locals_.rbegin(); it != locals_.rend(); ++it) {
      if (it->name == text) return it->slot;
    }
    return std::nullopt;
  }
  uint32_t push_local(const std::string& text) {
    const uint32_t slot = free_++;
    locals_.push_back({text, slot});
    highest_ = std::max(highest_, free_);
    out_.locals = std::max(out_.locals, free_);
    return slot;
  }

  uint32_t compile(uint32_t id) {
    const Expr& e = ast_[id];
    switch (e.kind) {
      case ExprKind::poison:
        return emit(e, OpCode::undeclared, constant(Value::string("?")), {});
      case ExprKind::literal:
        return emit(e, OpCode::constant, constant(e.literal), {});
      case ExprKind::name:
        return compile_name(id, e);
      case ExprKind::select:
        return compile_select(id, e);
      case ExprKind::call:
        return compile_call(id, e);
      case ExprKind::op:
        return compile_op(e);
    }
    std::unreachable();
  }

  uint32_t compile_name(uint32_t id, const Expr& e) {
    const bool root = e.flags & root_name;
    if (!root) {
      if (const auto slot = local(e.text)) return emit(e, OpCode::local, *slot, {});
    }
    if (const auto variable = resolver_.variable(id, e.text, root)) return load(e, *variable);
    if (const auto type = type_of_name(e.text, root))
      return emit(e, OpCode::constant, constant(Value::type(*type)), {});
    return emit(e, OpCode::undeclared, constant(Value::string(e.text)), {});
  }

  uint32_t load(const Expr& e, uint32_t variable) {
    out_.variables = std::max(out_.variables, variable + 1);
    return emit(e, OpCode::load, variable, {});
  }

  // The longest declared prefix of a dotted name wins, unless its first part is an iteration
  // variable.
  uint32_t compile_select(uint32_t id, const Expr& e) {
    const std::string dotted = ast_.dotted(id);
    if (!dotted.empty()) {
      uint32_t first = id;
      while (ast_[first].kind == ExprKind::select) first = ast_[first].args[0];
      const bool root = ast_[first].flags & root_name;
      if (root || !local(ast_[first].text)) {
        if (const auto variable = resolver_.variable(id, dotted, root)) return load(e, *variable);
        if (const auto type = type_of_name(dotted, root))
          return emit(e, OpCode::constant, constant(Value::type(*type)), {});
      }
    }
    const uint32_t operand = compile(e.args[0]);
    return emit(e, OpCode::select, constant(Value::string(e.text)), {operand}, e.flags);
  }

  // The names of types are declared in the outermost namespace.
  std::optional<Kind> type_of_name(std::string_view text, bool root) const {
    std::optional<Kind> out;
    each_candidate(root ? "" : resolver_.container(), text, [&](std::string_view name) {
      out = type_named(name);
      return out.has_value();
    });
    return out;
  }

  uint32_t compile_call(uint32_t id, const Expr& e) {
    // `info(name)` and `errors(name)` of the language are facts that the resolver knows.
    if (const auto variable = resolver_.variable(id, "", false)) return load(e, *variable);
    std::vector<uint32_t> args;
    for (const uint32_t arg : e.args) args.push_back(compile(arg));
    std::string text = e.text;
    if (text.starts_with('.')) text.erase(0, 1);
    return emit(e, OpCode::call, name(text), args, e.flags);
  }

  uint32_t compile_op(const Expr& e) {
    if (e.op == OpCode::undeclared)
      return emit(e, OpCode::undeclared, constant(Value::string(e.text)), {});
    if (e.variable.empty()) {
      std::vector<uint32_t> args;
      for (const uint32_t arg : e.args) args.push_back(compile(arg));
      return emit(e, e.op, 0, args, e.flags, e.marks);
    }
    const size_t names = locals_.size();
    const uint32_t free = free_;
    const uint32_t highest = std::exchange(highest_, free_);
    std::vector<uint32_t> args{compile(e.args[0])};
    // What is bound is computed where it is first read, which may be within loops of the body:
    // these must not have the slots of loops in it.
    if (e.op == OpCode::bind) free_ = highest_;
    highest_ = std::max(highest_, highest);
    const uint32_t slot = push_local(e.variable);
    if (!e.variable2.empty()) push_local(e.variable2);
    for (size_t i = 1; i < e.args.size(); ++i) args.push_back(compile(e.args[i]));
    locals_.resize(names);
    free_ = free;
    return emit(e, e.op, slot, args, e.flags);
  }

  const Ast& ast_;
  NameResolver& resolver_;
  Program out_;
  std::map<std::string, uint32_t> names_;
  std::vector<Local> locals_;
  uint32_t free_ = 0;     // first slot that no variable in scope has
  uint32_t highest_ = 0;  // slots used so far, within the value that is being compiled
};

}  // namespace

Program compile(const Ast& ast, NameResolver& resolver, bool strict) {
  return Compiler(ast, resolver, strict).run();
}

}  // namespace kflow::cel
