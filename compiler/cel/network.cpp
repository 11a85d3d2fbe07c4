// Reading, writing and comparing addresses, as Go's net/netip does.
#include "compiler/cel/network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace kflow::cel {
namespace {

constexpr size_t groups_of_v6 = 8;

bool is_digits(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// A decimal number without leading zeros, at most `most`.
std::optional<uint8_t> small_number(std::string_view s, unsigned most) {
  if (!is_digits(s) || s.size() > 3 || (s.size() > 1 && s[0] == '0')) return std::nullopt;
  unsigned v = 0;
  std::from_chars(s.data(), s.data() + s.size(), v);
  if (v > most) return std::nullopt;
  return static_cast<uint8_t>(v);
}

bool parse_v4(std::string_view text, uint8_t* out) {
  for (int i = 0; i < 4; ++i) {
    const size_t dot = i < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos) return false;
    const auto octet = small_number(text.substr(0, dot), 255);
    if (!octet) return false;
    out[i] = *octet;
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return true;
}

// Groups of one side of `::`, at most eight; an IPv4 tail counts as two. False: malformed.
bool parse_groups(std::string_view text, bool tail_allowed, std::array<uint16_t, groups_of_v6>& out,
                  size_t& count, bool& dotted) {
  count = 0;
  if (text.empty()) return true;
  for (;;) {
    const size_t colon = text.find(':');
    const bool last = colon == std::string_view::npos;
    const std::string_view group = text.substr(0, colon);
    if (last && tail_allowed && group.find('.') != std::string_view::npos) {
      uint8_t octets[4];
      if (count + 2 > groups_of_v6 || !parse_v4(group, octets)) return false;
      out[count++] = static_cast<uint16_t>((octets[0] << 8) | octets[1]);
      out[count++] = static_cast<uint16_t>((octets[2] << 8) | octets[3]);
      dotted = true;
      return true;
    }
    uint16_t v = 0;
    const auto [end, code] = std::from_chars(group.data(), group.data() + group.size(), v, 16);
    if (group.empty() || group.size() > 4 || code != std::errc() ||
        end != group.data() + group.size() || count == groups_of_v6)
      return false;
    out[count++] = v;
    if (last) return true;
    text.remove_prefix(colon + 1);
    if (text.empty()) return false;
  }
}

bool parse_v6(std::string_view text, std::array<uint8_t, 16>& out, bool& dotted) {
  std::array<uint16_t, groups_of_v6> head{};
  std::array<uint16_t, groups_of_v6> tail{};
  size_t heads = 0;
  size_t tails = 0;
  const size_t gap = text.find("::");
  if (gap == std::string_view::npos) {
    if (!parse_groups(text, true, head, heads, dotted) || heads != groups_of_v6) return false;
  } else {
    if (!parse_groups(text.substr(0, gap), false, head, heads, dotted) ||
        !parse_groups(text.substr(gap + 2), true, tail, tails, dotted) ||
        heads + tails >= groups_of_v6)
      return false;
  }
  for (size_t i = 0; i < groups_of_v6; ++i) {
    const size_t from_end = groups_of_v6 - i;
    const uint16_t group = i < heads ? head[i] : from_end <= tails ? tail[tails - from_end] : 0;
    out[i * 2] = static_cast<uint8_t>(group >> 8);
    out[i * 2 + 1] = static_cast<uint8_t>(group & 0xff);
  }
  return true;
}

bool is_mapped(const std::array<uint8_t, 16>& o) {
  return std::all_of(o.begin(), o.begin() + 10, [](uint8_t b) { return b == 0; }) &&
         o[10] == 0xff && o[11] == 0xff;
}

std::optional<IpAddress> refuse(std::string* why, std::string message) {
  if (why != nullptr) *why = std::move(message);
  return std::nullopt;
}

// An address as it is written; a mapped one stays version 6.
std::optional<IpAddress> parse_written(std::string_view text, std::string* why) {
  IpAddress out;
  if (text.find('%') != std::string_view::npos)
    return refuse(why, fmt::format("`{}` has a zone, which an address here may not have", text));
  if (text.find(':') == std::string_view::npos) {
    if (!parse_v4(text, out.octets.data()))
      return refuse(why, fmt::format("`{}` is not an IP address", text));
    return out;
  }
  out.v6 = true;
  bool dotted = false;
  if (!parse_v6(text, out.octets, dotted))
    return refuse(why, fmt::format("`{}` is not an IP address", text));
  if (dotted && is_mapped(out.octets)) {
    return refuse(why, fmt::format("`{}` is an IPv4 address in the form of IPv6; write it as "
                                   "IPv4",
                                   text));
  }
  return out;
}

void unmap(IpAddress& a) {
  std::copy(a.octets.begin() + 12, a.octets.end(), a.octets.begin());
  std::fill(a.octets.begin() + 4, a.octets.end(), uint8_t{0});
  a.v6 = false;
}

bool all_zero(const IpAddress& a, size_t from) {
  return std::all_of(a.octets.begin() + static_cast<std::ptrdiff_t>(from), a.octets.end(),
                     [](uint8_t b) { return b == 0; });
}

}  // namespace

std::optional<IpAddress> parse_address(std::string_view text, std::string* why) {
  auto out = parse_written(text, why);
  if (out && out->v6 && is_mapped(out->octets)) unmap(*out);
  return out;
}

std::optional<IpAddress> parse_network(std::string_view text, std::string* why) {
  const size_t slash = text.rfind('/');
  if (slash == std::string_view::npos)
    return refuse(why, fmt::format("`{}` is not a network: `/` and a prefix are missing", text));
  auto out = parse_written(text.substr(0, slash), why);
  if (!out) return out;
  const auto prefix =
      small_number(text.substr(slash + 1), static_cast<unsigned>(address_bits(*out)));
  const bool mapped = out->v6 && is_mapped(out->octets);
  if (!prefix || (mapped && *prefix < 96))
    return refuse(why, fmt::format("`{}` is not a network: its prefix is wrong", text));
  out->prefix = mapped ? static_cast<uint8_t>(*prefix - 96) : *prefix;
  if (mapped) unmap(*out);
  return out;
}

std::string address_text(const IpAddress& a) {
  if (!a.v6) return fmt::format("{}.{}.{}.{}", a.octets[0], a.octets[1], a.octets[2], a.octets[3]);
  std::array<unsigned, groups_of_v6> groups{};
  for (size_t i = 0; i < groups_of_v6; ++i)
    groups[i] = (static_cast<unsigned>(a.octets[i * 2]) << 8) | a.octets[i * 2 + 1];
  // The longest run of two or more zero groups, the first of several.
  size_t begin = groups_of_v6;
  size_t length = 1;
  for (size_t i = 0; i < groups_of_v6;) {
    size_t n = 0;
    while (i + n < groups_of_v6 && groups[i + n] == 0) ++n;
    if (n > length) begin = i, length = n;
    i += std::max<size_t>(n, 1);
  }
  std::string out;
  for (size_t i = 0; i < groups_of_v6; ++i) {
    if (i == begin) {
      out += "::";
      i += length - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    out += fmt::format("{:x}", groups[i]);
  }
  return out;
}

std::string network_text(const IpAddress& n) {
  return fmt::format("{}/{}", address_text(n), n.prefix);
}

IpAddress masked(const IpAddress& n) {
  IpAddress out = n;
  for (size_t i = 0; i < out.octets.size(); ++i) {
    const int kept = std::clamp(n.prefix - static_cast<int>(i) * 8, 0, 8);
    out.octets[i] &= static_cast<uint8_t>(0xff00U >> static_cast<unsigned>(kept));
  }
  return out;
}

bool contains_address(const IpAddress& n, const IpAddress& address) {
  if (n.v6 != address.v6) return false;
  IpAddress within = address;
  within.prefix = n.prefix;
  return masked(within) == masked(n);
}

bool contains_network(const IpAddress& n, const IpAddress& inner) {
  return n.prefix <= inner.prefix && contains_address(n, inner);
}

bool is_unspecified(const IpAddress& a) { return all_zero(a, 0); }

bool is_loopback(const IpAddress& a) {
  if (!a.v6) return a.octets[0] == 127;
  return std::all_of(a.octets.begin(), a.octets.begin() + 15, [](uint8_t b) { return b == 0; }) &&
         a.octets[15] == 1;
}

bool is_multicast(const IpAddress& a) {
  return a.v6 ? a.octets[0] == 0xff : (a.octets[0] & 0xf0) == 0xe0;
}

bool is_link_local_multicast(const IpAddress& a) {
  if (a.v6) return a.octets[0] == 0xff && (a.octets[1] & 0x0f) == 0x02;
  return a.octets[0] == 224 && a.octets[1] == 0 && a.octets[2] == 0;
}

bool is_link_local_unicast(const IpAddress& a) {
  if (a.v6) return a.octets[0] == 0xfe && (a.octets[1] & 0xc0) == 0x80;
  return a.octets[0] == 169 && a.octets[1] == 254;
}

bool is_global_unicast(const IpAddress& a) {
  const bool broadcast = !a.v6 && std::all_of(a.octets.begin(), a.octets.begin() + 4,
                                              [](uint8_t b) { return b == 255; });
  return !broadcast && !is_unspecified(a) && !is_loopback(a) && !is_multicast(a) &&
         !is_link_local_unicast(a);
}

}  // namespace kflow::cel
