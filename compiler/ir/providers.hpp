// Which options of `model` which providers have: what the compiler says before anything runs, and
// runtime/models by refusing a call (a test holds the two together).
#pragma once

#include <array>
#include <string_view>

namespace kflow::ir {

/// An option that not every provider has.
struct ProviderOption {
  std::string_view name;
  std::array<std::string_view, 3> providers;  ///< that have it; "": no further one
  constexpr bool offered_by(std::string_view provider) const {
    for (const std::string_view p : providers) {
      if (p == provider) return true;
    }
    return false;
  }
};

inline constexpr std::array<ProviderOption, 2> provider_options{{
    {"seed", {"openai_chat", "gemini"}},
    {"stop", {"openai_chat", "anthropic", "gemini"}},
}};

}  // namespace kflow::ir
