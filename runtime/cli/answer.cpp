// answer: what people are asked, on a terminal or by options.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "compiler/cel/value_codec.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/why.hpp"

namespace kflow::cli {
namespace {

using machine::AnswerInput;
using machine::AskKind;
using machine::Requirement;

// A line from the terminal; nothing at its end.
std::optional<std::string> ask(const std::string& prompt) {
  std::fputs(prompt.c_str(), stderr);
  std::fflush(stderr);
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

cel::Value typed_value(const ir::Program& program, ir::TypeId type, const std::string& text) {
  const schema::Type& t = program.types[program.types.without_null(type)];
  const bool is_text =
      t.kind == schema::TypeKind::string ||
      (t.kind == schema::TypeKind::literal_union && t.literals[0].kind() == cel::Kind::string);
  if (is_text) return cel::Value::string(text);
  auto json = cel::from_json(text);
  return json ? std::move(*json) : cel::Value::string(text);
}

// Field by field; an empty line takes the default.
std::optional<cel::Value> fill_form(const ir::Program& program, ir::TypeId type) {
  const schema::Type& t = program.types[program.types.without_null(type)];
  if (t.kind != schema::TypeKind::record) {
    const auto line = ask(fmt::format("  {}: ", program.types.display(type)));
    if (!line) return std::nullopt;
    return typed_value(program, type, *line);
  }
  cel::MapBuilder out;
  for (const schema::Field& field : t.fields) {
    if (!field.doc.empty()) std::fprintf(stderr, "  %s\n", field.doc.c_str());
    const std::string fallback =
        field.fallback ? fmt::format(" [{}]", cel::to_brief(*field.fallback)) : "";
    const auto line =
        ask(fmt::format("  {} ({}){}: ", field.name, program.types.display(field.type), fallback));
    if (!line) return std::nullopt;
    if (line->empty() && (field.fallback || program.types.accepts_null(field.type))) continue;
    out.set(field.name, typed_value(program, field.type, *line));
  }
  return std::move(out).take();
}

void describe(const Requirement& r) {
  std::fprintf(stderr, "step `%s` asks: %s\n", r.path.c_str(), r.question.c_str());
  if (!r.show.is_null()) std::fprintf(stderr, "%s\n", value_text(r.show).c_str());
  if (r.kind == AskKind::review) std::fprintf(stderr, "%s\n", value_text(r.value).c_str());
}

// The answer a person gives on the terminal; nothing when the input ends.
std::optional<AnswerInput> interview(const ir::Program& program, const Requirement& r) {
  describe(r);
  AnswerInput out;
  for (;;) {
    if (r.kind == AskKind::form) {
      out.value = fill_form(program, r.form);
      if (!out.value) return std::nullopt;
      out.accepted = true;
    } else {
      const bool review = r.kind == AskKind::review;
      const auto line = ask(review ? "  accept, reject or edit? [a/r/e] " : "  yes or no? [y/n] ");
      if (!line) return std::nullopt;
      const char c = line->empty()
                         ? ' '
                         : static_cast<char>(std::tolower(static_cast<unsigned char>((*line)[0])));
      if (c != (review ? 'a' : 'y') && c != (review ? 'r' : 'n') && !(review && c == 'e')) continue;
      out.accepted = c == 'a' || c == 'y' || c == 'e';
      out.value.reset();
      if (c == 'e') {
        out.value = fill_form(program, r.form);
        if (!out.value) return std::nullopt;
      }
      if (!out.accepted) {
        const auto why = ask("  why? (may be empty) ");
        out.feedback = why.value_or("");
      }
    }
    const std::string problems = out.value ? machine::check_answer(program, r, *out.value) : "";
    if (problems.empty()) return out;
    std::fprintf(stderr, "%s\n", problems.c_str());
  }
}

// Of a run that asks nothing itself: the runs below it that do.
std::string asked_below(store::Store& store, const store::RunHeader& run) {
  std::string out;
  if (is_final(run.status)) return out;
  const auto lines = engine::why(store, run, engine::SystemClock().now());
  if (!lines) return out;
  for (const engine::WhyLine& line : *lines) {
    if (line.what != "person" || line.run_id.empty()) continue;
    out += fmt::format("\n  `kflow answer {}`  {}", short_id(line.run_id), line.subject);
  }
  return out.empty() ? out : "; runs that it waits for do:" + out;
}

Result<Requirement> choose(const std::vector<Requirement>& open, const std::string& wanted) {
  std::string list;
  for (const Requirement& r : open) {
    if (r.id == wanted || r.path == wanted) return r;
    list += fmt::format("\n  {}  step `{}`: {}", r.id, r.path, r.question);
  }
  if (open.empty()) return fail(ErrorCode::conflict, "the run asks nothing at present");
  if (wanted.empty() && open.size() == 1) return open[0];
  if (wanted.empty())
    return fail(ErrorCode::invalid_argument, "the run asks several things; name one:" + list);
  return fail(ErrorCode::not_found, "the run does not ask `" + wanted + "`; it asks:" + list);
}

Result<AnswerInput> from_options(const AnswerOptions& options) {
  AnswerInput out{
      .requirement = "", .accepted = !options.reject, .value = {}, .feedback = options.feedback};
  if (options.value.empty()) return out;
  auto value = cel::from_json(options.value);
  if (!value)
    return fail(ErrorCode::invalid_argument, "--value is not JSON: " + value.error().message);
  out.value = std::move(*value);
  return out;
}

}  // namespace

Result<void> answer_on_terminal(store::Store& store, const store::RunHeader& run) {
  auto open = engine::open_requirements(store, run);
  if (!open) return std::unexpected(std::move(open).error());
  const auto program = engine::load_program(store, run.program);
  if (!program) return std::unexpected(program.error());
  for (const Requirement& r : *open) {
    auto given = interview(**program, r);
    if (!given) return fail(ErrorCode::cancelled, "no answer was given; the question stays open");
    auto sent = engine::answer(store, run, **program, r, std::move(*given));
    if (!sent) return sent;
  }
  return {};
}

int answer(const Common& common, const AnswerOptions& options) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, options.run);
  if (!header) return fail_with(header.error());
  const bool by_options = options.approve || options.reject || !options.value.empty();
  auto open = engine::open_requirements(**store, *header);
  if (!open) return fail_with(open.error());
  auto program = engine::load_program(**store, header->program);
  if (!program) return fail_with(program.error());
  auto chosen = choose(*open, options.requirement);
  if (!chosen) {
    Error error = std::move(chosen).error();
    if (open->empty()) error.message += asked_below(**store, *header);
    return fail_with(error);
  }
  Result<void> sent;
  if (by_options) {
    auto given = from_options(options);
    if (!given) return fail_with(given.error());
    sent = engine::answer(**store, *header, **program, *chosen, std::move(*given));
  } else if (::isatty(STDIN_FILENO) != 0) {
    auto given = interview(**program, *chosen);
    if (!given)
      return fail_with({ErrorCode::cancelled, "no answer was given; the question stays open"});
    sent = engine::answer(**store, *header, **program, *chosen, std::move(*given));
  } else {
    describe(*chosen);
    return fail_with({ErrorCode::invalid_argument,
                      "not on a terminal: answer with --approve, --reject or --value JSON"});
  }
  if (!sent) return fail_with(sent.error());
  auto worker = ensure_worker(**store, place, *header);
  if (!worker) return fail_with(worker.error());
  std::fprintf(stderr, "run %s has its answer\n", short_id(header->id).c_str());
  return Exit::ok;
}

}  // namespace kflow::cli
