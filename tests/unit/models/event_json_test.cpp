// The fast reader of events reads what it reads as the other one does.
#include "runtime/models/event_json.hpp"

#include <random>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using cel::Value;
using models::EventJson;

namespace {

// The same as the other reader's, or nothing.
bool agrees(EventJson& reader, const std::string& text) {
  const auto fast = reader.read(text);
  if (!fast) return true;
  const auto slow = cel::from_json(text);
  return slow.has_value() && Value::identical(*fast, *slow);
}

}  // namespace

TEST_CASE("events of providers are read, and as the other reader reads them") {
  EventJson reader;
  for (
      const std::string text :
      {R"({"id":"c1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]})",
       R"( { "type" : "content_block_delta" , "index" : 12 , "delta" : { "text" : "a\"\\\/\n\u00e9" } } )",
       R"({"a":[],"b":{},"c":[1,-2,true,false,null,""],"d":"\ud83d\ude00 ü €"})", R"("text")",
       R"(-9223372036854775808)", R"([[[[1]]]])"}) {
    INFO(text);
    const auto value = reader.read(text);
    REQUIRE(value);
    CHECK(Value::identical(*value, *cel::from_json(text)));
    // Again, with what is shared by now.
    CHECK(Value::identical(*reader.read(text), *value));
  }
}

TEST_CASE("what is unusual or wrong is left to the other reader") {
  EventJson reader;
  for (const std::string text : {"",
                                 "{",
                                 "}",
                                 "{\"a\"}",
                                 "{\"a\":1,}",
                                 "[1,]",
                                 "[1 2]",
                                 "{\"a\":1} x",
                                 "\"a",
                                 "\"a\nb\"",
                                 "\"\\x\"",
                                 "\"\\ud800\"",
                                 "\"\\ud800\\u0041\"",
                                 "\"\\udc00\"",
                                 "\"\\u12\"",
                                 "\"\xff\"",
                                 "\"\xc3\"",
                                 "01",
                                 "-",
                                 "+1",
                                 "1.5",
                                 "1e3",
                                 "-0",
                                 "99999999999999999999",
                                 "nul",
                                 "tru",
                                 "NaN",
                                 "{\"a\":1,\"a\":2}",
                                 "{1:2}",
                                 "'a'",
                                 "\xef\xbb\xbf{}"}) {
    INFO(text);
    CHECK_FALSE(reader.read(text));
  }
  CHECK_FALSE(reader.read(std::string(100, '[') + std::string(100, ']')));
}

TEST_CASE("random changes of an event: never read otherwise than by the other reader") {
  const std::string event =
      R"({"id":"chatcmpl-1","n":-12,"choices":[{"index":0,"delta":{"content":"a\u00e9\n"},"x":null}]})";
  const std::string letters = "{}[]\",:\\u0123456789abtrfn -+.eE\n\xc3\xa9";
  std::mt19937 random(7);
  EventJson reader;
  for (int i = 0; i < 50'000; ++i) {
    std::string text = event;
    for (unsigned n = random() % 4; n > 0; --n) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = letters[random() % letters.size()];
          break;
        case 1:
          text.erase(at, 1 + random() % 3);
          break;
        default:
          text.insert(at, 1, letters[random() % letters.size()]);
      }
      if (text.empty()) text = event;
    }
    if (agrees(reader, text)) continue;
    INFO(text);
    CHECK(agrees(reader, text));
  }
}
