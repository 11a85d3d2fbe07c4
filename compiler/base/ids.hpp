// Typed 32-bit ids into stores, instead of pointers.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace kflow {

/// An index into one store; `Tag` keeps ids of different stores apart. Default constructed: none.
template <typename Tag>
struct Id {
  static constexpr uint32_t none_value = 0xffffffffU;
  uint32_t value = none_value;

  constexpr Id() = default;
  constexpr explicit Id(uint32_t v) : value(v) {}
  constexpr explicit Id(size_t v)
    requires(!std::is_same_v<size_t, uint32_t>)
      : value(static_cast<uint32_t>(v)) {}
  constexpr bool has_value() const { return value != none_value; }
  constexpr explicit operator bool() const { return has_value(); }
  friend constexpr auto operator<=>(Id, Id) = default;
};

}  // namespace kflow

template <typename Tag>
struct std::hash<kflow::Id<Tag>> {
  size_t operator()(kflow::Id<Tag> id) const noexcept { return std::hash<uint32_t>{}(id.value); }
};
