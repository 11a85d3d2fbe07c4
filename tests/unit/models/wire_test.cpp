// Event streams, schemas, recorded conversations.
#include "runtime/models/wire.hpp"

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::models;

TEST_CASE("server-sent events, cut anywhere") {
  const std::string stream =
      "\xEF\xBB\xBF: comment\nevent: a\ndata: one\ndata: two\n\ndata:three\r\n\r\nid: 4\nretry: "
      "5\n\n"
      "event: b\n\ndata\n\rdata: last\n\n";
  const auto parse = [&](std::vector<size_t> cuts) {
    SseParser parser(1000);
    std::string out;
    size_t from = 0;
    cuts.push_back(stream.size());
    for (const size_t cut : cuts) {
      CHECK(parser.feed(std::string_view(stream).substr(from, cut - from),
                        [&](std::string_view name, std::string_view data) {
                          out += "[" + std::string(name) + "|" + std::string(data) + "]";
                        }));
      from = cut;
    }
    return out;
  };
  const std::string expected = "[a|one\ntwo][|three][|][|last]";
  CHECK(parse({}) == expected);
  for (size_t cut = 1; cut < stream.size(); ++cut) CHECK(parse({cut}) == expected);
  SseParser small(10);
  CHECK_FALSE(small.feed("data: 0123456789", [](auto, auto) {}));
}

TEST_CASE("schemas that strict output accepts") {
  CHECK(
      strict_schema(
          R"({"type":"object","properties":{"m":{"type":"object","additionalProperties":{"type":"string"}}},"required":["m"],"additionalProperties":false})") ==
      std::nullopt);
  CHECK(
      strict_schema(
          R"({"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":false})") ==
      std::nullopt);
  CHECK(strict_schema("no json") == std::nullopt);
  const auto recursive = strict_schema(
      R"({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/N"},{"type":"null"}]}},"required":[],"additionalProperties":false,"$defs":{"N":{"type":"object","properties":{"v":{"type":"string","pattern":"^a"}},"required":["v"],"additionalProperties":false}}})");
  REQUIRE(recursive);
  CHECK(
      *recursive ==
      R"j({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/N"},{"type":"null"}]}},"required":["next"],"additionalProperties":false,"$defs":{"N":{"type":"object","properties":{"v":{"type":"string","description":"(pattern \"^a\")"}},"required":["v"],"additionalProperties":false}}})j");
}

TEST_CASE("conversations are recorded and read back") {
  conversation::Message m{
      .role = conversation::Role::assistant,
      .parts = {
          {.kind = conversation::PartKind::reasoning, .text = "t", .provider = "p", .opaque = "{}"},
          {.kind = conversation::PartKind::media,
           .media_type = "image/png",
           .data = std::string("\0\xff", 2),
           .filename = "a.png"}}};
  CHECK(conversation::message_from(conversation::to_value(m)) == m);
  CHECK_FALSE(conversation::message_from(cel::Value::integer(1)));
  CHECK_FALSE(conversation::message_from(*cel::from_json(R"({"role":"user","parts":[1]})")));
  const conversation::ModelAnswer a{.message = m,
                                    .stop = conversation::StopReason::length,
                                    .usage = {.input_tokens = 1, .output_tokens = 2},
                                    .response_id = "r",
                                    .model = "x",
                                    .usd = 0.5};
  const auto back = conversation::answer_from(conversation::to_value(a));
  REQUIRE(back);
  CHECK(back->message == m);
  CHECK(back->usage == a.usage);
  CHECK(back->stop == a.stop);
  CHECK(back->usd == a.usd);
}
