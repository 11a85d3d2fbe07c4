// Binary and JSON forms of values: they round-trip, and no bytes at all upset the decoder.
#include "compiler/cel/value_codec.hpp"

#include <limits>
#include <random>

#include "compiler/base/hash.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

std::vector<Value> samples() {
  std::vector<Value> large;
  MapBuilder map;
  for (int64_t i = 0; i < 40; ++i) {
    large.push_back(Value::integer(i * 1'000'003));
    map.add("key" + std::to_string(i), Value::number(static_cast<double>(i) / 3));
  }
  map.add(Value::boolean(true), Value::none());
  map.add(Value::unsigned_integer(UINT64_MAX), Value::some(Value::string("ü")));
  return {Value(),
          Value::boolean(true),
          Value::boolean(false),
          Value::integer(INT64_MIN),
          Value::integer(INT64_MAX),
          Value::unsigned_integer(UINT64_MAX),
          Value::number(-0.0),
          Value::number(std::numeric_limits<double>::quiet_NaN()),
          Value::number(std::numeric_limits<double>::infinity()),
          Value::timestamp({-62'135'596'800, 0}),
          Value::timestamp({253'402'300'799, 999'999'999}),
          Value::duration({INT64_MIN}),
          Value::type(Kind::duration),
          Value::string(""),
          Value::string(std::string("a\0b", 3)),
          Value::bytes("\xff\xfe"),
          Value::none(),
          Value::some(Value::list({Value::integer(1)})),
          Value::list(std::move(large)),
          std::move(map).take()};
}

std::string encoded(const Value& v) {
  ByteWriter out;
  encode_value(v, out);
  return out.take();
}

TEST_CASE("every kind of value survives the binary form") {
  for (const Value& v : samples()) {
    const std::string bytes = encoded(v);
    ByteReader in(bytes);
    const Value back = decode_value(in);
    CHECK(in.done());
    INFO(to_display(v));
    CHECK(Value::identical(back, v));
    CHECK(encoded(back) == bytes);
  }
}

TEST_CASE("every truncation is an error") {
  const std::string bytes = encoded(Value::list(samples()));
  for (size_t n = 0; n < bytes.size(); ++n) {
    ByteReader in(std::string_view(bytes).substr(0, n));
    decode_value(in);
    CHECK(in.failed());
  }
}

TEST_CASE("changed bytes give an error or some value that can be written again") {
  const std::string bytes = encoded(Value::list(samples()));
  std::minstd_rand random(7);
  size_t failed = 0;
  size_t unstable = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string changed = bytes;
    for (auto n = 1 + random() % 4; n > 0; --n)
      changed[random() % changed.size()] = static_cast<char>(random());
    ByteReader in(changed);
    const Value v = decode_value(in);
    if (in.failed()) {
      ++failed;
      continue;
    }
    ByteReader again_in(encoded(v));
    const std::string once = encoded(v);
    ByteReader in_again(once);
    if (!Value::identical(decode_value(in_again), v) || in_again.failed()) ++unstable;
  }
  CHECK(unstable == 0);
  CHECK(failed > 1000);
}

TEST_CASE("nesting, duplicate keys and malformed text are refused") {
  std::string deep(5'000, '\x0b');  // a list of …
  for (size_t i = 1; i < deep.size(); i += 2) deep[i - 1] = '\x0b', deep[i] = '\x01';
  ByteReader in(deep);
  decode_value(in);
  CHECK(in.failed());

  ByteReader twice(std::string_view("\x0c\x02\x03\x02\x00\x03\x02\x00", 8));
  decode_value(twice);
  CHECK(twice.failed());
  ByteReader odd_key(std::string_view("\x0c\x01\x00\x00", 4));
  decode_value(odd_key);
  CHECK(odd_key.failed());
  ByteReader utf8(std::string_view("\x09\x01\xff", 3));
  decode_value(utf8);
  CHECK(utf8.failed());
  ByteReader moment(std::string_view("\x06\x00\xff\xff\xff\xff\x0f", 7));
  decode_value(moment);
  CHECK(moment.failed());
  ByteReader huge(std::string_view("\x0b\xff\xff\xff\xff\x0f", 6));
  decode_value(huge);
  CHECK(huge.failed());
}

TEST_CASE("what an expression may build at most can be stored and read") {
  Value v = Value::integer(1);
  for (uint32_t i = 0; i < max_value_depth; ++i) v = Value::list({v});
  const std::string bytes = encoded(v);
  ByteReader in(bytes);
  CHECK(Value::identical(decode_value(in), v));
  CHECK(in.done());
}

TEST_CASE("JSON in") {
  CHECK(Value::identical(test::json("3"), Value::integer(3)));
  CHECK(Value::identical(test::json("18446744073709551615"), Value::unsigned_integer(UINT64_MAX)));
  CHECK(Value::identical(test::json("3.0"), Value::number(3)));
  CHECK(Value::identical(test::json("1e2"), Value::number(100)));
  CHECK(to_display(test::json(R"({"b": 1, "a": 2, "b": 3})")) == R"({"b": 3, "a": 2})");
  CHECK_FALSE(from_json("{"));
  CHECK_FALSE(from_json(std::string(1'000, '[')));
  std::string same = "{";
  for (int i = 0; i < 20'000; ++i) same += "\"k" + std::to_string(i) + "\":1,";
  for (int i = 0; i < 20'000; ++i) same += "\"k" + std::to_string(i) + "\":2,";
  same.back() = '}';
  const auto repeated = from_json(same);
  REQUIRE(repeated);
  CHECK(repeated->size() == 20'000);
  CHECK(repeated->find("k777")->as_int() == 2);
}

TEST_CASE("JSON out") {
  const Value v = make_record({{"bytes", Value::bytes("hi")},
                               {"time", Value::timestamp({0, 0})},
                               {"for", Value::duration({3'500'000'000})},
                               {"none", Value::none()},
                               {"some", Value::some(Value::integer(1))},
                               {"type", Value::type(Kind::int_)},
                               {"nan", Value::number(std::numeric_limits<double>::quiet_NaN())}});
  CHECK(
      to_json(v) ==
      R"({"bytes":"aGk=","time":"1970-01-01T00:00:00Z","for":"3.5s","none":null,"some":1,"type":"int","nan":"NaN"})");
  MapBuilder odd;
  odd.add(Value::integer(-1), Value());
  odd.add(Value::boolean(true), Value::list({}));
  odd.add(Value::unsigned_integer(2), Value::number(1));
  CHECK(to_json(std::move(odd).take()) == R"({"-1":null,"true":[],"2":1.0})");
  CHECK(to_json(test::json("[1,[2]]"), 2) == "[\n  1,\n  [\n    2\n  ]\n]");
}

}  // namespace
}  // namespace kflow::cel

namespace kflow::cel {

TEST_CASE("a file is written as what is known of it, and its bytes are referred to") {
  class Sink : public LargeSink {
   public:
    std::string put(std::string_view) override { return ""; }
    void refer(std::string_view hash) override { referred.emplace_back(hash); }
    std::vector<std::string> referred;
  };
  const Value file = Value::file({.name = "cat.png",
                                  .media_type = "image/png",
                                  .size = 12'345'678'901,
                                  .sha256 = sha256("cat")});
  Sink sink;
  ByteWriter out(&sink);
  encode_value(Value::list({file, Value::integer(1)}), out);
  REQUIRE(sink.referred.size() == 1);
  CHECK(to_hex(sink.referred[0]) == to_hex(sha256("cat")));
  ByteReader in(out.buffer());
  const Value back = decode_value(in);
  REQUIRE(in.done());
  CHECK(Value::identical(back.as_list()[0], file));
  CHECK(file_field(file.as_file(), "size")->as_int() == 12'345'678'901);
  CHECK_FALSE(file_field(file.as_file(), "bytes"));
  const Value record = from_json(to_json(file)).value();
  REQUIRE(file_from_record(record));
  CHECK(*file_from_record(record) == file.as_file());
  CHECK_FALSE(file == record);
  CHECK_FALSE(file_from_record(make_record({{"name", Value::string("x")}})));
  // Cut off anywhere, it is malformed.
  for (size_t size = 0; size < out.size(); ++size) {
    ByteReader part(std::string_view(out.buffer()).substr(0, size));
    (void)decode_value(part);
    CHECK(part.failed());
  }
}

}  // namespace kflow::cel
