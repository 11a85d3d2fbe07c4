// Scrubber: takes secrets out of what is written down.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kflow::activities {

/// What stands for a secret.
inline constexpr std::string_view hidden = "***";
/// Shorter ones would take half of every text along.
inline constexpr size_t min_secret_bytes = 4;

/// Knows values that must not be seen, in the forms in which they travel: as they are, escaped in
/// JSON or URLs, in base64. Not thread-safe.
class Scrubber {
 public:
  void add(const std::string& secret);
  std::string text(std::string_view text) const;
  /// Also without user and password, and without the values of parameters such as `key`.
  std::string url(std::string_view url) const;
  /// Of a request or an answer: also secrets that events or parts cut in pieces, and fields
  /// such as `access_token` of JSON.
  std::string body(std::string_view body) const;

 private:
  std::string whole_texts(const std::string& body) const;

  std::vector<std::string> secrets_;
  std::vector<std::string> forms_;
};

}  // namespace kflow::activities
