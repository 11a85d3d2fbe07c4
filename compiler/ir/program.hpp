// Program: the step graph of one file and what it imports; immutable, position-free in meaning,
// identified by its hash.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "compiler/base/hash.hpp"
#include "compiler/base/ids.hpp"
#include "compiler/base/result.hpp"
#include "compiler/cel/program.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/ir/schema/types.hpp"

namespace kflow::ir {

using schema::TypeId;
struct NodeTag;
struct BlockTag;
struct ExprTag;
struct ScopeTag;
struct CallableTag;
struct ModelTag;
struct McpServerTag;
using NodeId = Id<NodeTag>;
using BlockId = Id<BlockTag>;
using ExprId = Id<ExprTag>;  ///< none where an option is not written
using ScopeId = Id<ScopeTag>;
using CallableId = Id<CallableTag>;
using ModelId = Id<ModelTag>;
using McpServerId = Id<McpServerTag>;

/// Index of a value within its scope; `no_slot` for a step whose value nobody names.
using Slot = uint32_t;
inline constexpr Slot no_slot = 0xffffffffU;

// ---------------------------------------------------------------- expressions

/// Where an expression's variable gets its value from.
enum class VarSource : uint8_t {
  slot,      ///< `index` in the scope `hops` outwards
  previous,  ///< the same slot's value in the preceding iteration of that (loop) scope; null in the
             ///< first
  iteration,  ///< number of the current iteration, from 1, of the loop scope `hops` outwards
  constant,   ///< Program::constants[index]
  run,        ///< record {id, workflow, started_at, parent, attempt}
  session,    ///< the session's state record with `id`
  user,       ///< record {id}
  info,    ///< info(name): facts on the step, loop, for … of the slot `index` in the scope `hops`
           ///< outwards
  errors,  ///< errors(name) of the `for` whose info slot is `index` in the scope `hops` outwards
  own_value,  ///< the step's own value, in ensure, undo, review
  message,    ///< in prompts of agents: parameters are slots; this is the implicit `message`
  own_key,    ///< the idempotency key of the step that `undo` compensates
};

struct VarRef {
  VarSource source = VarSource::slot;
  uint32_t hops = 0;
  uint32_t index = 0;
  friend bool operator==(const VarRef&, const VarRef&) = default;
};

/// Place in a source file, for error messages of a run; not part of the hash.
struct Origin {
  uint32_t file = 0;  ///< index into Program::files
  uint32_t line = 0;  ///< from 1; 0: none
  uint32_t column = 0;
};

struct Expr {
  cel::Program program;
  std::vector<VarRef> variables;  ///< by the program's variable index
  TypeId type;
  bool check = false;  ///< the value must be validated against `type` at run time (an `any` met a
                       ///< declared type)
  std::string text;    ///< source, for graphs and messages
  Origin origin;
};

// ---------------------------------------------------------------- scopes

struct SlotInfo {
  std::string name;
  TypeId type;
  bool carried = false;          ///< read as `previous`: kept over to the next iteration
  bool facts = false;            ///< info(name) or errors(name) is read
  std::vector<std::string> was;  ///< @was: what it was called before, the latest first
};

enum class ScopeKind : uint8_t { body, for_each, loop };

/// The names of one callable body (parameters first) or of one iteration of a `for` or `loop`.
/// `if`, `match`, `parallel`, `try` have no scope of their own: their names are slots of the
/// surrounding one.
struct Scope {
  ScopeKind kind = ScopeKind::body;
  ScopeId parent;  ///< none for a body
  std::vector<SlotInfo> slots;
};

/// After a `for` or `loop`: the slot of the iteration's scope that is visible outside, and where.
struct Export {
  Slot inner = no_slot;
  Slot outer = no_slot;
};

// ---------------------------------------------------------------- calls and step options

enum class CalleeKind : uint8_t {
  builtin,  ///< of ir/builtins.hpp, by name
  tool,     ///< inline
  extern_tool,
  workflow,        ///< attached child run
  workflow_start,  ///< `name.start(…)`: detached
  agent,
  team,
  mcp_tool,  ///< a tool of an MCP server
  model,     ///< a turn of the agent `callable`
};

struct Argument {
  std::string name;
  ExprId value;
};

struct Call {
  CalleeKind kind = CalleeKind::builtin;
  std::string name;     ///< as written: "http.get", "research_team"
  CallableId callable;  ///< of all but built-ins
  std::vector<Argument>
      arguments;  ///< by parameter name, in the callee's order; defaults are filled in at run time
};

enum class BackoffKind : uint8_t { constant, linear, exponential };
enum class Jitter : uint8_t { none, full, equal };

/// Which errors are tried again. `http("5xx")` is kind http, status_from 500, status_to 599.
struct ErrorMatcher {
  std::string kind;
  int32_t status_from = 0;  ///< 0: any
  int32_t status_to = 0;
  friend bool operator==(const ErrorMatcher&, const ErrorMatcher&) = default;
};

struct RetryPolicy {
  uint32_t max = 3;  ///< attempts in all
  BackoffKind backoff = BackoffKind::exponential;
  int64_t base_ms = 1000;
  double factor = 2.0;
  int64_t cap_ms = 60'000;
  Jitter jitter = Jitter::full;
  std::vector<ErrorMatcher> on;  ///< empty: transport errors, 429, 5xx, timeouts
  friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;
};

enum class OnError : uint8_t { fail, continue_ };

struct StepOptions {
  std::optional<RetryPolicy> retry;  ///< none: the default for what is called
  ExprId timeout;                    ///< duration, all attempts
  ExprId attempt_timeout;            ///< duration, one attempt
  OnError on_error = OnError::fail;
  ExprId fallback;  ///< `default:`
  ExprId idempotency_key;
  bool at_most_once = false;
  ExprId cache;
  NodeId undo;  ///< a step node that stands in no block; its arguments see the step's value
  ExprId ensure;
  ExprId confirm;
  ExprId review;
  ExprId label;
  std::vector<std::string> tags;
  bool cancel_at_end = false;  ///< `at_end: cancel` of a detached child
};

// ---------------------------------------------------------------- nodes

struct StepNode {
  Slot slot = no_slot;
  Call call;
  TypeId type;         ///< of the value
  bool check = false;  ///< validate the value against `type`: the step has a declared type narrower
                       ///< than the callee's
  StepOptions options;
};
struct LetNode {
  Slot slot = no_slot;
  ExprId value;
};
struct SetNode {
  std::vector<std::string> path;  ///< below `session`
  ExprId value;
};
struct IfNode {
  struct Arm {
    ExprId condition;  ///< none: else
    BlockId body;
  };
  std::vector<Arm> arms;
};
struct MatchNode {
  struct Arm {
    std::vector<cel::Value> patterns;  ///< none: else
    BlockId body;
  };
  ExprId subject;
  std::string field;  ///< `match v.kind` on a union of records: informative
  std::vector<Arm> arms;
};
enum class JoinKind : uint8_t { all, settled, any, first };
struct ParallelNode {
  struct Branch {
    std::string name;              ///< path segment; "" for a single statement, which has its own
    std::vector<std::string> was;  ///< @was
    BlockId body;
  };
  std::vector<Branch> branches;
  JoinKind join = JoinKind::all;
  uint32_t first = 0;  ///< n of first(n)
  uint32_t limit = 0;  ///< 0: no limit
};
struct ForNode {
  ScopeId scope;
  Slot key = no_slot;    ///< i of `for i, x in list`, k of `for k, v in map`
  Slot value = no_slot;  ///< x, v; of a map with one variable: the key
  ExprId items;
  BlockId body;
  uint32_t limit = 1;
  OnError on_error = OnError::fail;
  std::vector<Export> exports;
  Slot facts = no_slot;  ///< where info(name) and errors(name) of this `for` are kept
};
enum class OnMax : uint8_t { continue_, fail };
struct LoopNode {
  ScopeId scope;
  ExprId max;
  ExprId until;
  ExprId while_;
  OnMax on_max = OnMax::continue_;
  BlockId body;
  std::vector<Export> exports;
  Slot facts = no_slot;
};
struct TryNode {
  struct Catch {
    Slot error = no_slot;
    ExprId guard;
    BlockId body;
  };
  BlockId body;
  std::vector<Catch> catches;
  BlockId finally;  ///< none: none
  bool compensate = false;
};
struct ReturnNode {
  ExprId value;  ///< none: null
};
struct FailNode {
  ExprId code;
  ExprId message;
  ExprId data;
};
struct EmitNode {
  ExprId value;
};
struct BreakNode {};
struct ContinueNode {};

using NodeData =
    std::variant<StepNode, LetNode, SetNode, IfNode, MatchNode, ParallelNode, ForNode, LoopNode,
                 TryNode, ReturnNode, FailNode, EmitNode, BreakNode, ContinueNode>;

struct Node {
  /// Path segment, unique among the nodes of one execution path of its block: a step's or loop's
  /// name, or one made from the callee or keyword (`sleep`, `sleep_2`, `for`, `parallel_2`).
  std::string name;
  bool named = false;  ///< written by the author
  std::vector<std::string>
      was;  ///< @was: its earlier names; read only when a run is moved to this program
  NodeData data;
  std::string doc;
  Origin origin;
};

struct Block {
  std::vector<NodeId> statements;
};

// ---------------------------------------------------------------- callables

enum class CallableKind : uint8_t { workflow, tool, extern_tool, agent, team, mcp_tool };

struct Param {
  std::string name;
  std::vector<std::string> was;  ///< @was: its earlier names, which the input of a moved run has
  TypeId type;
  ExprId fallback;  ///< default; may read constants only
  std::vector<schema::Constraint> constraints;
  std::string doc;
};

// ---------------------------------------------------------------- agents and teams

/// Whose models can be called, and how (runtime/models).
inline constexpr std::string_view model_providers[] = {"openai", "openai_chat", "anthropic",
                                                       "gemini"};

/// A `model` declaration, or what `"provider/id"` means.
struct Model {
  std::string name;  ///< of the declaration; "provider/id" otherwise
  std::string provider;
  std::string id;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> max_output_tokens;
  std::optional<int64_t> seed;
  std::string reasoning_effort;  ///< "": the provider's own
  std::vector<std::string> stop;
  std::string base_url;  ///< "": the provider's, or as kflow.yaml says
  std::string api_key;   ///< name of a secret; "": the provider's usual variable
  std::vector<ModelId> fallback;
};

/// Something that a model may call. Its step stands in no block; the model gives its arguments.
struct AgentTool {
  std::string name;  ///< as the model knows it: letters, digits, `_` and `-`, at most 64
  std::string description;
  TypeId input;        ///< record of the arguments
  std::string schema;  ///< JSON Schema as an MCP server gave it; "": of `input`
  NodeId node;
};

/// A callable that sees what goes into an agent or what comes out of it, and may reject it.
struct Guard {
  NodeId node;
  bool input = false;   ///< called before the first turn; it has a parameter `input`
  bool output = false;  ///< called with the answer; it has a parameter `output`
};

enum class TeamMode : uint8_t {
  none,        ///< an agent
  coordinate,  ///< the leader delegates and synthesises
  route,       ///< the leader hands over to one member, whose answer it is
  broadcast,   ///< all members, then synthesis
  tasks,       ///< the leader keeps a list of tasks until all are done
};

/// Most that models may cost; none: no limit.
struct Budget {
  ExprId usd;
  ExprId tokens;
};

struct AgentOptions {
  TeamMode mode = TeamMode::none;
  ModelId model;
  ExprId role;
  ExprId instructions;  ///< a string or a list of strings
  ExprId prompt;        ///< over the parameters; none: the message, or the parameters as JSON
  std::vector<AgentTool> tools;  ///< members of a team first
  uint32_t members = 0;          ///< how many of `tools` are members
  std::vector<Guard> guards;
  NodeId call;  ///< the step that a call of the model is
  uint32_t max_turns = 10;
  uint32_t history = 0;  ///< earlier pairs of the session that the model is told
  uint32_t reask = 2;    ///< further tries for an answer of the right type
  bool parallel_tools = true;
  bool share_history = false;
  bool message = false;  ///< it has the one implicit parameter `message`
  Budget budget;
};

enum class WhenFull : uint8_t { queue, reject, cancel_oldest };
/// How many runs of a workflow go on at a time.
struct Concurrency {
  uint32_t limit = 0;  ///< 0: no limit
  ExprId key;          ///< over the parameters; counted separately by its value
  WhenFull when_full = WhenFull::queue;
};

struct WorkflowOptions {
  ExprId timeout;
  std::vector<std::string> tags;
  TypeId session;  ///< record of the declared session state; none: none
  Concurrency concurrency;
  std::string schedule;      ///< encoded ScheduleSpec (schedule.hpp); "": none
  int64_t retention_ms = 0;  ///< 0: as the store has it
  NodeId on_failure;         ///< step nodes that stand in no block
  NodeId on_cancel;
  Budget budget;
};

// ---------------------------------------------------------------- MCP

/// A header of a server's requests, or a variable of its environment: the text, then the value of
/// the secret.
struct McpSetting {
  std::string name;
  std::string text;
  std::string secret;  ///< name of a declared secret; "": none
  friend bool operator==(const McpSetting&, const McpSetting&) = default;
};

/// An `mcp` declaration: a program to start, or an address.
struct McpServer {
  std::string name;  ///< unique in the program: `name`, or `module.name` for imported ones
  std::vector<std::string> command;
  std::string url;                   ///< instead of `command`
  std::vector<McpSetting> settings;  ///< headers with `url`, environment with `command`
  int64_t timeout_ms = 0;            ///< of one call; 0: as built in
  std::string protocol;              ///< revision that was spoken when its tools were locked
  friend bool operator==(const McpServer&, const McpServer&) = default;
};

/// A tool of an MCP server as it was locked.
struct McpTool {
  McpServerId server;
  std::string name;           ///< as the server knows it
  std::string input_schema;   ///< JSON Schema, canonical
  std::string output_schema;  ///< canonical; "": it has none
};

struct Callable {
  CallableKind kind = CallableKind::workflow;
  std::string name;  ///< unique in the program: `name`, or `module.name` for imported ones
  std::vector<std::string> was;  ///< @was: its earlier names in the same form
  std::string doc;
  std::vector<Param> params;
  TypeId result;
  // workflow, tool, agent, team
  ScopeId scope;  ///< its first slots are the params; of an agent, nothing but those
  BlockId body;
  WorkflowOptions workflow;
  // extern tool
  std::vector<std::string> command;  ///< empty: registered by the embedding program
  bool idempotent = false;           ///< of MCP tools too
  AgentOptions agent;                ///< agent, team
  McpTool mcp;
};

struct Program {
  uint32_t edition = 1;
  schema::TypeTable types;
  std::vector<cel::Value> constants;
  std::vector<Expr> exprs;
  std::vector<Scope> scopes;
  std::vector<Block> blocks;
  std::vector<Node> nodes;
  std::vector<Callable> callables;
  std::vector<Model> models;
  std::vector<McpServer> servers;
  std::vector<std::string> files;  ///< paths as written, for Origin
  std::string name;                ///< stem of the root file

  const Expr& operator[](ExprId id) const { return exprs[id.value]; }
  const Scope& operator[](ScopeId id) const { return scopes[id.value]; }
  const Block& operator[](BlockId id) const { return blocks[id.value]; }
  const Node& operator[](NodeId id) const { return nodes[id.value]; }
  const Callable& operator[](CallableId id) const { return callables[id.value]; }
  const Model& operator[](ModelId id) const { return models[id.value]; }
  const McpServer& operator[](McpServerId id) const { return servers[id.value]; }
  /// Callable of that name, or none.
  CallableId find(std::string_view name) const;
  /// The same, or the one that had the name (`@was`): of a run that was moved, the header has the
  /// name it was started by.
  CallableId find_or_was(std::string_view name) const;
};

/// The newest layout this build writes; older ones are read for ever.
inline constexpr uint32_t program_format = 5;
/// Layouts below this were those of versions before the first release.
inline constexpr uint32_t oldest_program_format = 5;

/// Checks every index, slot, hop and nesting rule that the machine relies on. A program that was
/// decoded or lowered is run only after this.
Result<void> verify(const Program& program);
/// Binary form: "KIR" and version, then the content, then a checksum.
std::string encode(const Program& program);
/// Decodes and verifies; any bytes give a program or an error.
Result<Program> decode(std::string_view bytes);
/// SHA-256 of the encoding without origins, docs of nodes and file names: equal ⇔ the same meaning.
Sha256 hash(const Program& program);
/// Readable listing, one line a node (`kflowc build --print ir`).
std::string print(const Program& program);
/// The same as one JSON document (`kflowc build -o x.json`).
std::string to_json(const Program& program);

}  // namespace kflow::ir
