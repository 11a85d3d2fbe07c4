// A command line as plain data: what completions and the manual page are made from.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kflow::cli {

struct Flag {
  std::string names;               ///< "-o,--output"
  std::vector<std::string> words;  ///< "-o", "--output"
  std::string argument;            ///< "FILE", "TEXT"; "": it takes none
  std::string description;
  std::vector<std::string> values;  ///< the only ones, where they are fixed
};
struct Positional {
  std::string name;
  std::string description;
  bool required = false;
  bool many = false;
};
struct Verb {
  std::string name;  ///< "store check"
  std::string description;
  std::string footer;
  std::vector<Flag> flags;
  std::vector<Positional> positionals;
};

/// The verbs of a command line, those of groups as "store check"; what has no group is not shown.
std::vector<Verb> verbs_of(const CLI::App& app);
/// Options that stand before the verb.
std::vector<Flag> common_flags(const CLI::App& app);

}  // namespace kflow::cli
