// email.send: one message over SMTP (RFC 5321, 5322; MIME, RFC 2045 to 2047).
#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <mutex>

#include "compiler/base/hash.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "runtime/activities/secrets.hpp"
#include "runtime/activities/store_error.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr size_t max_recipients = 500;
constexpr size_t max_body_bytes = 20U << 20;
constexpr long connect_timeout_ms = 30'000;
constexpr long send_timeout_ms = 300'000;
constexpr size_t reply_shown = 500;  // of a line of the server
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

// "mail.example.com", "127.0.0.1:25", "[::1]:25".
bool has_host_and_port(std::string_view text) {
  size_t end = 0;
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos ||
        text.substr(1, end - 1).find_first_not_of("0123456789abcdefABCDEF:.") !=
            std::string_view::npos)
      return false;
    ++end;
  } else {
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 ||
                                 text[end] == '.' || text[end] == '-'))
      ++end;
    if (end == 0) return false;
  }
  if (end == text.size()) return true;
  const std::string_view port = text.substr(end + 1);
  return text[end] == ':' && !port.empty() && port.size() <= 5 &&
         port.find_first_not_of("0123456789") == std::string_view::npos;
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
std::string body_part(std::string_view headers, std::string_view content) {
  std::string out = fmt::format("{}\r\nContent-Transfer-Encoding: base64\r\n\r\n", headers);
  const std::string encoded = cel::base64_encode(content);
  for (size_t at = 0; at < encoded.size(); at += encoded_line)
    out.append(encoded, at, encoded_line).append("\r\n");
  return out;
}

std::string text_part(std::string_view type, std::string_view text) {
  return body_part(fmt::format("Content-Type: {}; charset=utf-8", type), text);
}

// Parts under one roof. Base64 has no `_`: no line of a part is the boundary.
std::string multipart(std::string_view kind, const std::string& boundary,
                      const std::vector<std::string>& parts) {
  std::string out =
      fmt::format("Content-Type: multipart/{}; boundary=\"{}\"\r\n\r\n", kind, boundary);
  for (const std::string& part : parts) out += fmt::format("--{}\r\n{}", boundary, part);
  return out + fmt::format("--{}--\r\n", boundary);
}

// RFC 2231: what is no plain word is written in UTF-8 and percent signs.
std::string file_parameter(std::string_view name) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_';
  };
  if (std::all_of(name.begin(), name.end(), [&](char c) { return plain(c) || c == ' '; }))
    return fmt::format("filename=\"{}\"", name);
  std::string out = "filename*=UTF-8''";
  for (const char c : name) {
    const auto octet = static_cast<unsigned char>(c);
    plain(c) ? out.push_back(c) : void(out.append({'%', digits[octet >> 4], digits[octet & 15]}));
  }
  return out;
}

/// A file that comes with a message.
struct Attachment {
  std::string name;
  std::string type;
  std::string content;
};

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
    if (!has_host_and_port(server_.substr(server_.find("://") + 3)))
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
    if (auto error = attachments(in)) return error;
    if (text_.size() + html_.size() + attached_bytes_ > max_body_bytes)
      return ActivityError{
          .kind = "limit",
          .code = "body_size",
          .message = fmt::format("the message is larger than {} MiB", max_body_bytes >> 20)};
    user_ = text_argument(in, "user");
    const std::string secret = secret_argument(in, "password");
    if (secret.empty()) return std::nullopt;
    auto value = secret_value(options_, secret);
    if (auto* error = std::get_if<ActivityError>(&value)) return std::move(*error);
    password_ = std::get<std::string>(std::move(value));
    return std::nullopt;
  }

  // One whose content is a file of the store, which says what type it is too.
  std::optional<ActivityError> read_file(const Value& item, Attachment& a) const {
    const Value* content = item.kind() == cel::Kind::map ? item.find("content") : nullptr;
    if (content == nullptr || content->kind() != cel::Kind::file) return std::nullopt;
    const cel::File& file = content->as_file();
    if (options_.blobs == nullptr) return bad("attachment", "there is no store for files here");
    if (file.size == 0) return bad("attachment", fmt::format("the file `{}` is empty", file.name));
    auto bytes = read_blob(*options_.blobs, file.sha256, max_body_bytes);
    if (!bytes) return store_error(bytes.error(), file);
    a.content = std::move(*bytes);
    if (text_argument(item, "type").empty() && !file.media_type.empty()) a.type = file.media_type;
    return std::nullopt;
  }

  std::optional<ActivityError> attachments(const Value& in) {
    const Value* given = in.find("attachments");
    if (given == nullptr || given->kind() != cel::Kind::list) return std::nullopt;
    for (const Value& item : given->as_list()) {
      Attachment a{.name = text_argument(item, "name"),
                   .type = text_argument(item, "type", "application/octet-stream"),
                   .content = ""};
      if (auto error = read_file(item, a)) return error;
      const Value* content = item.kind() == cel::Kind::map ? item.find("content") : nullptr;
      const bool text = content != nullptr && content->kind() == cel::Kind::string;
      if (a.name.empty() || has_control(a.name) || has_control(a.type) || !is_ascii(a.type) ||
          !(text || !a.content.empty() ||
            (content != nullptr && content->kind() == cel::Kind::bytes)))
        return bad("attachment",
                   "an attachment has a name and a content, which is a string, bytes or a file");
      if (text) a.content = content->as_string();
      if (!text && content->kind() == cel::Kind::bytes) a.content = content->as_bytes();
      attached_bytes_ += a.content.size();
      attachments_.push_back(std::move(a));
    }
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
    message_ += content();
  }

  // The text, in the forms it has, with the attachments behind it.
  std::string content() const {
    const std::string boundary = "kflow_" + id_.substr(1, 16);
    std::string body =
        html_.empty() ? text_part("text/plain", text_)
        : text_.empty()
            ? text_part("text/html", html_)
            : multipart("alternative", boundary + "_text",
                        {text_part("text/plain", text_), text_part("text/html", html_)});
    if (attachments_.empty()) return body;
    std::vector<std::string> parts{std::move(body)};
    for (const Attachment& a : attachments_)
      parts.push_back(
          body_part(fmt::format("Content-Type: {}\r\nContent-Disposition: attachment; {}", a.type,
                                file_parameter(a.name)),
                    a.content));
    return multipart("mixed", boundary, parts);
  }

  // Whether the server is on this machine, by the whole name of its host.
  bool is_local() const {
    std::string host = server_.substr(server_.find("://") + 3);
    if (host.starts_with('[')) return host.starts_with("[::1]");
    host = host.substr(0, host.find(':'));
    return host == "127.0.0.1" || host == "localhost";
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
    curl_easy_setopt(easy_, CURLOPT_VERBOSE, 1L);
    curl_easy_setopt(easy_, CURLOPT_DEBUGFUNCTION, on_talk);
    curl_easy_setopt(easy_, CURLOPT_DEBUGDATA, this);
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
        out.message = fmt::format("{}: the server does not accept the name or the password ({})",
                                  server_, answer);
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
    if (out.code != "transport" || answer < 400) return out;
    // RFC 5321 §4.2.1: 4yz may work later, 5yz will not. One recipient that is refused keeps the
    // message from all, so that a step is done or is not.
    out.code = recipient_.empty() ? "refused" : "recipient";
    out.retryable = answer < 500;
    out.message = recipient_.empty()
                      ? fmt::format("{}: the server refused the message: {}", server_, reply_)
                      : fmt::format("{}: the server refused the recipient {}: {}", server_,
                                    recipient_, reply_);
    if (!recipient_.empty())
      out.data = cel::make_record({{"recipient", Value::string(recipient_)}});
    return out;
  }

  static size_t on_read(char* into, size_t size, size_t count, void* user) {
    auto& self = *static_cast<Mail*>(user);
    const size_t n = std::min(size * count, self.message_.size() - self.sent_);
    std::copy_n(self.message_.data() + self.sent_, n, into);
    self.sent_ += n;
    return n;
  }
  // Hears what is said, to tell whom the server refused and why. Nothing of it is kept but the
  // recipient and the reply that refuses: the rest may be a password.
  static int on_talk(CURL*, curl_infotype kind, char* data, size_t size, void* user) {
    auto& self = *static_cast<Mail*>(user);
    std::string_view line(data, size);
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    if (kind == CURLINFO_HEADER_OUT) {
      constexpr std::string_view command = "RCPT TO:<";
      if (!self.reply_.empty()) return 0;  // what comes after a refusal is good manners
      self.recipient_ = "";
      self.encrypting_ = line == "STARTTLS";  // refused, it may go on without
      if (line.starts_with(command))
        self.recipient_ = line.substr(command.size(), line.rfind('>') - command.size());
    } else if (kind == CURLINFO_HEADER_IN && self.reply_.empty() && !self.encrypting_ &&
               (line.starts_with('4') || line.starts_with('5'))) {
      self.reply_ = replace_invalid_utf8(line.substr(0, reply_shown));
    }
    return 0;
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
  std::vector<Attachment> attachments_;
  size_t attached_bytes_ = 0;
  std::string recipient_;  // whom the server is being asked about
  bool encrypting_ = false;
  std::string reply_;  // the line by which the server refused something
  size_t sent_ = 0;
};

}  // namespace

Job email_job(const Options& options) {
  return [options](const Request& request, const std::atomic<bool>& stopped) {
    return Mail(request, options, stopped).run();
  };
}

}  // namespace kflow::activities
