// Bodies of requests, and texts of paths and queries.
#include "runtime/server/body.hpp"

#include "runtime/server/http.hpp"
#include "runtime/server/options.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::server;

namespace {

std::vector<Field> fields(std::string_view type, std::string_view body) {
  auto parsed = parse_body(type, body);
  REQUIRE(std::holds_alternative<std::vector<Field>>(parsed));
  return std::get<std::vector<Field>>(std::move(parsed));
}
int refusal(std::string_view type, std::string_view body) {
  const auto parsed = parse_body(type, body);
  return std::holds_alternative<Problem>(parsed) ? std::get<Problem>(parsed).status : 0;
}

}  // namespace

TEST_CASE("percent encoding and forms") {
  CHECK(percent_decode("a%20b+c", true) == "a b c");
  CHECK(percent_decode("a+b", false) == "a+b");
  CHECK(!percent_decode("%", false));
  CHECK(!percent_decode("%4", false));
  CHECK(!percent_decode("%00", false));
  CHECK(!percent_decode("%g0", false));
  const auto form = parse_form("a=1&b=%26&c&&d=x=y");
  REQUIRE(form);
  CHECK(*form == std::vector<std::pair<std::string, std::string>>{
                     {"a", "1"}, {"b", "&"}, {"c", ""}, {"d", "x=y"}});
  CHECK(!parse_form("a=%"));
}

TEST_CASE("JSON bodies are objects") {
  const auto all = fields("application/json; charset=utf-8", R"({"a":1,"b":"x","a2":null})");
  REQUIRE(all.size() == 3);
  CHECK(all[0].typed);
  CHECK(all[0].value.as_int() == 1);
  CHECK(fields("application/json", "").empty());
  CHECK(refusal("application/json", "[]") == 422);
  CHECK(refusal("application/json", "{") == 400);
  CHECK(refusal("application/json", std::string(500, '[')) == 400);
  CHECK(refusal("text/html", "x") == 415);
  CHECK(refusal("", "x") == 415);
}

TEST_CASE("multipart bodies hold texts and files") {
  const std::string body =
      "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n"
      "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.png\"\r\n"
      "Content-Type: image/png\r\n\r\n\x01\x02\r\n\x03\r\n--b--\r\n";
  const auto all = fields("multipart/form-data; boundary=b", body);
  REQUIRE(all.size() == 2);
  CHECK(all[0].name == "a");
  CHECK(all[0].value.as_string() == "one");
  CHECK(all[1].file);
  CHECK(all[1].file_name == "x.png");
  CHECK(all[1].media_type == "image/png");
  CHECK(all[1].value.as_bytes() == "\x01\x02\r\n\x03");
  CHECK(refusal("multipart/form-data", body) == 400);
  CHECK(refusal("multipart/form-data; boundary=c", body) == 400);
  CHECK(refusal("multipart/form-data; boundary=b", body.substr(0, body.size() - 10)) == 400);
  CHECK(refusal("multipart/form-data; boundary=b", "--b\r\nno header\r\n--b--") == 400);
  CHECK(refusal("multipart/form-data; boundary=b",
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--b--") == 400);
  std::string many = "--b";
  for (size_t i = 0; i <= max_fields; ++i)
    many += "\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b";
  CHECK(refusal("multipart/form-data; boundary=b", many + "--") == 422);
}
