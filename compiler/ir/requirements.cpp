// A walk over all that is reached from a callable, along the field lists of the codec.
#include "compiler/ir/requirements.hpp"

#include <algorithm>
#include <set>

#include "compiler/ir/fields.hpp"

namespace kflow::ir {
namespace {

// An archive that goes where ids point to.
class Walk {
 public:
  explicit Walk(const Program& program) : p_(program) {}

  Requirements run(CallableId entry) {
    // Callables wait in a list: how deep they call each other is no matter.
    callable(entry);
    while (!todo_.empty()) {
      Callable copy = p_[todo_.back()];
      todo_.pop_back();
      if (copy.kind == CallableKind::extern_tool && copy.command.empty())
        add(out_.functions, copy.name);
      visit(copy);
    }
    return std::move(out_);
  }

  template <typename T>
  void operator()(const char*, T& x) {
    visit(x);
  }
  void origin(const char*, Origin&) {}
  void doc(const char*, std::string&) {}
  void files(const char*, std::vector<std::string>&) {}
  void constraint(schema::Constraint&) {}

 private:
  template <typename T>
  static void add(std::vector<T>& list, const T& item) {
    if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
  }
  void callable(CallableId id) {
    if (id && callables_.insert(id.value).second) todo_.push_back(id);
  }

  void visit(CallableId& id) { callable(id); }
  void visit(BlockId& id) {
    if (!id || !blocks_.insert(id.value).second) return;
    for (NodeId node : p_[id].statements) visit(node);
  }
  void visit(NodeId& id) {
    if (!id || !nodes_.insert(id.value).second) return;
    Node copy = p_[id];
    visit(copy.data);
  }
  void visit(ExprId& id) {
    if (id) secrets(p_[id]);
  }
  void visit(ModelId& id) {
    if (id) add(out_.models, id);
  }
  void visit(McpServerId& id) {
    if (!id) return;
    add(out_.servers, id);
    for (const McpSetting& s : p_[id].settings) {
      if (!s.secret.empty()) add(out_.secrets, s.secret);
    }
  }
  template <typename T>
  void visit(std::vector<T>& list) {
    for (T& item : list) visit(item);
  }
  template <typename T>
  void visit(std::optional<T>& x) {
    if (x) visit(*x);
  }
  template <typename... Ts>
  void visit(std::variant<Ts...>& x) {
    std::visit([this](auto& alternative) { fields(*this, alternative); }, x);
  }
  template <typename T>
  void visit(T& x) {
    if constexpr (requires { fields(*this, x); }) fields(*this, x);
  }

  // The name of a secret is a constant `{secret: NAME}` where the type says so.
  void secrets(const Expr& e) {
    if (!e.type) return;
    const schema::TypeKind kind = p_.types[e.type].kind;
    if (kind == schema::TypeKind::record || kind == schema::TypeKind::map) return;
    for (const cel::Value& v : e.program.constants) {
      if (v.kind() != cel::Kind::map || v.size() != 1) continue;
      const cel::Value* name = v.find("secret");
      if (name != nullptr && name->kind() == cel::Kind::string)
        add(out_.secrets, std::string(name->as_string()));
    }
  }

  const Program& p_;
  Requirements out_;
  std::vector<CallableId> todo_;
  std::set<uint32_t> callables_;
  std::set<uint32_t> blocks_;
  std::set<uint32_t> nodes_;
};

}  // namespace

Requirements requirements(const Program& program, CallableId entry) {
  return Walk(program).run(entry);
}

}  // namespace kflow::ir
