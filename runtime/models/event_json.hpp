// JSON of a stream's events, fast: one event is much like the one before.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/cel/value.hpp"

namespace kflow::models {

/// Reads the events of one stream. Keys and short texts that come again (ids, types, the model's
/// name) are not made anew but shared. What it reads it reads exactly as cel::from_json; what is
/// unusual or wrong it leaves to that. One owner, no threads.
class EventJson {
 public:
  /// Nothing: read it with cel::from_json.
  std::optional<cel::Value> read(std::string_view text);

 private:
  bool value(cel::Value& out, int depth);
  bool object(cel::Value& out, int depth);
  bool array(cel::Value& out, int depth);
  bool string(cel::Value& out);
  bool escaped(std::string& out);
  bool number(cel::Value& out);
  bool word(std::string_view text);
  void space();
  cel::Value shared(std::string_view text);

  const char* at_ = nullptr;
  const char* end_ = nullptr;
  std::string scratch_;
  std::array<cel::Value, 256> known_;  ///< texts, by a hash
};

}  // namespace kflow::models
