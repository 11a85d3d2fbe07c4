// The web of scenarios: answers of services as they were recorded, found by method and URL.
#pragma once

#include <map>
#include <string>
#include <variant>

#include "runtime/machine/machine.hpp"

namespace kflow::scenario {

struct WebAnswer {
  int64_t status = 200;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
  machine::Millis after_ms = 10;
};

/// `404`, `200 github/issue.json` (a body; its content type by its name), or `yahoo/cookie.http`
/// (status line, headers, empty line, body). Files lie in tests/scenario/web. Throws
/// std::runtime_error.
WebAnswer read_web_answer(std::string text);

/// "GET https://host/path?a=b": what a request asks for, its query put in.
std::string web_request(const machine::StartActivity& start);

/// What the HTTP activity makes of the answer.
std::variant<cel::Value, machine::RunError> web_outcome(const WebAnswer& answer,
                                                        const machine::StartActivity& start);

}  // namespace kflow::scenario
