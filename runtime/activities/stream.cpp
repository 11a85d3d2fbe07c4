// Exchanges over curl.
#include "runtime/activities/stream.hpp"

#include <string_view>

#include "compiler/base/utf8.hpp"
#include "runtime/activities/transfer.hpp"

namespace kflow::activities {

Stream::Stream(Exchange exchange, ExchangeHandler on_event)
    : exchange_(std::move(exchange)), on_event_(std::move(on_event)) {}

Stream::~Stream() {
  if (easy_ != nullptr) curl_easy_cleanup(easy_);
  curl_slist_free_all(headers_);
}

bool Stream::prepare() {
  easy_ = curl_easy_init();
  for (const auto& [name, value] : exchange_.headers) {
    if (name.empty() || !header_is_safe(name + value)) {
      problem_ = "the header `" + name + "` contains characters it cannot have";
      return false;
    }
    headers_ = curl_slist_append(
        headers_, value.empty() ? (name + ";").c_str() : (name + ": " + value).c_str());
  }
  headers_ = curl_slist_append(headers_, "Expect:");
  CURL* e = easy_;
  curl_easy_setopt(e, CURLOPT_URL, exchange_.url.c_str());
  curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, exchange_.method.c_str());
  if (!exchange_.body.empty()) {
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, exchange_.body.data());
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(exchange_.body.size()));
  }
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers_);
  curl_easy_setopt(e, CURLOPT_USERAGENT, "kflow/" KFLOW_VERSION);
  curl_easy_setopt(e, CURLOPT_ERRORBUFFER, error_);
  curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(e, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(http_connect_timeout_ms));
  if (exchange_.timeout_ms > 0)
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, static_cast<long>(exchange_.timeout_ms));
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  return true;
}

size_t Stream::on_header(char* data, size_t size, size_t count, void* user) {
  auto& s = *static_cast<Stream*>(user);
  std::string_view line(data, size * count);
  s.header_bytes_ += line.size();
  if (s.header_bytes_ > max_header_bytes) {
    s.problem_ = "the headers of the answer are too large";
    return 0;
  }
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) s.answer_headers_.clear();
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    s.answer_headers_[lower(line.substr(0, colon))] = replace_invalid_utf8(value);
  }
  return size * count;
}

void Stream::head() {
  if (head_told_) return;
  head_told_ = true;
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  on_event_({.id = exchange_.id,
             .kind = ExchangeEvent::Kind::head,
             .status = status,
             .headers = answer_headers_,
             .data = "",
             .error = ""});
}

size_t Stream::on_body(char* data, size_t size, size_t count, void* user) {
  auto& s = *static_cast<Stream*>(user);
  s.head();
  s.on_event_({.id = s.exchange_.id,
               .kind = ExchangeEvent::Kind::data,
               .headers = {},
               .data = std::string(data, size * count),
               .error = ""});
  return size * count;
}

void Stream::stopped() {
  on_event_({.id = exchange_.id,
             .headers = {},
             .data = "",
             .error = problem_.empty() ? "stopped" : problem_});
}

void Stream::ended(CURLcode code) {
  ExchangeEvent end{.id = exchange_.id, .headers = {}, .data = "", .error = ""};
  if (code == CURLE_OK) {
    head();
  } else {
    end.error = !problem_.empty()   ? problem_
                : error_[0] != '\0' ? error_
                                    : curl_easy_strerror(code);
    end.connected = code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST &&
                    code != CURLE_COULDNT_RESOLVE_PROXY;
  }
  on_event_(std::move(end));
}

}  // namespace kflow::activities
