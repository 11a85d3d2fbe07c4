// Looking functions up by name and style; RE2 behind Regex.
#include "compiler/cel/functions.hpp"

#include <re2/re2.h>

#include <map>

namespace kflow::cel {
namespace {

using Table = std::map<std::pair<std::string_view, bool>, const Function*>;

const Table& table() {
  static const Table all = [] {
    Table out;
    for (const auto rows : {standard_functions(), string_functions(), math_functions(), dialect_functions()}) {
      for (const Function& f : rows) out.emplace(std::pair(f.name, f.member), &f);
    }
    return out;
  }();
  return all;
}

class Re2 final : public Regex {
 public:
  explicit Re2(std::string_view pattern) : re_(re2::StringPiece(pattern.data(), pattern.size()), options()) {}
  bool matches(std::string_view text) const override {
    return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), re_);
  }
  const RE2& re() const { return re_; }

 private:
  static RE2::Options options() {
    RE2::Options o;
    o.set_log_errors(false);
    return o;
  }
  RE2 re_;
};

}  // namespace

const Function* find_function(std::string_view name, bool member) {
  const auto it = table().find({name, member});
  return it == table().end() ? nullptr : it->second;
}

bool is_function(std::string_view name) { return find_function(name, false) != nullptr || find_function(name, true) != nullptr; }

std::vector<std::string> function_names() {
  std::vector<std::string> out;
  for (const auto& [key, f] : table()) out.emplace_back(key.first);
  return out;
}

std::shared_ptr<const Regex> Regex::compile(std::string_view pattern, std::string* error) {
  auto made = std::make_shared<Re2>(pattern);
  if (made->re().ok()) return made;
  if (error != nullptr) *error = made->re().error();
  return nullptr;
}

}  // namespace kflow::cel
