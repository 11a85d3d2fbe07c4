// Program: a compiled expression; compact, immutable, shared between threads, stored for years.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/bytes.hpp"
#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::cel {

struct Function;
class Regex;

/// Deepest nesting of an expression, in the compiler and in the decoder.
inline constexpr uint32_t max_expression_depth = 400;

/// Part of the program's format: never reuse or renumber one.
enum class OpCode : uint8_t {
  constant = 0,  ///< a: constant
  load = 1,      ///< a: variable
  local = 2,     ///< a: slot of an iteration variable
  select = 3,    ///< links: operand; a: constant (field name); flags
  index = 4,     ///< links: operand, key; flags
  call = 5,      ///< links: arguments (receiver first); a: function name in `names`; flags: member
  list = 6,      ///< links: items; b: bit per item through `optional_marks`
  map = 7,       ///< links: key, value, key, value …
  conditional = 8,  ///< links: condition, then, otherwise
  and_ = 9,
  or_ = 10,
  coalesce = 11,  ///< `a ?? b`
  not_ = 12,
  negate = 13,
  add = 14,
  subtract = 15,
  multiply = 16,
  divide = 17,
  modulo = 18,
  equal = 19,
  not_equal = 20,
  less = 21,
  less_equal = 22,
  greater = 23,
  greater_equal = 24,
  in = 25,
  interpolate = 26,  ///< links: parts
  all = 27,
  exists = 28,
  exists_one = 29,           ///< links: range, predicate; a: first slot; flags: two variables
  map_list = 30,             ///< links: range, [filter,] result: `map` and `transformList`
  filter = 31,               ///< links: range, predicate
  transform_map = 32,        ///< links: range, [filter,] value
  transform_map_entry = 33,  ///< links: range, [filter,] map of one entry
  bind = 34,                 ///< links: init, body; a: slot
  opt_map = 35,
  opt_flat_map = 36,  ///< links: optional, body; a: slot
  undeclared = 37,    ///< a: constant (the name): an error when evaluated
  sort_by = 38,       ///< links: list, key; a: slot
};
inline constexpr uint8_t last_op_code = 38;

namespace op_flag {
inline constexpr uint8_t optional = 1;   ///< `.?f`, `[?i]`, and list items and map entries with `?`
inline constexpr uint8_t test = 2;       ///< has(e.f)
inline constexpr uint8_t member = 4;     ///< receiver style
inline constexpr uint8_t two_vars = 8;   ///< index/key and value
inline constexpr uint8_t filtered = 16;  ///< map with a filter
}  // namespace op_flag

struct Op {
  OpCode code = OpCode::constant;
  uint8_t flags = 0;
  uint32_t a = 0;
  uint32_t first_link = 0;  ///< into Program::links
  uint32_t link_count = 0;
  uint32_t begin = 0;  ///< place in the source, relative to the expression's file
  uint32_t end = 0;
  // Resolved after compiling or decoding, not stored.
  const Function* function = nullptr;
  const Regex* regex = nullptr;  ///< of `matches` or `regex.…` with a constant pattern
};

struct Program {
  std::vector<Op> ops;  ///< children before parents; the last one is the root
  std::vector<uint32_t> links;
  std::vector<Value> constants;
  std::vector<std::string> names;
  std::vector<uint8_t> optional_marks;  ///< by link: the item or entry has `?`
  uint32_t variables = 0;               ///< number of variables that `load` refers to
  uint32_t locals = 0;
  bool strict = false;  ///< exactly CEL; otherwise the language's dialect
  std::vector<std::shared_ptr<const Regex>> regexes;

  bool empty() const { return ops.empty(); }
  /// The value, if the whole program is one constant.
  const Value* constant() const {
    return ops.size() == 1 && ops[0].code == OpCode::constant ? &constants[ops[0].a] : nullptr;
  }
  /// Looks up functions and compiles constant patterns; called by the compiler and the decoder.
  void link();
};

/// Places (begin, end) are left out with `with_places = false`, for hashing.
void encode_program(const Program& program, ByteWriter& out, bool with_places = true);
/// Checks everything the evaluator relies on; on malformed input the reader has failed.
Program decode_program(ByteReader& in);

}  // namespace kflow::cel
