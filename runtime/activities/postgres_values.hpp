// Values of kflow as PostgreSQL reads and writes them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "compiler/cel/value.hpp"

namespace kflow::activities {

using PgType = uint32_t;  ///< an OID of pg_type

/// Type of the elements of array types that are not built in.
using PgArrays = std::map<PgType, PgType>;

inline constexpr PgType pg_bytea = 17;
bool is_pg_json(PgType type);
/// Whether the server's table of types must be asked what it is.
bool is_pg_custom(PgType type);

/// A column's text as a value: bool, int (int2, int4, int8, oid, whole numerics), double (float4,
/// float8, numerics of at most 15 digits, which a double gives back exactly), bytes, timestamp
/// (timestamptz), JSON as what it says, arrays as lists. All else stays text: longer numerics,
/// dates, times and timestamps without a zone, intervals (ISO 8601), UUIDs, enums, infinity.
cel::Value pg_value(PgType type, std::string_view text, const PgArrays& arrays);

/// How a parameter is sent: as text whose type the server infers, or as raw bytes.
struct PgParam {
  std::optional<std::string> data;  ///< none: NULL
  bool binary = false;
};
/// Lists become arrays, or JSON where the statement wants that; records become JSON.
PgParam pg_param(const cel::Value& value, bool json);

}  // namespace kflow::activities
