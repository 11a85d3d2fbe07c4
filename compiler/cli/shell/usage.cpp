// Errors of a command line.
#include "compiler/cli/shell/usage.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "compiler/diagnostics/diagnostics.hpp"

namespace kflow::cli {
namespace {

const CLI::App* innermost(const CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return app;
}

std::string full_name(const CLI::App* app) {
  const CLI::App* parent = app->get_parent();
  return parent == nullptr ? app->get_name() : full_name(parent) + " " + app->get_name();
}

std::vector<std::string> verbs(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) out.push_back(sub->get_name());
  }
  return out;
}

std::vector<std::string> options(const CLI::App* app) {
  std::vector<std::string> out;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* o : app->get_options()) {
      for (const std::string& name : o->get_lnames()) out.push_back("--" + name);
      for (const std::string& name : o->get_snames()) out.push_back("-" + name);
    }
  }
  return out;
}

std::string meant(const std::string& name, const std::vector<std::string>& candidates) {
  std::string out;
  for (const std::string& word : diagnostics::did_you_mean(name, candidates))
    out += (out.empty() ? "; did you mean `" : " or `") + word + "`";
  return out.empty() ? out : out + "?";
}

std::string unknown_verb(const CLI::App& app, const std::string& word, const OtherNames& others) {
  std::string out = "there is no verb `" + word + "`";
  if (const auto it = others.find(word); it != others.end())
    return out + "; `" + it->second + "` does that";
  return out + meant(word, verbs(app));
}

std::string what_is_wrong(const CLI::App& app, const CLI::ParseError& error,
                          const OtherNames& others) {
  const CLI::App* at = innermost(&app);
  const std::vector<std::string> left = app.remaining(true);
  const bool wants_verb = !verbs(*at).empty();
  if (wants_verb && !left.empty() && !left.front().starts_with('-'))
    return unknown_verb(*at, left.front(), at == &app ? others : OtherNames());
  if (wants_verb && left.empty()) {
    std::string out;
    for (const std::string& verb : verbs(*at)) out += (out.empty() ? "" : ", ") + verb;
    return "which of its verbs? " + out;
  }
  for (const std::string& word : left) {
    if (word.size() < 2 || word.front() != '-') continue;
    const std::string name = word.substr(0, word.find('='));
    return "there is no option `" + name + "`" + meant(name, options(at));
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !left.empty())
    return "`" + left.front() + "` is one argument too many";
  std::string text = error.what();
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.pop_back();
  return text;
}

}  // namespace

std::optional<int> read_command_line(CLI::App& app, int argc, char** argv,
                                     const OtherNames& other_names) {
  if (argc < 2) {
    std::fputs(app.help().c_str(), stderr);
    return usage_status;
  }
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::Success& asked) {
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    const std::string name = full_name(innermost(&app));
    std::fprintf(stderr, "%s: error: %s\n%s: `%s --help` shows what can be typed\n", name.c_str(),
                 what_is_wrong(app, error, other_names).c_str(), name.c_str(), name.c_str());
    return usage_status;
  }
}

}  // namespace kflow::cli
