// Requests of `http.*`: url, headers and body from a step's arguments.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/secrets.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/activities/transfer.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

std::string percent_encode(std::string_view s) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : s) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' ||
        c == '~') {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(digits[static_cast<unsigned char>(c) >> 4]);
      out.push_back(digits[static_cast<unsigned char>(c) & 15]);
    }
  }
  return out;
}

// Lists give one pair an item, null gives none.
std::string form_encode(const Value& v) {
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (value.is_null()) return;
    if (!out.empty()) out.push_back('&');
    const auto text = cel::interpolated_text(value);
    out += percent_encode(key.kind() == cel::Kind::string ? key.as_string() : "") + "=" +
           percent_encode(text ? *text : cel::to_json(value));
  };
  for (const cel::MapEntry& e : v.as_map()) {
    if (e.value.kind() == cel::Kind::list) {
      for (const Value& item : e.value.as_list()) add(e.key, item);
    } else {
      add(e.key, e.value);
    }
  }
  return out;
}

// What the types of the parameters cannot say.
std::optional<ActivityError> check_arguments(const Value& in) {
  const auto bad = [](std::string code, std::string message) {
    return ActivityError{.kind = "type", .code = std::move(code), .message = std::move(message)};
  };
  const auto is_status = [](const Value& v) {
    return v.kind() == cel::Kind::int_ && v.as_int() >= 100 && v.as_int() <= 599;
  };
  const Value* status = in.find("expect_status");
  const bool list = status != nullptr && status->kind() == cel::Kind::list;
  if (status != nullptr && !status->is_null() && !is_status(*status) &&
      !(list && std::ranges::all_of(status->as_list(), is_status)))
    return bad("expect_status", "`expect_status` is a status such as 404, or a list of them");
  std::string first;
  for (const char* name : {"body", "json", "form"}) {
    const Value* v = in.find(name);
    if (v == nullptr || v->is_null()) continue;
    if (!first.empty())
      return bad("body", fmt::format("a request has one body: `{}` or `{}`", first, name));
    first = name;
  }
  return std::nullopt;
}

// The secret is read here and nowhere before: logs and programs know its name only. curl does not
// send the header on to another host.
std::optional<ActivityError> authorize(Transfer& t, const Options& options,
                                       const std::string& secret) {
  if (secret.empty()) return std::nullopt;
  auto found = secret_value(options, secret);
  if (auto* error = std::get_if<ActivityError>(&found)) return std::move(*error);
  const std::string& value = std::get<std::string>(found);
  if (!header_is_safe(value)) {
    return ActivityError{
        .kind = "type",
        .code = "header",
        .message = fmt::format("the secret `{}` contains characters a header cannot have", secret)};
  }
  t.headers = curl_slist_append(t.headers, ("Authorization: Bearer " + value).c_str());
  return std::nullopt;
}

std::optional<ActivityError> set_body(Transfer& t, const Options& options, const Value& in,
                                      bool content_type) {
  const auto given = [&](std::string_view name) {
    const Value* v = in.find(name);
    return v == nullptr || v->is_null() ? nullptr : v;
  };
  std::string type;
  if (const Value* fields = given("multipart");
      fields != nullptr && fields->kind() == cel::Kind::map)
    return set_multipart(t, options.blobs.get(), *fields);
  if (const Value* file = given("body"); file != nullptr && file->kind() == cel::Kind::file) {
    type = file->as_file().media_type;
    if (!content_type && !type.empty() && header_is_safe(type))
      t.headers = curl_slist_append(t.headers, ("Content-Type: " + type).c_str());
    return set_file_body(t, options.blobs.get(), file->as_file());
  }
  if (const Value* json = given("json")) {
    t.body = cel::to_json(*json);
    type = "application/json";
  } else if (const Value* form = given("form"); form != nullptr && form->kind() == cel::Kind::map) {
    t.body = form_encode(*form);
    type = "application/x-www-form-urlencoded";
  } else if (const Value* body = given("body")) {
    const bool text = body->kind() == cel::Kind::string;
    const bool bytes = body->kind() == cel::Kind::bytes;
    t.body = text    ? std::string(body->as_string())
             : bytes ? std::string(body->as_bytes())
                     : cel::to_json(*body);
    type = text    ? "text/plain; charset=utf-8"
           : bytes ? "application/octet-stream"
                   : "application/json";
  } else {
    return std::nullopt;
  }
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, t.body.data());
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t.body.size()));
  if (!content_type) t.headers = curl_slist_append(t.headers, ("Content-Type: " + type).c_str());
  return std::nullopt;
}

// Which of the headers that would be added the step has given itself.
struct OwnHeaders {
  bool content_type = false;
  bool user_agent = false;
  bool key = false;
};

std::optional<ActivityError> set_headers(Transfer& t, const Value& in, OwnHeaders& own) {
  const Value* headers = in.find("headers");
  if (headers == nullptr || headers->kind() != cel::Kind::map) return std::nullopt;
  for (const cel::MapEntry& e : headers->as_map()) {
    const std::string name(e.key.kind() == cel::Kind::string ? e.key.as_string() : "");
    const std::string value(e.value.kind() == cel::Kind::string ? e.value.as_string() : "");
    if (name.empty() || name.find(':') != std::string::npos || !header_is_safe(name) ||
        !header_is_safe(value)) {
      return ActivityError{
          .kind = "type",
          .code = "header",
          .message = "a header's name or value contains characters it cannot have"};
    }
    own.content_type |= lower(name) == "content-type";
    own.user_agent |= lower(name) == "user-agent";
    own.key |= lower(name) == "idempotency-key";
    t.headers = curl_slist_append(
        t.headers, value.empty() ? (name + ";").c_str() : (name + ": " + value).c_str());
  }
  return std::nullopt;
}

std::optional<ActivityError> set_url(Transfer& t, const Options& options, const Value& in) {
  auto url = open_or_secret(options, in, "url");
  if (auto* error = std::get_if<ActivityError>(&url)) return std::move(*error);
  t.url = std::get<OpenOrSecret>(url).value;
  t.secret_url = std::get<OpenOrSecret>(url).secret;
  // A tape that is replayed knows no secret's value.
  if (!t.secret_url.empty() && options.tape && options.tape->replays()) t.url = "http://secret";
  if (!header_is_safe(t.url))
    return ActivityError{.kind = "http",
                         .code = "url",
                         .message = "the URL contains characters that it cannot have"};
  if (!(lower(t.url).starts_with("http://") || lower(t.url).starts_with("https://"))) {
    return ActivityError{
        .kind = "http",
        .code = "url",
        .message = t.secret_url.empty()
                       ? fmt::format("`{}` is not an http or https URL", shown_url(t))
                       : fmt::format("{} is not one of http or https", shown_url(t))};
  }
  if (const Value* query = in.find("query");
      query != nullptr && query->kind() == cel::Kind::map && query->size() > 0) {
    const std::string asked = form_encode(*query);
    t.url += (t.url.find('?') == std::string::npos ? "?" : "&") + asked;
    t.tape_url = t.secret_url.empty() ? "" : "secret:" + t.secret_url + "?" + asked;
  } else if (!t.secret_url.empty()) {
    t.tape_url = "secret:" + t.secret_url;
  }
  return std::nullopt;
}

}  // namespace

std::optional<ActivityError> prepare_http(Transfer& t, const Options& options) {
  const Value& in = t.request.input;
  std::string method = t.request.callee.substr(5);
  for (char& c : method) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const bool download = method == "DOWNLOAD";
  if (download) method = "GET";
  if (method == "REQUEST") method = text_argument(in, "method", "GET");
  if ((download || bool_argument(in, "save", false)) && method != "HEAD") {
    if (options.blobs == nullptr)
      return ActivityError{
          .kind = "internal", .code = "no_store", .message = "there is no store for files here"};
    t.saved = std::make_unique<SavedBody>();
    t.saved->blobs = options.blobs;
    t.saved->name = text_argument(in, "name");
    t.saved->alone = download;
    t.saved->copy = options.tape && !options.tape->replays();
  }
  t.method = method;
  const bool method_ok = !method.empty() && std::all_of(method.begin(), method.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || c == '-';
  });
  if (!method_ok)
    return ActivityError{
        .kind = "type", .code = "method", .message = "`method` is a word in capitals such as GET"};
  if (auto error = check_arguments(in)) return error;
  if (auto error = set_url(t, options, in)) return error;
  OwnHeaders own;
  if (auto error = set_headers(t, in, own)) return error;
  if (auto error = authorize(t, options, secret_argument(in, "bearer"))) return error;
  if (method == "POST") curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, "");
  if (auto error = set_body(t, options, in, own.content_type)) return error;
  if ((method == "POST" || method == "PATCH") && !own.key)
    t.headers =
        curl_slist_append(t.headers, ("Idempotency-Key: " + t.request.idempotency_key).c_str());
  t.headers = curl_slist_append(t.headers, "Expect:");
  t.max_bytes = std::max<int64_t>(
      1,
      int_argument(in, "max_bytes", t.saved ? default_download_max_bytes : default_http_max_bytes));
  set_options(t, method, bool_argument(in, "follow", true));
  if (t.saved || !t.uploads.empty()) {
    curl_easy_setopt(t.easy, CURLOPT_TIMEOUT_MS, 0L);
    curl_easy_setopt(t.easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(t.easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(download_silence_s));
  }
  if (!own.user_agent) curl_easy_setopt(t.easy, CURLOPT_USERAGENT, "kflow/" KFLOW_VERSION);
  return std::nullopt;
}

}  // namespace kflow::activities
