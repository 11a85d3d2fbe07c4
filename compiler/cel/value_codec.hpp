// Value ↔ tagged bytes (everything kept apart: int, uint, double, bytes, timestamp, duration) and
// Value ↔ JSON text.
#pragma once

#include "compiler/base/bytes.hpp"
#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::cel {

/// Appends `v`; its long texts go to the writer's LargeSink, if it has one. The format is part of
/// the store's and the program's formats: tags are never reused.
void encode_value(const Value& v, ByteWriter& out);
/// Reads one value; on malformed input (also: nested deeper than 1 000, invalid UTF-8 in a string,
/// a long text that the reader's LargeSource does not have) the reader has failed.
Value decode_value(ByteReader& in);

/// A JSON document as a value: integers as int (uint above INT64_MAX), other numbers as double,
/// objects as maps in the document's order; of a repeated key the last value wins.
Result<Value> from_json(std::string_view text);
/// Compact JSON, or indented by `indent`. Bytes → base64, timestamp → RFC 3339, duration → `3.5s`,
/// type → its name, none → null, some(x) → x, non-string keys → their text, NaN and infinities →
/// strings.
std::string to_json(const Value& v, int indent = -1);

}  // namespace kflow::cel
