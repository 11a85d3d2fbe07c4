// Errors of providers told apart, and how long they ask to wait.
#include <algorithm>
#include <array>
#include <charconv>

#include "compiler/cel/time.hpp"
#include "runtime/models/wire.hpp"

namespace kflow::models {

ModelError malformed(std::string what) {
  return {.code = "malformed", .message = std::move(what), .retryable = true};
}

ModelError no_answer(std::string what) {
  return {.code = "incomplete", .message = std::move(what), .retryable = true};
}

namespace {

using Words = std::initializer_list<std::string_view>;

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool has_any(std::string_view text, Words words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view w) { return text.find(w) != std::string_view::npos; });
}

// Of the code alone where a message may hold the same words by chance.
std::string_view code_of(int status, const std::string& code, const std::string& message) {
  const std::string all = code + " " + message;
  if (has_any(all, {"context_length", "context length", "prompt is too long", "maximum context",
                    "too many tokens", "context window", "context size",
                    "exceeds the maximum number of tokens", "input is too long",
                    "input token count", "request_too_large"}) ||
      status == 413)
    return "context_length";
  if (has_any(all, {"content_filter", "content_policy", "content management policy",
                    "safety system", "safety settings", "prohibited_content"}) ||
      (status == 403 && has_any(message, {"moderation", "flagged"})))
    return "content_filter";
  // Google calls both a limit of the minute and one of the day a quota.
  if (has_any(code, {"resource_exhausted"}))
    return has_any(all, {"perday", "per_day", "per day"}) ? "quota" : "rate_limit";
  if (status == 402 || has_any(all, {"insufficient_quota", "insufficient credits", "billing",
                                     "credit balance", "exceeded your current quota"}))
    return "quota";
  if (status == 401 || has_any(all, {"invalid_api_key", "authentication_error", "api key not valid",
                                     "api_key_invalid"}))
    return "auth";
  if (status == 403 || has_any(code, {"permission_error", "permission_denied"}))
    return "permission";
  if (status == 404 || has_any(code, {"model_not_found", "not_found"})) return "not_found";
  if (status == 429 || has_any(code, {"rate_limit", "too_many_requests"})) return "rate_limit";
  if (status == 529 || status == 503 || has_any(code, {"overloaded", "unavailable"}) ||
      has_any(message, {"overloaded"}))
    return "overloaded";
  if (status >= 500 || status == 408 || status == 409 ||
      has_any(code, {"server_error", "api_error", "internal", "timeout", "deadline_exceeded"}))
    return "server";
  return "invalid_request";
}

std::string_view hint(std::string_view code) {
  if (code == "auth") return "check the API key";
  if (code == "quota") return "the account's quota or credit is used up";
  if (code == "context_length") return "the conversation is longer than the model can read";
  if (code == "not_found") return "check the model's id and the base_url";
  return "";
}

std::string_view find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (lower(key) == name) return value;
  }
  return {};
}

constexpr double most_ms = 1e15;

std::optional<double> number(std::string_view text, std::string_view* rest) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error == std::errc::result_out_of_range) return std::nullopt;
  if (error != std::errc() || !(v >= 0)) return std::nullopt;
  *rest = text.substr(static_cast<size_t>(end - text.data()));
  return v;
}

int64_t to_ms(double ms) { return static_cast<int64_t>(std::min(ms, most_ms)); }

// "Sun, 06 Nov 1994 08:49:37 GMT" as seconds since 1970.
std::optional<int64_t> http_date(std::string_view text) {
  static constexpr std::array<std::string_view, 12> months{
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (text.size() != 29 || !text.ends_with(" GMT") || text[3] != ',') return std::nullopt;
  const auto month = std::ranges::find(months, text.substr(8, 3));
  if (month == months.end()) return std::nullopt;
  const auto number_of_month = static_cast<size_t>(month - months.begin()) + 1;
  std::string iso(text.substr(12, 4));
  iso += (number_of_month < 10 ? "-0" : "-") + std::to_string(number_of_month);
  iso += "-" + std::string(text.substr(5, 2)) + "T" + std::string(text.substr(17, 8)) + "Z";
  const auto moment = cel::parse_timestamp(iso);
  return moment ? std::optional(moment->seconds) : std::nullopt;
}

// From when the answer was sent until `then`, in seconds since 1970.
int64_t until(const Headers& headers, int64_t then) {
  const auto sent = http_date(find_header(headers, "date"));
  return sent && then > *sent ? (then - *sent) * 1000 : 0;
}

// Of limits of which nothing remains, the one that lasts longest.
int64_t used_up_ms(const Headers& headers) {
  int64_t out = 0;
  for (const std::string kind : {"requests", "tokens"}) {
    if (find_header(headers, "x-ratelimit-remaining-" + kind) != "0") continue;
    out = std::max(out, wait_ms(find_header(headers, "x-ratelimit-reset-" + kind)).value_or(0));
  }
  for (const std::string kind : {"requests", "tokens", "input-tokens", "output-tokens"}) {
    const std::string prefix = "anthropic-ratelimit-" + kind;
    if (find_header(headers, prefix + "-remaining") != "0") continue;
    const auto moment = cel::parse_timestamp(find_header(headers, prefix + "-reset"));
    if (moment) out = std::max(out, until(headers, moment->seconds));
  }
  return out;
}

}  // namespace

ModelError classify(int status, std::string_view code, std::string_view message) {
  ModelError out{.code = std::string(code_of(status, lower(code), lower(message))),
                 .status = status};
  out.retryable = out.code == "rate_limit" || out.code == "overloaded" || out.code == "server";
  out.message =
      message.empty() ? std::string("the provider refused the request") : clipped(message);
  if (status != 0) out.message += " (status " + std::to_string(status) + ")";
  if (const std::string_view more = hint(out.code); !more.empty())
    out.message += "; " + std::string(more);
  if (out.retryable) out.retry_after_ms = wait_said_in(message);
  return out;
}

ModelError classify(int status, const Headers& headers, std::string_view code,
                    std::string_view message) {
  ModelError out = classify(status, code, message);
  const std::string_view wish = find_header(headers, "x-should-retry");
  if (wish == "true") out.retryable = true;
  if (wish == "false") out.retryable = false;
  if (!out.retryable) {
    out.retry_after_ms = 0;
  } else if (const int64_t said = retry_after_ms(headers); said > 0) {
    out.retry_after_ms = said;
  }
  return out;
}

std::optional<int64_t> wait_ms(std::string_view text) {
  if (text.empty()) return std::nullopt;
  double ms = 0;
  while (!text.empty()) {
    std::string_view rest;
    const auto v = number(text, &rest);
    if (!v) return std::nullopt;
    size_t unit = 0;
    while (unit < rest.size() && rest[unit] >= 'a' && rest[unit] <= 'z') ++unit;
    const std::string_view name = rest.substr(0, unit);
    const double factor = name == "ms"                ? 1
                          : name == "s" || name == "" ? 1000
                          : name == "m"               ? 60'000
                          : name == "h"               ? 3'600'000
                          : name == "d"               ? 86'400'000
                                                      : -1;
    if (factor < 0 || (name.empty() && !rest.empty())) return std::nullopt;
    ms += *v * factor;
    text = rest.substr(unit);
  }
  return to_ms(ms);
}

int64_t wait_said_in(std::string_view message) {
  const std::string text = lower(message);
  for (const std::string_view words : {"try again in ", "retry in ", "retry after "}) {
    const size_t at = text.find(words);
    if (at == std::string::npos) continue;
    const size_t begin = at + words.size();
    size_t end = begin;
    while (end < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '.'))
      ++end;
    if (end > begin && text[end - 1] == '.') --end;
    std::string_view wait = std::string_view(text).substr(begin, end - begin);
    if (const auto ms = wait_ms(wait)) {
      const bool minutes = std::string_view(text).substr(end).starts_with(" minute");
      const bool bare = wait.find_first_not_of("0123456789.") == std::string_view::npos;
      return minutes && bare ? std::min<int64_t>(*ms, 1'000'000'000) * 60 : *ms;
    }
  }
  return 0;
}

int64_t retry_after_ms(const Headers& headers) {
  std::string_view rest;
  if (const auto ms = number(find_header(headers, "retry-after-ms"), &rest); ms && rest.empty())
    return to_ms(*ms);
  const std::string_view text = find_header(headers, "retry-after");
  if (const auto seconds = number(text, &rest); seconds && rest.empty())
    return to_ms(*seconds * 1000);
  if (const auto moment = http_date(text)) return until(headers, *moment);
  return used_up_ms(headers);
}

}  // namespace kflow::models
