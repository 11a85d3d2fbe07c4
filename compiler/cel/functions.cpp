// Looking functions up by name and style; RE2 behind Regex.
#include "compiler/cel/functions.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace kflow::cel {
namespace {

using Table = std::map<std::pair<std::string_view, bool>, const Function*>;

const Table& table() {
  static const Table all = [] {
    Table out;
    for (const auto rows :
         {standard_functions(), string_functions(), math_functions(), dialect_functions(),
          text_functions(), network_functions(), set_functions()}) {
      for (const Function& f : rows) out.emplace(std::pair(f.name, f.member), &f);
    }
    return out;
  }();
  return all;
}

class Re2 final : public Regex {
 public:
  explicit Re2(std::string_view pattern)
      : re_(re2::StringPiece(pattern.data(), pattern.size()), options()) {}
  bool matches(std::string_view text) const override {
    return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), re_);
  }
  std::optional<Match> find(std::string_view text, size_t from) const override {
    std::array<re2::StringPiece, max_groups + 1> found;
    const int wanted = static_cast<int>(std::min(group_count(), max_groups) + 1);
    if (!re_.Match(re2::StringPiece(text.data(), text.size()), from, text.size(), RE2::UNANCHORED,
                   found.data(), wanted))
      return std::nullopt;
    Match out;
    out.begin = static_cast<size_t>(found[0].data() - text.data());
    out.end = out.begin + found[0].size();
    for (size_t i = 0; i < found.size(); ++i)
      out.groups[i] = std::string_view(found[i].data(), found[i].size());
    return out;
  }
  size_t group_count() const override {
    return static_cast<size_t>(std::max(0, re_.NumberOfCapturingGroups()));
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

bool is_function(std::string_view name) {
  return find_function(name, false) != nullptr || find_function(name, true) != nullptr;
}

std::vector<std::string> function_names() {
  std::vector<std::string> out;
  for (const auto& [key, f] : table()) out.emplace_back(key.first);
  return out;
}

Value no_overload(CallContext& context, Args args) {
  std::string message = "`" + std::string(context.function_name()) + "` does not take (";
  for (size_t i = 0; i < args.size(); ++i)
    message.append(i == 0 ? "" : ", ").append(type_name(args[i].kind()));
  context.fail(EvalErrorKind::no_such_overload, message + ")");
  return {};
}

size_t find_text(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last_text(std::string_view text, std::string_view what, size_t from) {
  // Searching backwards naively is quadratic for a long pattern; those are searched for in the
  // reversed text.
  constexpr size_t short_pattern = 32;
  if (what.size() <= short_pattern) return text.rfind(what, from);
  if (what.size() > text.size()) return std::string_view::npos;
  text = text.substr(0, std::min(text.size() - what.size(), from) + what.size());
  const std::string reversed(text.rbegin(), text.rend());
  const size_t found = find_text(reversed, std::string(what.rbegin(), what.rend()), 0);
  return found == std::string::npos ? found : text.size() - found - what.size();
}

std::shared_ptr<const Regex> Regex::compile(std::string_view pattern, std::string* error) {
  auto made = std::make_shared<Re2>(pattern);
  if (made->re().ok()) return made;
  if (error != nullptr) *error = made->re().error();
  return nullptr;
}

}  // namespace kflow::cel
