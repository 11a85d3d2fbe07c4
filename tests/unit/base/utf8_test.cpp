// UTF-8 at its edges.
#include "compiler/base/utf8.hpp"

#include "tests/support/catch.hpp"

using namespace kflow;

TEST_CASE("every scalar value round trips") {
  for (char32_t c = 0; c <= 0x10ffff; c += (c < 0x1000 ? 1 : 61)) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string s;
    append_utf8(s, c);
    const CodePoint p = decode_utf8(s, 0);
    REQUIRE(p.length == s.size());
    REQUIRE(p.value == c);
  }
}

TEST_CASE("malformed sequences are found and replaced") {
  for (const char* bad : {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf5", "\xe2\x82"}) {
    CHECK(find_invalid_utf8(bad) == 0);
    CHECK(replace_invalid_utf8(std::string("a") + bad + "b") ==
          "a\xef\xbf\xbd"
          "b");
  }
  CHECK(find_invalid_utf8("aé€😀") == std::string_view::npos);
  CHECK(count_code_points("aé€😀") == 4);
}
