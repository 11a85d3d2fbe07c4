// Diagnostics: what is wrong with the author's text, as data; rendering is elsewhere (render.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "compiler/source/source.hpp"

namespace kflow::diagnostics {

using source::Span;

enum class Severity : uint8_t { error, warning };

/// One enumerator a row of kinds.def.
enum class Kind : uint16_t {
#define KFLOW_DIAGNOSTIC(code, name, severity, title, explanation) name,
#include "compiler/diagnostics/kinds.def"
#undef KFLOW_DIAGNOSTIC
};

struct KindInfo {
  Kind kind;
  uint16_t code;  ///< shown as KF%04d; never reused
  std::string_view name;
  Severity severity;
  std::string_view title;
  std::string_view explanation;  ///< the rule, a wrong and a right example
};

const KindInfo& info(Kind kind);
/// All rows in the order of their codes.
const std::vector<KindInfo>& all_kinds();
/// "KF2004" → its row, or null.
const KindInfo* find_kind(std::string_view code);
std::string code_text(Kind kind);

struct Label {
  Span span;
  std::string text;
};

/// Replace `span` by `text`; certain to be what the author meant.
struct Fix {
  Span span;
  std::string text;
};

struct Diagnostic {
  Kind kind;
  Span span;
  std::string message;  ///< facts first; code in backticks
  std::string label;    ///< beside the carets; "" for none
  std::vector<Label> secondary;
  std::vector<std::string> notes;
  std::vector<std::string> suggestions;  ///< at most three
  std::vector<Fix> fixes;
};

/// What `report` gives back, to add to the diagnostic: `sink.report(…).label("…").note("…")`.
class Builder {
 public:
  explicit Builder(Diagnostic* diagnostic) : diagnostic_(diagnostic) {}
  Builder& label(std::string text);
  Builder& secondary(Span span, std::string text);
  Builder& note(std::string text);
  /// Candidates that look like `name`, the likeliest first, become "did you mean …"; a single one
  /// also a fix.
  Builder& suggest(std::string_view name, const std::vector<std::string>& candidates);
  /// `word` is meant for what is marked: a suggestion and a fix.
  Builder& meant(const std::string& word);
  Builder& fix(Span span, std::string text);

 private:
  Diagnostic* diagnostic_;  // null: dropped
};

/// Most diagnostics that are kept; more are counted only.
inline constexpr size_t max_diagnostics = 200;

/// Collects diagnostics. A second one of the same kind at the same place is dropped. Not
/// thread-safe.
class Sink {
 public:
  Builder report(Kind kind, Span span, std::string message);
  bool has_errors() const { return errors_ > 0; }
  size_t errors() const { return errors_; }
  size_t warnings() const { return warnings_; }
  size_t dropped() const { return dropped_; }
  /// Drops the warnings for which `suppressed` is true. Errors stay.
  void suppress(const std::function<bool(const Diagnostic&)>& suppressed);
  /// In the order of files and places.
  std::vector<const Diagnostic*> sorted() const;

 private:
  std::vector<std::unique_ptr<Diagnostic>> all_;
  std::set<std::tuple<Kind, Span>> seen_;
  size_t errors_ = 0;
  size_t warnings_ = 0;
  size_t dropped_ = 0;
};

/// At most three of `candidates` within a small edit distance of `name`, the nearest first.
std::vector<std::string> did_you_mean(std::string_view name,
                                      const std::vector<std::string>& candidates);

}  // namespace kflow::diagnostics
