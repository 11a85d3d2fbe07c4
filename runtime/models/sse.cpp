// The event stream, line by line.
#include "runtime/models/sse.hpp"

namespace kflow::models {

bool SseParser::feed(std::string_view bytes, const Handler& on_event) {
  while (!bytes.empty() && !failed_) {
    if (skip_newline_) {
      skip_newline_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = bytes.find_first_of("\r\n");
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
  }
}

}  // namespace kflow::models
