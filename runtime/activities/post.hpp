// One blocking HTTP POST, for exporters that have a thread of their own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/result.hpp"

namespace kflow::activities {

struct PostAnswer {
  int status = 0;
  int64_t retry_after_ms = 0;  ///< of a Retry-After header in seconds; 0: none
};
/// Headers as "Name: value". unavailable: no answer within `timeout_ms`.
Result<PostAnswer> http_post(const std::string& url, const std::vector<std::string>& headers,
                             std::string_view body, int64_t timeout_ms);

}  // namespace kflow::activities
