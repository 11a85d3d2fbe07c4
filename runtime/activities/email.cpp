// email.send: one message over SMTP (RFC 5321, 5322; MIME, RFC 2045 to 2047).
#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <mutex>

#include "compiler/base/hash.hpp"
#include "compiler/cel/base64.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr size_t max_recipients = 500;
constexpr size_t max_body_bytes = 20U << 20;
constexpr long connect_timeout_ms = 30'000;
constexpr long send_timeout_ms = 300'000;
constexpr size_t encoded_line = 76;
constexpr size_t encoded_word_bytes = 42;  // of text in one word of a header

ActivityError bad(std::string code, std::string message) {
  return {.kind = "type", .code = std::move(code), .message = std::move(message)};
}

/// "Ada <ada@example.com>" or "ada@example.com".
struct Address {
  std::string name;
  std::string mailbox;
};

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; });
}

std::string trimmed(std::string_view s) {
  while (s.starts_with(' ')) s.remove_prefix(1);
  while (s.ends_with(' ')) s.remove_suffix(1);
  return std::string(s);
}

std::optional<Address> read_address(std::string_view text) {
  if (has_control(text)) return std::nullopt;
  Address out;
  const size_t open = text.rfind('<');
  if (open == std::string_view::npos) {
    out.mailbox = trimmed(text);
  } else {
    if (!text.ends_with('>')) return std::nullopt;
    out.name = trimmed(text.substr(0, open));
    out.mailbox = std::string(text.substr(open + 1, text.size() - open - 2));
    if (out.name.size() > 1 && out.name.front() == '"' && out.name.back() == '"')
      out.name = out.name.substr(1, out.name.size() - 2);
  }
  const size_t at = out.mailbox.find('@');
  const bool sound = at != std::string::npos && at > 0 && at + 1 < out.mailbox.size() &&
                     out.mailbox.find('@', at + 1) == std::string::npos &&
                     out.mailbox.find_first_of(" <>,;\"()[]\\") == std::string::npos;
  if (!sound) return std::nullopt;
  return out;
}

bool is_ascii(std::string_view s) {
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 128; });
}

// RFC 2047: words of UTF-8 in base64, cut between characters and put on lines of their own.
std::string header_text(std::string_view text) {
  if (is_ascii(text) && text.find("=?") == std::string_view::npos && text.size() < 200)
    return std::string(text);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(at + encoded_word_bytes, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    out += (out.empty() ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?") +
           cel::base64_encode(text.substr(at, end - at)) + "?=";
    at = end;
  }
  return out;
}

std::string shown_address(const Address& a) {
  if (a.name.empty()) return a.mailbox;
  if (!is_ascii(a.name)) return header_text(a.name) + " <" + a.mailbox + ">";
  std::string quoted;
  for (const char c : a.name) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  return "\"" + quoted + "\" <" + a.mailbox + ">";
}

std::string shown_addresses(const std::vector<Address>& all) {
  std::string out;
  for (const Address& a : all) out += (out.empty() ? "" : ",\r\n ") + shown_address(a);
  return out;
}

// A part of the body with its headers. Base64 has no lines that could be too long or begin with a
// dot.
std::string body_part(std::string_view type, std::string_view text) {
  std::string out = fmt::format(
      "Content-Type: {}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n", type);
  const std::string encoded = cel::base64_encode(text);
  for (size_t at = 0; at < encoded.size(); at += encoded_line)
    out.append(encoded, at, encoded_line).append("\r\n");
  return out;
}

std::string date_header() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm t{};
  ::gmtime_r(&now, &t);
  static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} +0000", days[t.tm_wday], t.tm_mday,
                     months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

/// One message, and its way to the server.
class Mail {
 public:
  Mail(const Request& request, const Options& options, const std::atomic<bool>& stopped)
      : request_(request), options_(options), stopped_(stopped) {}
  ~Mail() {
    curl_slist_free_all(recipients_);
    if (easy_ != nullptr) curl_easy_cleanup(easy_);
  }
  Mail(const Mail&) = delete;
  Mail& operator=(const Mail&) = delete;

  Outcome run() {
    if (auto error = read()) return std::move(*error);
    write();
    return send();
  }

 private:
  std::optional<ActivityError> addresses(std::string_view param, std::vector<Address>& into) {
    const Value* v = request_.input.find(param);
    if (v == nullptr || v->kind() != cel::Kind::list) return std::nullopt;
    for (const Value& item : v->as_list()) {
      auto address =
          item.kind() == cel::Kind::string ? read_address(item.as_string()) : std::nullopt;
      if (!address)
        return bad("address", fmt::format("`{}` has an entry that is no address", param));
      into.push_back(std::move(*address));
    }
    return std::nullopt;
  }
  std::optional<ActivityError> address(std::string_view param, std::optional<Address>& into) {
    const std::string text = text_argument(request_.input, param);
    if (text.empty()) return std::nullopt;
    into = read_address(text);
    if (!into) return bad("address", fmt::format("`{}` is no address", param));
    return std::nullopt;
  }

  std::optional<ActivityError> read() {
    const Value& in = request_.input;
    server_ = text_argument(in, "server");
    const bool encrypted = server_.starts_with("smtps://");
    if (!encrypted && !server_.starts_with("smtp://"))
      return bad("server", "`server` is smtps://host:port, or smtp://host:port with STARTTLS");
    if (has_control(server_) || server_.find_first_of("@ ", 7) != std::string::npos ||
        server_.find('/', encrypted ? 8 : 7) != std::string::npos)
      return bad("server", "`server` has a host and a port, nothing else");
    for (const auto& [param, into] :
         {std::pair{"to", &to_}, std::pair{"cc", &cc_}, std::pair{"bcc", &bcc_}}) {
      if (auto error = addresses(param, *into)) return error;
    }
    if (auto error = address("from", from_)) return error;
    if (auto error = address("reply_to", reply_to_)) return error;
    if (!from_) return bad("address", "`from` is empty");
    const size_t all = to_.size() + cc_.size() + bcc_.size();
    if (all == 0) return bad("address", "nobody is named as a recipient");
    if (all > max_recipients)
      return ActivityError{.kind = "limit",
                           .code = "recipients",
                           .message = fmt::format("more than {} recipients", max_recipients)};
    subject_ = text_argument(in, "subject");
    if (has_control(subject_)) return bad("subject", "the subject contains a control character");
    text_ = text_argument(in, "text");
    html_ = text_argument(in, "html");
    if (text_.size() + html_.size() > max_body_bytes)
      return ActivityError{
          .kind = "limit",
          .code = "body_size",
          .message = fmt::format("the message is larger than {} MiB", max_body_bytes >> 20)};
    user_ = text_argument(in, "user");
    const std::string secret = text_argument(in, "password");
    if (secret.empty()) return std::nullopt;
    auto value = options_.secret ? options_.secret(secret) : std::nullopt;
    if (!value)
      return ActivityError{.kind = "rejected",
                           .code = "no_secret",
                           .message = fmt::format("the secret `{}` is not set", secret)};
    password_ = std::move(*value);
    return std::nullopt;
  }

  void write() {
    // Equal for all attempts: a message that arrives twice can be known as one.
    id_ = fmt::format("<{}@kflow>", to_hex(sha256(request_.idempotency_key)).substr(0, 40));
    const auto header = [&](std::string_view name, const std::string& value) {
      if (!value.empty()) message_ += fmt::format("{}: {}\r\n", name, value);
    };
    header("Date", date_header());
    header("From", shown_address(*from_));
    header("To", to_.empty() ? "undisclosed-recipients:;" : shown_addresses(to_));
    header("Cc", shown_addresses(cc_));
    header("Reply-To", reply_to_ ? shown_address(*reply_to_) : "");
    header("Subject", header_text(subject_));
    header("Message-ID", id_);
    header("MIME-Version", "1.0");
    if (html_.empty()) {
      message_ += body_part("text/plain", text_);
      return;
    }
    if (text_.empty()) {
      message_ += body_part("text/html", html_);
      return;
    }
    // Base64 has no `_`: no line of a part is the boundary.
    const std::string boundary = "kflow_part_" + id_.substr(1, 16);
    message_ +=
        fmt::format("Content-Type: multipart/alternative; boundary=\"{}\"\r\n\r\n", boundary);
    message_ +=
        fmt::format("--{}\r\n{}--{}\r\n{}--{}--\r\n", boundary, body_part("text/plain", text_),
                    boundary, body_part("text/html", html_), boundary);
  }

  bool is_local() const {
    const std::string host = server_.substr(server_.find("://") + 3);
    return host.starts_with("127.0.0.1") || host.starts_with("localhost") ||
           host.starts_with("[::1]");
  }

  Outcome send() {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    easy_ = curl_easy_init();
    if (easy_ == nullptr)
      return ActivityError{.kind = "tool", .code = "memory", .message = "there is no memory"};
    for (const auto* list : {&to_, &cc_, &bcc_}) {
      for (const Address& a : *list)
        recipients_ = curl_slist_append(recipients_, ("<" + a.mailbox + ">").c_str());
    }
    const std::string sender = "<" + from_->mailbox + ">";
    char why[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(easy_, CURLOPT_URL, server_.c_str());
    curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    // Only a server on this machine may do without encryption.
    curl_easy_setopt(easy_, CURLOPT_USE_SSL,
                     static_cast<long>(is_local() ? CURLUSESSL_TRY : CURLUSESSL_ALL));
    curl_easy_setopt(easy_, CURLOPT_MAIL_FROM, sender.c_str());
    curl_easy_setopt(easy_, CURLOPT_MAIL_RCPT, recipients_);
    curl_easy_setopt(easy_, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy_, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy_, CURLOPT_READDATA, this);
    curl_easy_setopt(easy_, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(message_.size()));
    curl_easy_setopt(easy_, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy_, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy_, CURLOPT_XFERINFODATA, this);
    curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ms);
    curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, send_timeout_ms);
    curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
    if (!user_.empty()) {
      curl_easy_setopt(easy_, CURLOPT_USERNAME, user_.c_str());
      curl_easy_setopt(easy_, CURLOPT_PASSWORD, password_.c_str());
    }
    const CURLcode code = curl_easy_perform(easy_);
    if (code == CURLE_OK) return cel::make_record({{"message_id", Value::string(id_)}});
    if (stopped_) return cancelled_error();
    return failure(code, why[0] != '\0' ? why : curl_easy_strerror(code));
  }

  ActivityError failure(CURLcode code, const std::string& why) const {
    long answer = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &answer);
    ActivityError out{.kind = "tool",
                      .code = "transport",
                      .message = fmt::format("{}: {}", server_, why),
                      .status = answer,
                      .retryable = true};
    switch (code) {
      case CURLE_OPERATION_TIMEDOUT:
        out.kind = "timeout";
        out.code = "email";
        break;
      case CURLE_LOGIN_DENIED:
        out.code = "login";
        out.retryable = false;
        break;
      case CURLE_USE_SSL_FAILED:
      case CURLE_PEER_FAILED_VERIFICATION:
        out.code = "tls";
        out.retryable = false;
        break;
      default:
        break;
    }
    // RFC 5321 §4.2.1: 4yz may work later, 5yz will not.
    if (out.code == "transport" && answer >= 500) {
      out.code = "refused";
      out.retryable = false;
    }
    return out;
  }

  static size_t on_read(char* into, size_t size, size_t count, void* user) {
    auto& self = *static_cast<Mail*>(user);
    const size_t n = std::min(size * count, self.message_.size() - self.sent_);
    std::copy_n(self.message_.data() + self.sent_, n, into);
    self.sent_ += n;
    return n;
  }
  static int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Mail*>(user)->stopped_ ? 1 : 0;
  }

  const Request& request_;
  const Options& options_;
  const std::atomic<bool>& stopped_;
  CURL* easy_ = nullptr;
  curl_slist* recipients_ = nullptr;
  std::string server_, user_, password_, subject_, text_, html_, id_, message_;
  std::vector<Address> to_, cc_, bcc_;
  std::optional<Address> from_, reply_to_;
  size_t sent_ = 0;
};

}  // namespace

Job email_job(const Options& options) {
  return [options](const Request& request, const std::atomic<bool>& stopped) {
    return Mail(request, options, stopped).run();
  };
}

}  // namespace kflow::activities
