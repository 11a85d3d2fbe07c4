// Tapes: no secret stands on them, what is missing and what is damaged is said.
#include "runtime/activities/tape.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::activities;

namespace {

class File {
 public:
  explicit File(const std::string& content = "") {
    path =
        (std::filesystem::temp_directory_path() / ("kflow_tape_test_" + std::to_string(::getpid())))
            .string();
    std::filesystem::remove(path);
    if (!content.empty()) std::ofstream(path, std::ios::binary) << content;
  }
  ~File() { std::filesystem::remove(path); }
  std::string read() const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string path;
};

const std::string secret = "sk-\"very/secret+key";

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("secrets in every form in which they travel") {
  Scrubber s;
  s.add(secret);
  s.add("abc");  // too short to be looked for
  s.add("second-one");
  CHECK(s.text("x " + secret + " y second-one abc") == "x *** y *** abc");
  CHECK(s.body(R"({"k":"sk-\"very/secret+key!"})") == R"({"k":"***!"})");
  CHECK(s.text("sk-%22very%2Fsecret%2Bkey") == "***");
  CHECK_FALSE(holds(s.text("Basic c2stInZlcnkvc2VjcmV0K2tleQ=="), "c2stInZlcnkvc2VjcmV0K2tl"));
  // Parameters and fields that are secrets by their name.
  CHECK(s.url("https://me:pass@h/p?key=0123456789&q=second-one&key=id#x") ==
        "https://h/p?key=***&q=***&key=id#x");
  CHECK(s.url("/p?a=1&access_token=abcdefghijk&b=2") == "/p?a=1&access_token=***&b=2");
  CHECK(s.body("grant_type=x&client_secret=abcdefghijk") == "grant_type=x&client_secret=***");
  CHECK(s.body(R"({"access_token" : "ey.\"x", "password":5, "text":"password"})") ==
        R"({"access_token" : "***", "password":5, "text":"password"})");
  // A stream gives it back in pieces; the pieces of several parts are interleaved.
  const std::string stream =
      "event: a\ndata: {\"index\":0,\"d\":{\"text\":\"it is sec\"}}\n\n"
      "data: {\"index\":1,\"d\":{\"text\":\"other\"}}\n\n"
      "data: {\"index\":0,\"d\":{\"text\":\"ond\"}}\r\n\r\n"
      ": comment\ndata: {\"index\":0,\"n\":1.50,\"d\":{\"text\":\"-one, sec\"}}\n\n"
      "data: {\"index\":0,\"d\":{\"text\":\"ond-one\"}}\n\ndata: [DONE]\n\n";
  CHECK(s.body(stream) ==
        "event: a\ndata: {\"index\":0,\"d\":{\"text\":\"it is ***\"}}\n\n"
        "data: {\"index\":1,\"d\":{\"text\":\"other\"}}\n\n"
        "data: {\"index\":0,\"d\":{\"text\":\"\"}}\r\n\r\n"
        ": comment\ndata: {\"index\":0,\"n\":1.5,\"d\":{\"text\":\", ***\"}}\n\n"
        "data: {\"index\":0,\"d\":{\"text\":\"\"}}\n\ndata: [DONE]\n\n");
  for (size_t cut = 1; cut < 10; ++cut) {
    const std::string two = "data: {\"t\":\"" + std::string("second-one").substr(0, cut) +
                            "\"}\n\ndata: {\"t\":\"" + std::string("second-one").substr(cut) +
                            "\"}\n\n";
    CHECK(s.body(two) == "data: {\"t\":\"***\"}\n\ndata: {\"t\":\"\"}\n\n");
  }
}

TEST_CASE("recorded, read back, and what is not there") {
  const File file;
  {
    auto tape = Tape::begin(file.path, {"sk-secret"});
    REQUIRE(tape);
    (*tape)->hide("late-secret");
    REQUIRE((*tape)->record(
        "POST", "https://x/v1/a?api_key=1234567890",
        R"({"model":"m","messages":[{"text":"hello late-secret"}]})",
        {200,
         {{"content-type", "text/x"}, {"set-cookie", "s=1"}, {"x-ratelimit-remaining-tokens", "5"}},
         "one sk-secret"}));
    REQUIRE((*tape)->record("POST", "https://x/v1/a?api_key=1234567890",
                            R"({"model":"m","messages":[{"text":"hello late-secret"}]})",
                            {429, {}, std::string("\xff\0sk-secret", 11)}));
    CHECK_FALSE(Tape::begin(file.path, {}));
  }
  const std::string written = file.read();
  for (const char* hidden_one : {"sk-secret", "late-secret", "1234567890", "s=1"})
    CHECK_FALSE(holds(written, hidden_one));
  {
    auto more = Tape::go_on(file.path, {});
    REQUIRE(more);
    REQUIRE((*more)->record("GET", "https://x/b", "", {200, {}, "two"}));
  }
  auto tape = Tape::load(file.path, {"late-secret"});
  REQUIRE(tape);
  const auto find = [&](const std::string& method, const std::string& url,
                        const std::string& body) { return (*tape)->find(method, url, body); };
  const std::string body = R"({"model":"m","messages":[{"text":"hello late-secret"}]})";
  const std::string url = "https://x/v1/a?api_key=another-key";
  const TapeAnswer first = find("POST", url, body).value();
  CHECK(first.body == "one ***");
  CHECK(first.headers.at("x-ratelimit-remaining-tokens") == "5");
  CHECK(find("POST", url, body).value().body == std::string("\xff\0***", 5));
  CHECK(find("POST", url, body).value().status == 429);  // the last again
  CHECK(find("GET", "https://x/b", "").value().body == "two");
  const auto why = [&](const std::string& method, const std::string& u, const std::string& b) {
    return find(method, u, b).error();
  };
  const std::string other = why("POST", url, R"({"model":"m","messages":[{"text":"hello you"}]})");
  INFO(other);
  CHECK(holds(other, "line 1"));
  CHECK(holds(other, "/messages/0/text is `hello ***` on the tape, `hello you` now"));
  CHECK(
      holds(why("POST", url, R"({"model":"m","messages":[]})"), "has 1 items on the tape, 0 now"));
  CHECK(holds(why("POST", url, R"({"model":"m","messages":[{"text":"hello late-secret"}],"x":1})"),
              "/x is not on the tape"));
  CHECK(holds(why("POST", url, "no json"), "the body is"));
  const std::string elsewhere = why("GET", "https://y/c", "");
  CHECK(holds(elsewhere, "GET https://x/b"));
  CHECK(holds(elsewhere, "POST https://x/v1/a?api_key=***"));
}

TEST_CASE("a damaged tape is named with its line and what to do") {
  const std::string good = R"({"request":"GET http://x/","status":200,"headers":{},"body":"b"})";
  const auto wrong = [&](const std::string& content) {
    const File file(content);
    const auto tape = Tape::load(file.path, {});
    REQUIRE_FALSE(tape);
    CHECK(tape.error().code == ErrorCode::corrupt);
    return tape.error().message;
  };
  const std::string cut = wrong(good + "\n" + good.substr(0, 30));
  CHECK(holds(cut, "line 2"));
  CHECK(holds(cut, "cut off"));
  CHECK(holds(wrong(good + "\n{}\n" + good + "\n"), "line 2"));
  CHECK(holds(wrong("\x7f"
                    "ELF\n"),
              "line 1"));
  CHECK(holds(wrong("[1]\n"), "line 1"));
  CHECK(holds(wrong(R"({"request":"GET http://x/","status":200,"body_base64":"?"})"
                    "\n"),
              "base64"));
  CHECK(holds(wrong(R"({"request":"GET http://x/","status":99999999999})"
                    "\n"),
              "status"));
  const auto none = Tape::load("/nowhere/tape", {});
  REQUIRE_FALSE(none);
  CHECK(holds(none.error().message, "no such file"));
  CHECK_FALSE(Tape::begin("/nowhere/tape", {}));
  CHECK_FALSE(Tape::load("/", {}));
}
