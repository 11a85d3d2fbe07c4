// Binary form of programs, and what is looked up once after compiling or decoding.
#include "compiler/cel/program.hpp"

#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::cel {
namespace {

constexpr uint8_t program_layout = 1;

// Number of links an operation must have: {least, most}.
std::pair<uint32_t, uint32_t> arity(const Op& op) {
  switch (op.code) {
    case OpCode::constant:
    case OpCode::load:
    case OpCode::local:
    case OpCode::undeclared:
      return {0, 0};
    case OpCode::select:
    case OpCode::not_:
    case OpCode::negate:
      return {1, 1};
    case OpCode::index:
    case OpCode::and_:
    case OpCode::or_:
    case OpCode::coalesce:
    case OpCode::add:
    case OpCode::subtract:
    case OpCode::multiply:
    case OpCode::divide:
    case OpCode::modulo:
    case OpCode::equal:
    case OpCode::not_equal:
    case OpCode::less:
    case OpCode::less_equal:
    case OpCode::greater:
    case OpCode::greater_equal:
    case OpCode::in:
    case OpCode::all:
    case OpCode::exists:
    case OpCode::exists_one:
    case OpCode::filter:
    case OpCode::bind:
    case OpCode::opt_map:
    case OpCode::opt_flat_map:
    case OpCode::sort_by:
      return {2, 2};
    case OpCode::conditional:
      return {3, 3};
    case OpCode::map_list:
    case OpCode::transform_map:
    case OpCode::transform_map_entry:
      return op.flags & op_flag::filtered ? std::pair{3U, 3U} : std::pair{2U, 2U};
    case OpCode::call:
    case OpCode::list:
    case OpCode::map:
    case OpCode::interpolate:
      return {0, UINT32_MAX};
  }
  std::unreachable();
}

// Number of iteration variables an operation declares.
uint32_t slots(const Op& op) {
  if (op.code == OpCode::sort_by) return 1;
  if (op.code < OpCode::all || op.code > OpCode::opt_flat_map) return 0;
  return op.flags & op_flag::two_vars ? 2 : 1;
}

bool flags_fit(const Op& op) {
  switch (op.code) {
    case OpCode::select:
      return (op.flags & ~(op_flag::optional | op_flag::test)) == 0;
    case OpCode::index:
      return (op.flags & ~op_flag::optional) == 0;
    case OpCode::call:
      return (op.flags & ~op_flag::member) == 0;
    case OpCode::map_list:
    case OpCode::transform_map:
    case OpCode::transform_map_entry:
      return (op.flags & ~(op_flag::two_vars | op_flag::filtered)) == 0;
    case OpCode::all:
    case OpCode::exists:
    case OpCode::exists_one:
    case OpCode::filter:
      return (op.flags & ~op_flag::two_vars) == 0;
    default:
      return op.flags == 0;
  }
}

// Each operation but the root is the operand of exactly one other, and an iteration variable is
// read only where it is set: within the body of its loop, whose slots lie above those of the loops
// around it. What is bound may leave slots out: those of loops in the value.
bool well_scoped(const Program& p) {
  std::vector<uint32_t> scope(p.ops.size(), UINT32_MAX);
  std::vector<uint32_t> owner(p.ops.size(), UINT32_MAX);  // the loop or binding around each
  scope.back() = 0;
  const auto is_set = [&](uint32_t slot, uint32_t at) {
    for (; at != UINT32_MAX; at = owner[at]) {
      if (slot >= p.ops[at].a) return slot - p.ops[at].a < slots(p.ops[at]);
    }
    return false;
  };
  for (size_t i = p.ops.size(); i-- > 0;) {
    const Op& op = p.ops[i];
    if (scope[i] == UINT32_MAX) return false;
    if (op.code == OpCode::local && !is_set(op.a, owner[i])) return false;
    const bool gap = op.code == OpCode::bind && op.a > scope[i];
    if (slots(op) > 0 && op.a != scope[i] && !gap) return false;
    for (uint32_t k = 0; k < op.link_count; ++k) {
      const uint32_t operand = p.links[op.first_link + k];
      if (scope[operand] != UINT32_MAX) return false;
      const bool within = k > 0 && slots(op) > 0;
      scope[operand] = within ? op.a + slots(op) : scope[i];
      owner[operand] = within ? static_cast<uint32_t>(i) : owner[i];
    }
  }
  return true;
}

// Everything the evaluator takes for granted.
bool well_formed(const Program& p) {
  if (p.ops.empty() || p.optional_marks.size() != p.links.size()) return false;
  std::vector<uint32_t> depth(p.ops.size(), 1);
  for (uint32_t i = 0; i < p.ops.size(); ++i) {
    const Op& op = p.ops[i];
    const auto [least, most] = arity(op);
    if (op.link_count < least || op.link_count > most || !flags_fit(op)) return false;
    if (op.first_link > p.links.size() || op.link_count > p.links.size() - op.first_link)
      return false;
    for (uint32_t k = 0; k < op.link_count; ++k) {
      const uint32_t child = p.links[op.first_link + k];
      if (child >= i) return false;
      depth[i] = std::max(depth[i], depth[child] + 1);
    }
    if (depth[i] > max_expression_depth + 8) return false;
    switch (op.code) {
      case OpCode::constant:
        if (op.a >= p.constants.size()) return false;
        break;
      case OpCode::select:
      case OpCode::undeclared:
        if (op.a >= p.constants.size() || p.constants[op.a].kind() != Kind::string) return false;
        break;
      case OpCode::load:
        if (op.a >= p.variables) return false;
        break;
      case OpCode::call:
        if (op.a >= p.names.size()) return false;
        break;
      case OpCode::map:
        if (op.link_count % 2 != 0) return false;
        break;
      default:
        break;
    }
    if (op.a + uint64_t{slots(op)} > p.locals && slots(op) > 0) return false;
  }
  return well_scoped(p);
}

// Functions whose second argument is a regular expression.
bool takes_pattern(std::string_view name) {
  return name == "matches" || name == "regex.extract" || name == "regex.extractAll" ||
         name == "regex.replace";
}

}  // namespace

void Program::link() {
  for (Op& op : ops) {
    op.function = nullptr;
    op.regex = nullptr;
    if (op.code != OpCode::call) continue;
    const std::string& name = names[op.a];
    op.function = find_function(name, op.flags & op_flag::member);
    if (op.function != nullptr && op.function->dialect_only && strict) op.function = nullptr;
    if (!takes_pattern(name) || op.link_count < 2) continue;
    const Op& pattern = ops[links[op.first_link + 1]];
    if (pattern.code != OpCode::constant || constants[pattern.a].kind() != Kind::string) continue;
    if (auto compiled = Regex::compile(constants[pattern.a].as_string())) {
      op.regex = compiled.get();
      regexes.push_back(std::move(compiled));
    }
  }
}

void encode_program(const Program& p, ByteWriter& out, bool with_places) {
  out.u8(program_layout);
  out.boolean(p.strict);
  out.varint(p.variables);
  out.varint(p.locals);
  out.varint(p.names.size());
  for (const std::string& name : p.names) out.string(name);
  out.varint(p.constants.size());
  for (const Value& v : p.constants) encode_value(v, out);
  out.varint(p.links.size());
  for (size_t i = 0; i < p.links.size(); ++i)
    out.varint((static_cast<uint64_t>(p.links[i]) << 1) | p.optional_marks[i]);
  out.varint(p.ops.size());
  for (const Op& op : p.ops) {
    out.u8(static_cast<uint8_t>(op.code));
    out.u8(op.flags);
    out.varint(op.a);
    out.varint(op.first_link);
    out.varint(op.link_count);
    out.varint(with_places ? op.begin : 0);
    out.varint(with_places ? op.end - op.begin : 0);
  }
}

Program decode_program(ByteReader& in) {
  Program p;
  if (in.u8() != program_layout) in.fail();
  p.strict = in.boolean();
  p.variables = in.varint32();
  p.locals = in.varint32();
  if (p.locals > 100'000) in.fail();
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) p.names.emplace_back(in.string());
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) p.constants.push_back(decode_value(in));
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) {
    const uint64_t v = in.varint();
    if (v >> 33 != 0) in.fail();
    p.links.push_back(static_cast<uint32_t>(v >> 1));
    p.optional_marks.push_back(v & 1);
  }
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) {
    Op op;
    const uint8_t code = in.u8();
    if (code > last_op_code) in.fail();
    op.code = in.failed() ? OpCode::constant : static_cast<OpCode>(code);
    op.flags = in.u8();
    op.a = in.varint32();
    op.first_link = in.varint32();
    op.link_count = in.varint32();
    op.begin = in.varint32();
    op.end = op.begin + in.varint32();
    p.ops.push_back(op);
  }
  if (!in.failed() && !well_formed(p)) in.fail();
  if (in.failed()) return {};
  p.link();
  return p;
}

}  // namespace kflow::cel
