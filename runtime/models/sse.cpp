// The event stream, line by line.
#include "runtime/models/sse.hpp"

#include <cstring>

namespace kflow::models {
namespace {

// As find_first_of("\r\n"), by whole words.
size_t end_of_line(std::string_view bytes) {
  const auto* newline = static_cast<const char*>(std::memchr(bytes.data(), '\n', bytes.size()));
  const size_t most =
      newline == nullptr ? bytes.size() : static_cast<size_t>(newline - bytes.data());
  const auto* back = static_cast<const char*>(std::memchr(bytes.data(), '\r', most));
  if (back != nullptr) return static_cast<size_t>(back - bytes.data());
  return newline == nullptr ? std::string_view::npos : most;
}

}  // namespace

bool SseParser::feed(std::string_view bytes, const Handler& on_event) {
  while (!bytes.empty() && !failed_) {
    if (skip_newline_) {
      skip_newline_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = end_of_line(bytes);
    if (pending_.size() + std::min(end, bytes.size()) + data_.size() > max_) {
      failed_ = true;
      break;
    }
    if (end == std::string_view::npos) {
      pending_.append(bytes);
      break;
    }
    if (pending_.empty()) {
      line(bytes.substr(0, end), on_event);
    } else {
      pending_.append(bytes.substr(0, end));
      const std::string whole = std::move(pending_);
      pending_.clear();
      line(whole, on_event);
    }
    skip_newline_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
  }
  return !failed_;
}

void SseParser::line(std::string_view text, const Handler& on_event) {
  if (first_) {
    first_ = false;
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  }
  if (text.empty()) {
    if (has_data_) on_event(name_, data_);
    name_.clear();
    data_.clear();
    has_data_ = false;
    return;
  }
  if (text.front() == ':') return;  // a comment
  const size_t colon = text.find(':');
  const std::string_view field = text.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    if (has_data_) data_.push_back('\n');
    data_.append(value);
    has_data_ = true;
  } else if (field == "event") {
    name_ = value;
  } else if (field == "id") {
    if (value.find('\0') == std::string_view::npos) last_id_ = value;
  } else if (field == "retry" && !value.empty() && value.size() < 10 &&
             value.find_first_not_of("0123456789") == std::string_view::npos) {
    retry_ms_ = 0;
    for (const char c : value) retry_ms_ = retry_ms_ * 10 + (c - '0');
  }
}

}  // namespace kflow::models
