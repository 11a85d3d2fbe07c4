// IP addresses and networks: their texts (RFC 4291, RFC 5952) and what kind of address one is.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "compiler/cel/value.hpp"

namespace kflow::cel {

/// Bits of an address of this version: 32 or 128.
inline int address_bits(const IpAddress& a) { return a.v6 ? 128 : 32; }

/// Four decimal numbers without leading zeros, or eight hexadecimal groups with at most one `::`
/// and perhaps an IPv4 tail. No zones; an IPv4-mapped address only in hexadecimal, and it is held
/// as version 4. `why` is set when there is none.
std::optional<IpAddress> parse_address(std::string_view text, std::string* why = nullptr);
/// An address, `/`, and the length of the prefix.
std::optional<IpAddress> parse_network(std::string_view text, std::string* why = nullptr);

/// The canonical text (RFC 5952).
std::string address_text(const IpAddress& address);
std::string network_text(const IpAddress& network);

/// The network's address with all bits after the prefix 0.
IpAddress masked(const IpAddress& network);
bool contains_address(const IpAddress& network, const IpAddress& address);
bool contains_network(const IpAddress& network, const IpAddress& inner);

bool is_unspecified(const IpAddress& a);
bool is_loopback(const IpAddress& a);
bool is_multicast(const IpAddress& a);
/// 224.0.0.0/24, ff02::/16.
bool is_link_local_multicast(const IpAddress& a);
/// 169.254.0.0/16, fe80::/10.
bool is_link_local_unicast(const IpAddress& a);
/// None of those, nor broadcast; private ranges count.
bool is_global_unicast(const IpAddress& a);

}  // namespace kflow::cel
