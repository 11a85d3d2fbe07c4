// email.send against a local stand-in that speaks SMTP (RFC 5321).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "compiler/cel/base64.hpp"
#include "tests/unit/activities/world.hpp"

using namespace kflow;
using namespace kflow::activities;
using cel::Value;

namespace {

Value text(std::string s) { return Value::string(std::move(s)); }

/// How a stand-in behaves.
struct Manners {
  std::vector<std::string> extensions{"8BITMIME"};
  std::set<std::string> refused;  ///< recipients: 550
  std::set<std::string> not_now;  ///< recipients: 451
  std::string after_data = "250 2.0.0 kept";
  std::string hangs_at;   ///< a command that is never answered
  std::string breaks_at;  ///< a command that ends the connection
};

/// Speaks with one client after the other.
class MailServer {
 public:
  explicit MailServer(Manners manners = {}) : manners_(std::move(manners)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    socklen_t size = sizeof a;  // on all of 127.0.0.0/8: one of them stands for another machine
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&a), size) == 0);
    REQUIRE(::listen(fd_, 8) == 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size);
    port = ntohs(a.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~MailServer() {
    stop_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    if (const int c = client_; c >= 0) ::shutdown(c, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string url(const std::string& host = "127.0.0.1") const {
    return "smtp://" + host + ":" + std::to_string(port);
  }
  std::vector<std::string> commands() {
    const std::lock_guard guard(mutex_);
    return commands_;
  }
  bool heard(const std::string& command) {
    const auto all = commands();
    return std::find(all.begin(), all.end(), command) != all.end();
  }
  /// What came after DATA, as it was sent, without the final dot.
  std::string message() {
    const std::lock_guard guard(mutex_);
    return message_;
  }
  int port = 0;

 private:
  void serve() {
    while (!stop_) {
      const int c = ::accept(fd_, nullptr, nullptr);
      if (c < 0) return;
      client_ = c;
      if (!stop_) talk(c);
      client_ = -1;
      ::close(c);
    }
  }
  static void say(int c, const std::string& line) {
    const std::string all = line + "\r\n";
    [[maybe_unused]] const ssize_t sent = ::send(c, all.data(), all.size(), MSG_NOSIGNAL);
  }
  static bool read_line(int c, std::string& buffer, std::string& line) {
    for (;;) {
      if (const size_t end = buffer.find("\r\n"); end != std::string::npos) {
        line = buffer.substr(0, end);
        buffer.erase(0, end + 2);
        return true;
      }
      char piece[4096];
      const ssize_t n = ::recv(c, piece, sizeof piece, 0);
      if (n <= 0) return false;
      buffer.append(piece, static_cast<size_t>(n));
    }
  }
  void talk(int c) {
    std::string buffer, line;
    if (manners_.hangs_at != "greeting") say(c, "220 stand-in");
    while (read_line(c, buffer, line)) {
      {
        const std::lock_guard guard(mutex_);
        commands_.push_back(line);
      }
      const std::string word = line.substr(0, line.find_first_of(" :"));
      if (word == manners_.breaks_at) return;
      if (word == manners_.hangs_at || manners_.hangs_at == "greeting") continue;
      if (word == "EHLO") {
        for (const std::string& e : manners_.extensions) say(c, "250-" + e);
        say(c, "250 SIZE 50000000");
      } else if (word == "STARTTLS") {
        say(c, "454 4.7.0 TLS not available");
      } else if (word == "AUTH") {
        const std::string plain = cel::base64_encode(std::string("\0ada\0pass word", 14));
        say(c, "334 ");
        if (!read_line(c, buffer, line)) return;
        say(c, line == plain ? "235 2.7.0 welcome" : "535 5.7.8 who?");
      } else if (word == "RCPT") {
        const std::string who = line.substr(9, line.rfind('>') - 9);
        say(c, manners_.refused.contains(who)   ? "550 5.1.1 no such user here"
               : manners_.not_now.contains(who) ? "451 4.7.1 greylisted"
                                                : "250 2.1.5 ok");
      } else if (word == "DATA") {
        say(c, "354 go on");
        std::string all;
        while (read_line(c, buffer, line) && line != ".") all += line + "\r\n";
        {
          const std::lock_guard guard(mutex_);
          message_ = all;
        }
        say(c, manners_.after_data);
      } else {
        say(c, word == "QUIT" ? "221 bye" : "250 ok");
      }
    }
  }

  Manners manners_;
  int fd_ = -1;
  std::atomic<int> client_ = -1;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::vector<std::string> commands_;
  std::string message_;
  std::thread thread_;
};

Value mail(const std::string& server,
           std::initializer_list<std::pair<std::string_view, Value>> more = {}) {
  std::map<std::string, Value> fields{{"server", text(server)},
                                      {"from", text("Ada Lovelace <ada@example.com>")},
                                      {"to", Value::list({text("bob@example.com")})},
                                      {"subject", text("Hello")},
                                      {"text", text("Hi Bob,\n.\n..and a dot\n")}};
  for (const auto& [name, value] : more) fields[std::string(name)] = value;
  cel::MapBuilder out;
  for (const auto& [name, value] : fields) out.add(name, value);
  return std::move(out).take();
}

// The value of a header, with folded lines put together.
std::string header(const std::string& message, const std::string& name) {
  const std::string head = "\r\n" + message.substr(0, message.find("\r\n\r\n"));
  const size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  std::string out = head.substr(at + name.size() + 4);
  size_t end = out.find("\r\n");
  while (end != std::string::npos && end + 2 < out.size() && out[end + 2] == ' ') {
    out.erase(end, 2);
    end = out.find("\r\n", end);
  }
  return out.substr(0, end);
}

std::string decoded(std::string base64) {
  base64.erase(
      std::remove_if(base64.begin(), base64.end(), [](char c) { return c == '\r' || c == '\n'; }),
      base64.end());
  return std::string(cel::base64_decode(base64).value_or("(no base64)"));
}

}  // namespace

TEST_CASE("mail as it stands on the wire") {
  World world;
  MailServer server;
  const Value sent = world.value("email.send", mail(server.url()));
  CHECK(server.commands()[1].starts_with("MAIL FROM:<ada@example.com>"));
  CHECK(server.heard("RCPT TO:<bob@example.com>"));
  const std::string message = server.message();
  CHECK(header(message, "From") == "\"Ada Lovelace\" <ada@example.com>");
  CHECK(header(message, "To") == "bob@example.com");
  CHECK(header(message, "Subject") == "Hello");
  CHECK(header(message, "Message-ID") == sent.find("message_id")->as_string());
  CHECK(header(message, "Date").ends_with(" +0000"));
  CHECK(header(message, "Content-Type") == "text/plain; charset=utf-8");
  CHECK(decoded(message.substr(message.find("\r\n\r\n") + 4)) == "Hi Bob,\n.\n..and a dot\n");
  // Lines that begin with a dot would end the message; there are none, and none is too long.
  CHECK(message.find("\r\n.") == std::string::npos);
  for (size_t at = 0; at < message.size();) {
    const size_t end = message.find("\r\n", at);
    CHECK(end - at <= 78);
    at = end + 2;
  }
  // The same key gives the same id: a message that came twice can be known.
  CHECK(world.value("email.send", mail(server.url())).find("message_id")->as_string() ==
        sent.find("message_id")->as_string());
}

TEST_CASE("mail: what is no ASCII, and many recipients") {
  World world;
  MailServer server;
  world.value(
      "email.send",
      mail(server.url(),
           {{"from", text("Jürgen <j@example.com>")},
            {"subject",
             text("Grüße aus Köln: ein langer Betreff, der nicht in ein Wort passt 🎉🎉🎉")},
            {"cc", Value::list({text("\"Doe, Jane\" <jane@example.com>")})},
            {"bcc", Value::list({text("boss@example.com")})},
            {"reply_to", text("answers@example.com")}}));
  const std::string message = server.message();
  std::string subject;
  const std::string raw = header(message, "Subject");
  for (size_t at = 0; (at = raw.find("=?UTF-8?B?", at)) != std::string::npos;) {
    const size_t end = raw.find("?=", at);
    CHECK(end + 2 - at <= 75);  // RFC 2047 §2
    subject += decoded(raw.substr(at + 10, end - at - 10));
    at = end;
  }
  CHECK(subject == "Grüße aus Köln: ein langer Betreff, der nicht in ein Wort passt 🎉🎉🎉");
  CHECK(header(message, "From").starts_with("=?UTF-8?B?"));
  CHECK(header(message, "From").ends_with("?= <j@example.com>"));
  CHECK(header(message, "Cc") == "\"Doe, Jane\" <jane@example.com>");
  CHECK(header(message, "Reply-To") == "answers@example.com");
  CHECK(server.heard("RCPT TO:<jane@example.com>"));
  CHECK(server.heard("RCPT TO:<boss@example.com>"));
  CHECK(message.find("boss@") == std::string::npos);
}

TEST_CASE("mail: HTML and attachments") {
  World world;
  MailServer server;
  world.value("email.send",
              mail(server.url(),
                   {{"html", text("<p>Hi</p>")},
                    {"attachments",
                     Value::list({cel::make_record({{"name", text("report.csv")},
                                                    {"type", text("text/csv")},
                                                    {"content", text("a,b\r\n")}}),
                                  cel::make_record(
                                      {{"name", text("Übersicht \"1\".bin")},
                                       {"type", Value()},
                                       {"content", Value::bytes(std::string("\0\xff", 2))}})})}}));
  const std::string message = server.message();
  const std::string type = header(message, "Content-Type");
  REQUIRE(type.starts_with("multipart/mixed; boundary=\""));
  const std::string boundary = type.substr(27, type.size() - 28);
  CHECK(message.find("--" + boundary + "\r\nContent-Type: multipart/alternative; boundary=\"" +
                     boundary + "_text\"\r\n") != std::string::npos);
  CHECK(message.find("--" + boundary + "_text\r\nContent-Type: text/html; charset=utf-8\r\n") !=
        std::string::npos);
  CHECK(message.find("Content-Type: text/csv\r\nContent-Disposition: attachment; "
                     "filename=\"report.csv\"\r\n") != std::string::npos);
  CHECK(message.find("Content-Type: application/octet-stream\r\nContent-Disposition: attachment; "
                     "filename*=UTF-8''%C3%9Cbersicht%20%221%22.bin\r\n") != std::string::npos);
  CHECK(message.ends_with("--" + boundary + "--\r\n"));
  for (const Value& wrong :
       {cel::make_record({{"name", text("a\r\nBcc: x@example.com")}, {"content", text("")}}),
        cel::make_record({{"name", text("a")}, {"type", text("a\nb")}, {"content", text("")}}),
        cel::make_record({{"name", text("a")}, {"content", Value::integer(1)}})})
    CHECK(world.error("email.send", mail(server.url(), {{"attachments", Value::list({wrong})}}))
              .code == "attachment");
}

TEST_CASE("mail: nothing can be put into the headers or the talk") {
  World world;
  MailServer server;
  const auto code = [&](std::initializer_list<std::pair<std::string_view, Value>> more) {
    return world.error("email.send", mail(server.url(), more)).code;
  };
  CHECK(code({{"subject", text("Hi\r\nBcc: x@example.com")}}) == "subject");
  CHECK(code({{"from", text("ada@example.com\r\nBcc: x@example.com")}}) == "address");
  CHECK(code({{"from", text("Ada\nX: y <ada@example.com>")}}) == "address");
  CHECK(
      code({{"to", Value::list({text("bob@example.com> SIZE=1\r\nRCPT TO:<eve@example.com")})}}) ==
      "address");
  for (const char* wrong :
       {"", "bob", "@example.com", "bob@", "a b@example.com", "a@b@c", "<bob@x>y"})
    CHECK(code({{"to", Value::list({text(wrong)})}}) == "address");
  CHECK(code({{"to", Value::list({})}}) == "address");
  CHECK(code({{"from", text("")}}) == "address");
  for (const char* wrong :
       {"mail.example.com", "http://127.0.0.1", "smtp://", "smtp://user:pw@127.0.0.1",
        "smtp://127.0.0.1/x", "smtp://127.0.0.1:25?x", "smtp://127.0.0.1:25\r\nQUIT", "smtp://h:x"})
    CHECK(world.error("email.send", mail(wrong)).code == "server");
  std::vector<Value> many(501, text("bob@example.com"));
  CHECK(world.error("email.send", mail(server.url(), {{"to", Value::list(many)}})).kind == "limit");
  CHECK(world.error("email.send", mail(server.url(), {{"text", text(std::string(21U << 20, 'x'))}}))
            .kind == "limit");
  CHECK(server.commands().empty());
}

TEST_CASE("mail: logging in") {
  World world(Secrets{{"PASSWORD", "pass word"}, {"WRONG", "other word"}});
  MailServer server({.extensions = {"AUTH PLAIN LOGIN"}});
  world.value("email.send",
              mail(server.url(), {{"user", text("ada")}, {"password", secret("PASSWORD")}}));
  CHECK_FALSE(server.message().empty());
  const ActivityError wrong = world.error(
      "email.send", mail(server.url(), {{"user", text("ada")}, {"password", secret("WRONG")}}));
  CHECK(wrong.code == "login");
  CHECK(wrong.status == 535);
  CHECK_FALSE(wrong.retryable);
  CHECK(wrong.message.find("other word") == std::string::npos);
  CHECK(world
            .error("email.send",
                   mail(server.url(), {{"user", text("ada")}, {"password", secret("UNSET")}}))
            .code == "no_secret");
}

TEST_CASE("mail: no password and no message in the open to another machine") {
  World world(Secrets{{"PASSWORD", "pass word"}});
  MailServer plain({.extensions = {"AUTH PLAIN"}});
  MailServer refuses({.extensions = {"STARTTLS", "AUTH PLAIN"}});
  for (MailServer* server : {&plain, &refuses}) {
    // 127.0.0.2 is no name that is known to be this machine.
    const ActivityError e = world.error(
        "email.send",
        mail(server->url("127.0.0.2"), {{"user", text("ada")}, {"password", secret("PASSWORD")}}));
    CHECK(e.code == "tls");
    CHECK_FALSE(e.retryable);
    for (const std::string& command : server->commands())
      CHECK((command.starts_with("EHLO") || command == "STARTTLS" || command == "QUIT"));
  }
}

TEST_CASE("mail that is refused") {
  World world;
  MailServer server({.refused = {"eve@example.com"}, .not_now = {"mallory@example.com"}});
  const auto to = [&](std::vector<Value> who) {
    return world.error("email.send", mail(server.url(), {{"to", Value::list(std::move(who))}}));
  };
  // One that is refused keeps the message from all: a step is done, or is not.
  const ActivityError one = to({text("bob@example.com"), text("eve@example.com")});
  CHECK(one.code == "recipient");
  CHECK(one.status == 550);
  CHECK(one.message.find("eve@example.com: 550 5.1.1 no such user here") != std::string::npos);
  CHECK(one.data.find("recipient")->as_string() == "eve@example.com");
  CHECK_FALSE(one.retryable);
  CHECK(server.message().empty());
  const ActivityError later = to({text("mallory@example.com")});
  CHECK(later.code == "recipient");
  CHECK(later.retryable);

  MailServer full({.after_data = "552 5.2.2 mailbox full"});
  const ActivityError kept = world.error("email.send", mail(full.url()));
  CHECK(kept.code == "refused");
  CHECK(kept.status == 552);
  CHECK(kept.message.find("mailbox full") != std::string::npos);
  CHECK_FALSE(kept.retryable);
  MailServer busy({.after_data = "450 4.2.0 try again"});
  CHECK(world.error("email.send", mail(busy.url())).retryable);
}

TEST_CASE("mail: servers that hang or break off") {
  World world;
  for (const char* where : {"EHLO", "RCPT", "DATA"}) {
    MailServer breaks({.breaks_at = where});
    INFO(where);
    const ActivityError e = world.error("email.send", mail(breaks.url()));
    CHECK(e.kind == "tool");
    CHECK(e.retryable);
  }
  CHECK(world.error("email.send", mail("smtp://127.0.0.1:1")).retryable);
  for (const char* where : {"greeting", "RCPT"}) {
    MailServer hangs({.hangs_at = where});
    const uint64_t token = world.start("email.send", mail(hangs.url()));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    world.cancel(token);
    const auto outcome = world.wait(token);
    REQUIRE(std::holds_alternative<ActivityError>(outcome));
    CHECK(std::get<ActivityError>(outcome).kind == "cancelled");
  }
}
