// Checks the include graph of the project against layers.txt, and the few rules of form every
// source file keeps.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::structure {

/// The rows of layers.txt, see there.
struct Rules {
  std::map<std::string, std::vector<std::string>, std::less<>> layers;
  std::vector<std::pair<std::string, std::vector<std::string>>> only;
  std::vector<std::pair<std::string, std::vector<std::string>>> never;
};

/// Reads layers.txt; what is wrong with its text itself is added to `problems`.
Rules parse_rules(std::string_view text, std::vector<std::string>& problems);

/// Two layers that may include each other, at any distance, one problem each.
std::vector<std::string> find_layer_cycles(const Rules& rules);

/// Path from the repository's root → text.
using Files = std::map<std::string, std::string, std::less<>>;

/// Every violation in `files` as `path:line: what is wrong`, in the order of the paths.
std::vector<std::string> check(const Rules& rules, const Files& files);

/// `text` with its comments, and the insides of its literals, made blank; lines stay where they
/// are.
std::string without_comments_and_literals(std::string_view text);

}  // namespace kflow::structure
