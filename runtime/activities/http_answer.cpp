// What came of an exchange: the step's value, or why there is none.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/charset.hpp"
#include "runtime/activities/secrets.hpp"
#include "runtime/activities/store_error.hpp"
#include "runtime/activities/transfer.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr size_t error_body_shown = 2000;

// A URL without credentials and query, for messages.
std::string shown_url(const std::string& url) {
  std::string out = url.substr(0, url.find_first_of("?#"));
  const size_t scheme = out.find("://");
  if (scheme != std::string::npos) {
    const size_t path = out.find('/', scheme + 3);
    const size_t at = out.rfind('@', path);
    if (at != std::string::npos && at > scheme) out.erase(scheme + 3, at - scheme - 2);
  }
  return out;
}

Value header_record(const Transfer& t) {
  cel::MapBuilder headers;
  for (const auto& [name, value] : t.answer_headers)
    headers.add(replace_invalid_utf8(name), Value::string(value));
  return std::move(headers).take();
}

std::variant<Value, ActivityError> decoded(const Transfer& t) {
  const auto it = t.answer_headers.find("content-type");
  const std::string type = it == t.answer_headers.end() ? "" : lower(it->second);
  if ((type.find("application/json") != std::string::npos ||
       type.find("+json") != std::string::npos) &&
      !t.answer.empty()) {
    auto v = cel::from_json(t.answer);
    if (v) return std::move(*v);
    return ActivityError{.kind = "http",
                         .code = "malformed_json",
                         .message = fmt::format("{} answered with malformed JSON: {}", shown_url(t),
                                                v.error().message)};
  }
  const std::string charset = charset_of(type, t.answer);
  const bool utf8 =
      charset.empty() || charset == "utf-8" || charset == "utf8" || charset == "us-ascii";
  if (utf8 && find_invalid_utf8(t.answer) == std::string_view::npos) return Value::string(t.answer);
  if (auto text = charset.empty() ? std::nullopt : to_utf8(t.answer, charset))
    return Value::string(std::move(*text));
  return Value::bytes(t.answer);
}

ActivityError status_error(const Transfer& t, long status, const Value& headers) {
  std::string body = replace_invalid_utf8(t.answer.substr(0, error_body_shown));
  ActivityError error{
      .kind = "http",
      .code = std::to_string(status),
      .message = fmt::format("{} answered {}", shown_url(t), status),
      .status = status,
      .data = cel::make_record({{"headers", headers}, {"body", Value::string(std::move(body))}}),
      .retryable = status == 429 || status >= 500 || status == 408,
      .retry_after_ms = retry_after_ms(t)};
  bound_wait(error);
  return error;
}

ActivityError transport_error(const Transfer& t, CURLcode code) {
  const std::string url = shown_url(t);
  if (t.trouble) return store_error(*t.trouble);
  if (t.too_large)
    return {.kind = "limit",
            .code = "body_size",
            .message = fmt::format("the answer of {} is larger than {} bytes", url, t.max_bytes)};
  if (t.headers_too_large)
    return {.kind = "limit",
            .code = "header_size",
            .message =
                fmt::format("the headers of {} are larger than {} bytes", url, max_header_bytes)};
  const std::string why = without(t.error[0] != '\0' ? t.error : curl_easy_strerror(code),
                                  t.secret_url.empty() ? "" : t.url);
  ActivityError e{.kind = "http",
                  .code = "transport",
                  .message = fmt::format("{}: {}", url, why),
                  .retryable = true};
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      e.kind = "timeout", e.code = "http";
      break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      e.code = "dns";
      break;
    case CURLE_COULDNT_CONNECT:
      e.code = "connect";
      break;
    case CURLE_TOO_MANY_REDIRECTS:
      e.code = "redirects", e.retryable = false;
      break;
    case CURLE_URL_MALFORMAT:
      e.code = "url", e.retryable = false;
      break;
    case CURLE_UNSUPPORTED_PROTOCOL:
      e.code = "protocol", e.retryable = false;
      break;  // an answer that is not HTTP, or a redirect to elsewhere
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
      e.code = "tls", e.retryable = code == CURLE_SSL_CONNECT_ERROR;
      break;
    default:
      break;
  }
  return e;
}

}  // namespace

std::string shown_url(const Transfer& t) {
  return t.secret_url.empty() ? shown_url(t.url)
                              : fmt::format("the URL in the secret `{}`", t.secret_url);
}

bool expected_status(const Value& in, long status) {
  const Value* wanted = in.find("expect_status");
  if (wanted == nullptr || wanted->is_null()) return status >= 200 && status < 300;
  if (wanted->kind() == cel::Kind::int_) return wanted->as_int() == status;
  if (wanted->kind() != cel::Kind::list) return false;
  const auto items = wanted->as_list();
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& v) { return v == Value::integer(status); });
}

std::variant<Value, ActivityError> http_outcome(Transfer& t, CURLcode code) {
  if (code != CURLE_OK) return transport_error(t, code);
  if (t.model) return model_outcome(t);
  if (!expected_status(t.request.input, t.status))
    return status_error(t, t.status, header_record(t));
  auto body = decoded(t);
  if (auto* error = std::get_if<ActivityError>(&body)) return std::move(*error);
  return http_answer(t, std::get<Value>(std::move(body)));
}

Value http_answer(const Transfer& t, Value body) {
  char* final_url = nullptr;
  curl_easy_getinfo(t.easy, CURLINFO_EFFECTIVE_URL, &final_url);
  return cel::make_record({{"status", Value::integer(t.status)},
                           {"headers", header_record(t)},
                           {"body", std::move(body)},
                           {"url", Value::string(final_url == nullptr || !t.secret_url.empty()
                                                     ? ""
                                                     : replace_invalid_utf8(final_url))}});
}

}  // namespace kflow::activities
