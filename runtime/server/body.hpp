// Bodies of requests: JSON, urlencoded or multipart, as named fields.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "compiler/cel/value.hpp"
#include "runtime/server/http.hpp"

namespace kflow::server {

/// A field as it came: of JSON any value, of a form a text, of a multipart form perhaps a file.
struct Field {
  std::string name;
  cel::Value value;
  bool typed = false;  ///< of JSON: the value is what it is, not a text that may mean one
  bool file = false;   ///< `value` are its bytes
  std::string file_name = {};
  std::string media_type = {};
};

/// The fields of a body in order; a problem with 400, 413, 415 or 422 if it cannot be read.
std::variant<std::vector<Field>, Problem> parse_body(std::string_view content_type,
                                                     std::string_view body);

}  // namespace kflow::server
