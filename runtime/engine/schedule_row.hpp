// What the row of a schedule says beside its program: when it starts, and with which input.
#pragma once

#include <string>
#include <string_view>

#include "compiler/cel/value.hpp"
#include "compiler/ir/schedule.hpp"

namespace kflow::engine {

inline constexpr size_t max_schedule_input_bytes = 64U << 10;  ///< of a schedule, as it is stored

struct ScheduleRow {
  ir::ScheduleSpec spec;
  cel::Value input = cel::Value::map({});  ///< a record; what it leaves out has its default
};

/// For `store::Schedule::spec`. Without an input: as the spec alone.
std::string encode_row(const ScheduleRow& row);
/// Error corrupt.
Result<ScheduleRow> decode_row(std::string_view bytes);

}  // namespace kflow::engine
