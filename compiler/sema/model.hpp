// The checked declarations of a set of files: modules, callables, types, consts, functions,
// policies.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compiler/cel/front/ast.hpp"
#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/ir/builtins.hpp"
#include "compiler/ir/program.hpp"
#include "compiler/ir/schema/types.hpp"
#include "compiler/sema/index.hpp"
#include "compiler/source/source.hpp"
#include "compiler/syntax/tree.hpp"

namespace kflow::sema {

using schema::TypeId;
using syntax::Cursor;

struct ParamInfo {
  std::string name;
  std::vector<std::string> was;  ///< @was
  TypeId type;
  Cursor fallback;  ///< expression of the default; none: required
  bool optional = false;
  std::vector<schema::Constraint> constraints;
  std::string doc;
  source::Span span;
};

/// Anything a step can call that is declared in a file.
struct CallableInfo {
  ir::CallableKind kind = ir::CallableKind::workflow;
  std::string name;
  std::vector<std::string> was;  ///< @was
  Cursor node;
  std::vector<ParamInfo> params;
  TypeId result;
  bool result_declared = false;
  source::Span span;  ///< of its name
  uint32_t module = 0;
  // of a tool of an MCP server
  uint32_t server = UINT32_MAX;  ///< index into Model::servers
  std::string doc;
  ir::McpTool mcp;
  TypeId
      arguments;  ///< record of the arguments under the schema's names; a map: they are not known
  bool idempotent = false;

  /// What it is for, as models are told.
  std::string description() const { return server == UINT32_MAX ? node.doc() : doc; }
};

/// An `mcp` declaration. Its tools are callables named `server.tool`.
struct ServerInfo {
  ir::McpServer spec;
  source::Span span;  ///< of its name
  uint32_t module = 0;
  bool known = false;              ///< its tools are locked
  std::vector<std::string> tools;  ///< as the language names them
};

struct ConstInfo {
  cel::Value value;
  TypeId type;
  Cursor node;
  enum class State : uint8_t { fresh, computing, done } state = State::fresh;
};

struct FunctionInfo {
  std::vector<ParamInfo> params;
  TypeId result;
  Cursor node;
  bool open = false;  ///< being expanded: to find recursion
};

/// One file. Names of imported modules stand in `imports`.
struct Module {
  source::FileId file;
  syntax::Tree tree;
  std::map<std::string, uint32_t, std::less<>> imports;
  std::map<std::string, TypeId, std::less<>> types;
  std::map<std::string, uint32_t, std::less<>> callables;
  std::map<std::string, ConstInfo, std::less<>> consts;
  std::map<std::string, FunctionInfo, std::less<>> functions;
  std::map<std::string, ir::RetryPolicy, std::less<>> retries;
  std::map<std::string, Cursor, std::less<>> models;     ///< `model` declarations
  std::map<std::string, uint32_t, std::less<>> servers;  ///< of MCP: index into Model::servers
  std::set<std::string, std::less<>> secrets;
  std::map<std::string, source::Span, std::less<>> names;  ///< every declared name and where
  bool has_syntax_errors = false;
  bool broken_imports = false;  ///< one was reported: a name may be what it would have bound
};

struct Model {
  source::Manager& sources;
  diagnostics::Sink& sink;
  schema::TypeTable types;
  std::vector<std::unique_ptr<Module>> modules;  ///< the root file first
  std::vector<CallableInfo> callables;
  std::vector<ServerInfo> servers;
  Index* index = nullptr;  ///< what editors want to know; null: nobody does
  bool locking = false;    ///< the lock is about to be written: that there is none is no mistake
  /// Names reported as unknown in the present body: each is reported at its first use only.
  std::set<std::string, std::less<>> unknown_names;
  std::set<std::string, std::less<>> unknown_types;  ///< the same for the whole compilation
  std::vector<std::string> std_modules;              ///< for suggestions: `std/web` …
  /// Whether a name is one of the body that is being lowered: known only while it runs.
  std::function<bool(std::string_view)> is_runtime_name;
};

/// Notes that the name at `at` means what `module` declares under `name`.
inline void note_use(Model& model, source::Span at, const Module& module, std::string_view name) {
  if (model.index == nullptr) return;
  if (const auto it = module.names.find(name); it != module.names.end())
    model.index->uses.push_back({at, it->second});
}

/// Loads imports, declares and resolves everything but the bodies of tools and workflows.
void declare(Model& model, source::FileId root);

/// The server that an `mcp` declaration describes; what is wrong with it is reported.
ir::McpServer mcp_server(Model& model, Module& module, Cursor declaration);
/// Declares the tools of a server as the lock has them, or reports that there is no lock of it.
void declare_tools(Model& model, uint32_t server);
/// Names that begin with `_` are their module's own: nobody who imports it sees them.
inline bool is_private(std::string_view name) { return name.starts_with('_'); }

// ---- for the bodies

/// The MCP server of that name as seen from a module (`files`, `lib.files`), or none.
std::optional<uint32_t> find_server(const Model& model, const Module& module,
                                    std::string_view name);

TypeId resolve_type(Model& model, Module& module, Cursor node);
/// The type that a row of the built-ins' table spells.
TypeId builtin_type(Model& model, std::string_view text);
std::vector<ParamInfo> builtin_params(Model& model, const ir::Builtin& builtin);
/// Callable of that (dotted) name as seen from a module, or none.
std::optional<uint32_t> find_callable(const Model& model, const Module& module,
                                      std::string_view name);
/// All names that could be meant where a callable is.
std::vector<std::string> callable_names(const Model& model, const Module& module);
/// The value of a constant expression, or a diagnostic.
std::optional<cel::Value> constant_value(Model& model, Module& module, Cursor expression);
/// The const's value, computed when first asked for; null if there is none of that name.
const ConstInfo* constant(Model& model, Module& module, std::string_view name);
/// A retry policy from `{ … }` entries (option block or map), or the name of one.
std::optional<ir::RetryPolicy> retry_policy(Model& model, Module& module, Cursor value);
/// Type of a constant value.
TypeId type_of(Model& model, const cel::Value& value);

// ---- options

/// An option of a block or an entry of a `{ … }` value, under one form.
struct OptionNode {
  std::string name;
  Cursor name_node;
  Cursor value;  ///< the expression; none if missing
};
std::vector<OptionNode> options_in(Cursor block_or_map);
/// Checks names, duplicates and required options of a construct; unknown ones are left out of the
/// result.
std::vector<OptionNode> check_options(Model& model, std::string_view construct, Cursor owner,
                                      Cursor block);
/// A bare word among the symbols of the option, or a diagnostic and "".
std::string symbol_value(Model& model, const OptionNode& option, std::string_view construct);

}  // namespace kflow::sema
