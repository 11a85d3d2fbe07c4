// The network extension: addresses and networks.
#include "compiler/cel/functions.hpp"
#include "compiler/cel/network.hpp"

namespace kflow::cel {
namespace {

constexpr size_t longest_network_text = 64;

// The text of an argument; nothing that is longer is an address.
bool short_text(const Value& v) {
  return v.kind() == Kind::string && v.as_string().size() <= longest_network_text;
}

Value invalid(CallContext& c, const Value& v, std::string why) {
  c.fail(EvalErrorKind::invalid_argument,
         short_text(v) ? std::move(why) : to_brief(v) + " is too long for an address");
  return {};
}

std::optional<IpAddress> address_of(CallContext& c, const Value& v) {
  std::string why;
  auto out = short_text(v) ? parse_address(v.as_string(), &why) : std::nullopt;
  if (!out) invalid(c, v, std::move(why));
  return out;
}

std::optional<IpAddress> network_of(CallContext& c, const Value& v) {
  std::string why;
  auto out = short_text(v) ? parse_network(v.as_string(), &why) : std::nullopt;
  if (!out) invalid(c, v, std::move(why));
  return out;
}

Value f_is_ip(CallContext& c, Args a) {
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  return Value::boolean(short_text(a[0]) && parse_address(a[0].as_string()).has_value());
}
Value f_is_cidr(CallContext& c, Args a) {
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  return Value::boolean(short_text(a[0]) && parse_network(a[0].as_string()).has_value());
}
Value f_ip(CallContext& c, Args a) {
  if (a[0].kind() == Kind::ip) return a[0];
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  const auto address = address_of(c, a[0]);
  return address ? Value::ip(*address) : Value();
}
Value f_cidr(CallContext& c, Args a) {
  if (a[0].kind() == Kind::cidr) return a[0];
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  const auto network = network_of(c, a[0]);
  return network ? Value::cidr(*network) : Value();
}
Value f_is_canonical(CallContext& c, Args a) {
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  const auto address = address_of(c, a[0]);
  return address ? Value::boolean(address_text(*address) == a[0].as_string()) : Value();
}
Value f_family(CallContext& c, Args a) {
  if (a[0].kind() != Kind::ip) return no_overload(c, a);
  return Value::integer(a[0].as_address().v6 ? 6 : 4);
}
template <bool (*F)(const IpAddress&)>
Value address_test(CallContext& c, Args a) {
  if (a[0].kind() != Kind::ip) return no_overload(c, a);
  return Value::boolean(F(a[0].as_address()));
}

Value f_network_ip(CallContext& c, Args a) {
  if (a[0].kind() != Kind::cidr) return no_overload(c, a);
  IpAddress address = a[0].as_address();
  address.prefix = 0;
  return Value::ip(address);
}
Value f_masked(CallContext& c, Args a) {
  if (a[0].kind() != Kind::cidr) return no_overload(c, a);
  return Value::cidr(masked(a[0].as_address()));
}
Value f_prefix_length(CallContext& c, Args a) {
  if (a[0].kind() != Kind::cidr) return no_overload(c, a);
  return Value::integer(a[0].as_address().prefix);
}
Value f_contains_ip(CallContext& c, Args a) {
  if (a[0].kind() != Kind::cidr || (a[1].kind() != Kind::ip && a[1].kind() != Kind::string))
    return no_overload(c, a);
  const auto inner =
      a[1].kind() == Kind::ip ? std::optional(a[1].as_address()) : address_of(c, a[1]);
  return inner ? Value::boolean(contains_address(a[0].as_address(), *inner)) : Value();
}
Value f_contains_cidr(CallContext& c, Args a) {
  if (a[0].kind() != Kind::cidr || (a[1].kind() != Kind::cidr && a[1].kind() != Kind::string))
    return no_overload(c, a);
  const auto inner =
      a[1].kind() == Kind::cidr ? std::optional(a[1].as_address()) : network_of(c, a[1]);
  return inner ? Value::boolean(contains_network(a[0].as_address(), *inner)) : Value();
}

constexpr Function table[] = {
    {"isIP", false, false, 1, 1, "s>b", "whether a text is an IP address", f_is_ip},
    {"isCIDR", false, false, 1, 1, "s>b", "whether a text is a network such as 10.0.0.0/8",
     f_is_cidr},
    {"ip", false, false, 1, 1, "*>*", "the IP address of a text", f_ip},
    {"cidr", false, false, 1, 1, "*>*", "the network of a text", f_cidr},
    {"ip.isCanonical", false, false, 1, 1, "s>b",
     "whether an address is written in its canonical form", f_is_canonical},
    {"family", true, false, 1, 1, "*>i", "4 or 6", f_family},
    {"isUnspecified", true, false, 1, 1, "*>b",
     "whether it is 0.0.0.0 or ::", address_test<is_unspecified>},
    {"isLoopback", true, false, 1, 1, "*>b", "whether it is of the machine itself",
     address_test<is_loopback>},
    {"isGlobalUnicast", true, false, 1, 1, "*>b", "whether it is the address of one machine",
     address_test<is_global_unicast>},
    {"isLinkLocalMulticast", true, false, 1, 1, "*>b", "whether it is a group on the same link",
     address_test<is_link_local_multicast>},
    {"isLinkLocalUnicast", true, false, 1, 1, "*>b", "whether it is one machine on the same link",
     address_test<is_link_local_unicast>},
    {"ip", true, false, 1, 1, "*>*", "the address of a network, its host part included",
     f_network_ip},
    {"masked", true, false, 1, 1, "*>*", "the network without its host part", f_masked},
    {"prefixLength", true, false, 1, 1, "*>i", "bits of the network's prefix", f_prefix_length},
    {"containsIP", true, false, 2, 2, "*,*>b", "whether an address is within the network",
     f_contains_ip},
    {"containsCIDR", true, false, 2, 2, "*,*>b", "whether a network is within another",
     f_contains_cidr},
};

}  // namespace

std::span<const Function> network_functions() { return table; }

}  // namespace kflow::cel
