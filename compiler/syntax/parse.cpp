// Runs the PEGTL grammar over a file; the only file here that includes it.
#include "compiler/syntax/parse.hpp"

#include <fmt/format.h>

#include "compiler/base/utf8.hpp"
#include "compiler/syntax/habits.hpp"
#include "grammar/file.hpp"

namespace kflow::syntax {
namespace {

using Input = tao::pegtl::memory_input<tao::pegtl::tracking_mode::lazy, tao::pegtl::eol::lf>;

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

template <typename Rule>
struct control : tao::pegtl::normal<Rule> {
  static constexpr bool enable = false;  // the rules record for themselves
};

void report_invalid_bytes(const source::File& file, diagnostics::Sink& sink) {
  const std::string_view text = file.text();
  const size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  const auto begin = static_cast<uint32_t>(at);
  sink.report(diagnostics::Kind::invalid_utf8, {file.id(), begin, begin + 1},
              fmt::format("the file is not UTF-8: byte 0x{:02x} at offset {}",
                          static_cast<unsigned char>(text[at]), at))
      .note("save it as UTF-8");
}

void report(const source::File& file, Recorder& recorder, diagnostics::Sink& sink) {
  // A block whose `{` is missing takes the `}` of the one around it: that is not said again.
  size_t unopened = 0;
  for (const SyntaxError& e : recorder.errors()) {
    if (e.message.starts_with("expected `{`")) ++unopened;
    if (unopened > 0 && e.message.starts_with("expected `}`")) {
      --unopened;
      continue;
    }
    const auto kind =
        e.unexpected ? diagnostics::Kind::unexpected_token : diagnostics::Kind::expected_token;
    auto builder = sink.report(kind, {file.id(), e.begin, e.end}, e.message);
    if (e.related != UINT32_MAX)
      builder.secondary({file.id(), e.related, e.related + 1}, e.related_text);
    const std::string note = e.note.empty() ? habit_note(file.text(), e) : e.note;
    if (!note.empty()) builder.note(note);
    if (note.empty() && !e.near.empty()) builder.suggest(e.near, e.candidates);
  }
}

}  // namespace

bool is_reserved(std::string_view word) { return grammar::is_reserved_word(word, false); }

Tree parse(const source::File& file, diagnostics::Sink& sink) {
  const std::string_view text = file.text();
  report_invalid_bytes(file, sink);
  Recorder recorder(text);
  Input input(text.data(), text.data() + text.size(), file.name());
  if (text.starts_with(byte_order_mark)) input.bump(byte_order_mark.size());
  tao::pegtl::parse<grammar::file, tao::pegtl::nothing, control>(input, recorder);
  report(file, recorder, sink);
  return Tree(file.id(), text, recorder.finish());
}

}  // namespace kflow::syntax
