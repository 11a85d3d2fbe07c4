// Addresses and networks, sets, and what the lists library adds.
#include "compiler/cel/network.hpp"

#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

using test::shown;
using test::strict;

struct Row {
  const char* text;
  const char* wanted;
};
void check_all(std::initializer_list<Row> rows) {
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(shown(strict(row.text)) == row.wanted);
  }
}

TEST_CASE("texts of addresses") {
  for (const char* good :
       {"0.0.0.0", "255.255.255.255", "::", "::1", "1::", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
        "2001:db8::1", "64:ff9b::192.0.2.33", "::ffff:c0a8:1", "FE80::A"}) {
    INFO(good);
    CHECK(parse_address(good).has_value());
  }
  for (const char* bad : {"",
                          "1",
                          "1.2.3",
                          "1.2.3.4.5",
                          "1.2.3.256",
                          "01.2.3.4",
                          "1.2.3.-4",
                          "1.2.3.4 ",
                          " 1.2.3.4",
                          ":",
                          ":::",
                          "1:2:3:4:5:6:7",
                          "1:2:3:4:5:6:7:8:9",
                          "1::2::3",
                          "1:2:3:4:5:6:7:8::",
                          "12345::",
                          "g::",
                          "fe80::1%eth0",
                          "::ffff:192.168.0.1",
                          "1.2.3.4::",
                          "::1.2.3",
                          "1:",
                          "1:2:3:4:5:6:7:"}) {
    INFO(bad);
    CHECK_FALSE(parse_address(bad).has_value());
  }
  const std::pair<const char*, const char*> canonical[] = {
      {"2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
      {"0:0:0:0:0:0:0:0", "::"},
      {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
      {"1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"},
      {"::ffff:c0a8:1", "192.168.0.1"}};
  for (const auto& [text, wanted] : canonical) CHECK(address_text(*parse_address(text)) == wanted);
}

TEST_CASE("texts of networks") {
  for (const char* bad : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/+8",
                          "::/129", "/8", "10.0.0.0/8/8", "::ffff:c0a8:1/24"}) {
    INFO(bad);
    CHECK_FALSE(parse_network(bad).has_value());
  }
  CHECK(network_text(*parse_network("::ffff:c0a8:1/120")) == "192.168.0.1/24");
  CHECK(network_text(masked(*parse_network("10.1.2.3/9"))) == "10.0.0.0/9");
  CHECK(network_text(masked(*parse_network("2001:db8:ffff::/35"))) == "2001:db8:e000::/35");
  CHECK(network_text(masked(*parse_network("1.2.3.4/0"))) == "0.0.0.0/0");
}

TEST_CASE("what kind of address one is") {
  check_all({{"ip('127.9.9.9').isLoopback()", "true"},
             {"ip('10.0.0.1').isGlobalUnicast()", "true"},
             {"ip('255.255.255.255').isGlobalUnicast()", "false"},
             {"ip('224.0.0.1').isLinkLocalMulticast()", "true"},
             {"ip('224.0.1.1').isLinkLocalMulticast()", "false"},
             {"ip('239.1.1.1').isGlobalUnicast()", "false"},
             {"ip('ff02::1').isLinkLocalMulticast()", "true"},
             {"ip('ff05::1').isLinkLocalMulticast()", "false"},
             {"ip('169.254.1.1').isLinkLocalUnicast()", "true"},
             {"ip('fe80::1').isGlobalUnicast()", "false"},
             {"ip('::').isUnspecified() && ip('0.0.0.0').isUnspecified()", "true"},
             {"ip('::1').family()", "6"},
             {"ip('::ffff:c0a8:1').family()", "4"},
             {"ip.isCanonical('::1')", "true"},
             {"ip.isCanonical('::01')", "false"},
             {"ip.isCanonical('x')", "error: invalid_argument"},
             {"ip(ip('::1'))", "ip(\"::1\")"},
             {"ip(1)", "error: no_such_overload"},
             {"'1.2.3.4'.family()", "error: no_such_overload"}});
}

TEST_CASE("networks contain addresses and networks") {
  check_all({{"cidr('10.0.0.0/8').containsIP('10.255.0.1')", "true"},
             {"cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))", "false"},
             {"cidr('10.0.0.0/8').containsIP('x')", "error: invalid_argument"},
             {"cidr('0.0.0.0/0').containsIP('::1')", "false"},
             {"cidr('10.0.0.0/8').containsCIDR('10.0.0.0/7')", "false"},
             {"cidr('10.0.0.0/8').containsCIDR(cidr('10.9.0.0/16'))", "true"},
             {"cidr('10.1.2.3/8') == cidr('10.0.0.0/8')", "false"},
             {"cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", "true"},
             {"cidr('10.1.2.3/8').ip() == ip('10.1.2.3')", "true"},
             {"string(cidr('10.1.2.3/8'))", "\"10.1.2.3/8\""},
             {"type(cidr('::/0')) == net.CIDR", "true"},
             {"'%s'.format([ip('::1')])", "error: format"},
             {"[ip('::1')] == [ip('0::1')]", "true"},
             {"{ip('::1'): 1}", "error: bad_map_key"}});
}

TEST_CASE("lists as sets") {
  check_all({{"sets.contains([1, 2, 3], [2u, 1.0])", "true"},
             {"sets.contains([1], [2])", "false"},
             {"sets.contains([], [])", "true"},
             {"sets.contains([[1], {'a': 2}], [{'a': 2.0}])", "true"},
             {"sets.contains([1.5, 'a'], ['a', 1.5])", "true"},
             {"sets.contains([0.0/0.0], [0.0/0.0])", "false"},
             {"sets.equivalent([1, 1, 2], [2, 1])", "true"},
             {"sets.equivalent([1], [1, 2])", "false"},
             {"sets.intersects([1, 2], [2.0])", "true"},
             {"sets.intersects([1], [])", "false"},
             {"sets.intersects(1, [])", "error: no_such_overload"}});
  CHECK(
      strict("sets.contains(lists.range(100000).map(x, [x]), lists.range(100000).map(x, [x + 1]))")
          .error == "cost_exceeded");
  CHECK(shown(strict("sets.equivalent(lists.range(100000), lists.range(100000))")) == "true");
}

TEST_CASE("sorting and flattening") {
  check_all({{"['bb', 'a', 'ccc'].sortBy(s, -size(s))", "[\"ccc\", \"bb\", \"a\"]"},
             {"[{'k': 2, 'v': 1}, {'k': 1, 'v': 2}, {'k': 2, 'v': 0}].sortBy(e, e.k).map(e, e.v)",
              "[2, 1, 0]"},
             {"[].sortBy(x, 1/0)", "[]"},
             {"[1].sortBy(x, 1/0)", "error: divide_by_zero"},
             {"[1, 2].sortBy(x, x == 1 ? 'a' : 1)", "error: no_such_overload"},
             {"[1, 2].sortBy(x, 0.0/0.0)", "error: no_such_overload"},
             {"{'a': 1}.sortBy(x, x)", "error: no_such_overload"},
             {"[[1, [2, [3]]], 4].flatten()", "[1, [2, [3]], 4]"},
             {"[[1, [2, [3]]], 4].flatten(2)", "[1, 2, [3], 4]"},
             {"[[1, [2, [3]]], 4].flatten(100)", "[1, 2, 3, 4]"},
             {"[[1]].flatten(0)", "[[1]]"},
             {"[[1]].flatten(-1)", "error: invalid_argument"}});
}

TEST_CASE("a bound name is evaluated once, and its error is one where it is used") {
  check_all(
      {{"cel.bind(x, 1/0, true || x == 1)", "true"},
       {"cel.bind(x, 1/0, x)", "error: divide_by_zero"},
       {"cel.bind(x, [1, 2], [1, 2].map(y, x[0] + y + cel.bind(x, 10, x)))", "[12, 13]"},
       {"[1, 2].map(y, cel.bind(x, y * 2, x + x))", "[4, 8]"},
       {"[1, 2].all(y, cel.bind(x, y, x > 0))", "true"},
       // The loops of a bound value and those around where it is read do not meet.
       {"cel.bind(x, [1, 2].map(a, [3].map(b, a + b)), ['p', 'q'].map(y, ['r'].map(z, y + z + "
        "string(x[0][0]))))",
        "[[\"pr4\"], [\"qr4\"]]"},
       {"[5].map(y, cel.bind(x, 1/0, [1].map(z, true || x == z)))", "[[true]]"}});
  // Evaluated once: twenty doublings in a row.
  std::string text = "x19";
  for (int i = 19; i >= 0; --i) {
    const std::string before = i == 0 ? "1" : "x" + std::to_string(i - 1);
    text = "cel.bind(x" + std::to_string(i) + ", " + before + " + " + before + ", " + text + ")";
  }
  CHECK(shown(strict(text, {}, 200)) == "1048576");
}

}  // namespace
}  // namespace kflow::cel
