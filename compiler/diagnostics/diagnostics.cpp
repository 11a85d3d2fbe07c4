// The table of kinds, the sink, and the search for names that look alike.
#include "compiler/diagnostics/diagnostics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "compiler/base/check.hpp"

namespace kflow::diagnostics {
namespace {

constexpr std::array table{
#define KFLOW_DIAGNOSTIC(code, name, severity, title, explanation) \
  KindInfo{Kind::name, code, #name, Severity::severity, title, explanation},
#include "compiler/diagnostics/kinds.def"
#undef KFLOW_DIAGNOSTIC
};

// Damerau–Levenshtein (optimal string alignment), given up above `limit`.
size_t edit_distance(std::string_view a, std::string_view b, size_t limit) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() - a.size() > limit) return limit + 1;
  std::vector<size_t> before_last(a.size() + 1), last(a.size() + 1), current(a.size() + 1);
  for (size_t i = 0; i <= a.size(); ++i) last[i] = i;
  for (size_t j = 1; j <= b.size(); ++j) {
    current[0] = j;
    size_t best = j;
    for (size_t i = 1; i <= a.size(); ++i) {
      current[i] =
          std::min({last[i] + 1, current[i - 1] + 1, last[i - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[i] = std::min(current[i], before_last[i - 2] + 1);
      }
      best = std::min(best, current[i]);
    }
    if (best > limit) return limit + 1;
    before_last.swap(last);
    last.swap(current);
  }
  return last[a.size()];
}

}  // namespace

const KindInfo& info(Kind kind) { return table[static_cast<size_t>(kind)]; }

const std::vector<KindInfo>& all_kinds() {
  static const std::vector<KindInfo> sorted = [] {
    std::vector<KindInfo> all(table.begin(), table.end());
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.code < b.code; });
    return all;
  }();
  return sorted;
}

const KindInfo* find_kind(std::string_view code) {
  for (const KindInfo& row : all_kinds()) {
    if (code_text(row.kind) == code) return &row;
  }
  return nullptr;
}

std::string code_text(Kind kind) { return fmt::format("KF{:04}", info(kind).code); }

Builder& Builder::label(std::string text) {
  if (diagnostic_ != nullptr) diagnostic_->label = std::move(text);
  return *this;
}

Builder& Builder::secondary(Span span, std::string text) {
  if (diagnostic_ != nullptr && span.valid())
    diagnostic_->secondary.push_back({span, std::move(text)});
  return *this;
}

Builder& Builder::note(std::string text) {
  if (diagnostic_ != nullptr) diagnostic_->notes.push_back(std::move(text));
  return *this;
}

Builder& Builder::suggest(std::string_view name, const std::vector<std::string>& candidates) {
  if (diagnostic_ == nullptr) return *this;
  diagnostic_->suggestions = did_you_mean(name, candidates);
  // Only where exactly the name is marked; nothing else is replaced.
  const bool name_alone = diagnostic_->span.end - diagnostic_->span.begin == name.size();
  const size_t few = name.size() <= 4 ? 1 : 2;
  if (diagnostic_->suggestions.size() == 1 && name_alone &&
      edit_distance(name, diagnostic_->suggestions[0], few) <= few)
    diagnostic_->fixes.push_back({diagnostic_->span, diagnostic_->suggestions[0]});
  return *this;
}

Builder& Builder::meant(const std::string& word) {
  if (diagnostic_ == nullptr) return *this;
  diagnostic_->suggestions = {word};
  return fix(diagnostic_->span, word);
}

Builder& Builder::fix(Span span, std::string text) {
  if (diagnostic_ != nullptr) diagnostic_->fixes.push_back({span, std::move(text)});
  return *this;
}

Builder Sink::report(Kind kind, Span span, std::string message) {
  const Severity severity = info(kind).severity;
  if (!seen_.insert({kind, span}).second) return Builder(nullptr);
  (severity == Severity::error ? errors_ : warnings_) += 1;
  if (all_.size() >= max_diagnostics) {
    ++dropped_;
    return Builder(nullptr);
  }
  all_.push_back(std::make_unique<Diagnostic>());
  Diagnostic& made = *all_.back();
  made.kind = kind;
  made.span = span;
  made.message = std::move(message);
  return Builder(&made);
}

void Sink::suppress(const std::function<bool(const Diagnostic&)>& suppressed) {
  warnings_ -= std::erase_if(all_, [&](const std::unique_ptr<Diagnostic>& d) {
    return info(d->kind).severity == Severity::warning && suppressed(*d);
  });
}

std::vector<const Diagnostic*> Sink::sorted() const {
  std::vector<const Diagnostic*> out;
  out.reserve(all_.size());
  for (const auto& diagnostic : all_) out.push_back(diagnostic.get());
  std::stable_sort(out.begin(), out.end(),
                   [](const Diagnostic* a, const Diagnostic* b) { return a->span < b->span; });
  return out;
}

std::vector<std::string> did_you_mean(std::string_view name,
                                      const std::vector<std::string>& candidates) {
  const size_t limit = name.size() <= 2 ? 1 : name.size() <= 5 ? 2 : 3;
  std::vector<std::pair<size_t, std::string>> near;
  for (const std::string& candidate : candidates) {
    if (candidate == name) continue;
    size_t distance = edit_distance(name, candidate, limit);
    const bool prefix =
        name.size() >= 3 && (candidate.starts_with(name) || name.starts_with(candidate));
    if (distance > limit && !(prefix && candidate.size() >= 3)) continue;
    if (distance >= std::max(name.size(), candidate.size())) continue;
    near.emplace_back(distance, candidate);
  }
  // Of those as near, one of the same letters was meant (`setp`: `step`, not `set`).
  std::string letters(name);
  std::sort(letters.begin(), letters.end());
  const auto other_letters = [&](const std::string& candidate) {
    std::string sorted = candidate;
    std::sort(sorted.begin(), sorted.end());
    return sorted != letters;
  };
  std::sort(near.begin(), near.end(), [&](const auto& a, const auto& b) {
    return std::tuple(a.first, other_letters(a.second), std::string_view(a.second)) <
           std::tuple(b.first, other_letters(b.second), std::string_view(b.second));
  });
  near.erase(std::unique(near.begin(), near.end()), near.end());
  // What is much further away than the nearest is noise.
  std::vector<std::string> out;
  for (const auto& [distance, candidate] : near) {
    if (out.size() == 3 || distance > near.front().first + 1) break;
    out.push_back(candidate);
  }
  return out;
}

}  // namespace kflow::diagnostics
