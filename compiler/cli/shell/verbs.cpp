// Reads a CLI::App.
#include "compiler/cli/shell/verbs.hpp"

#include <CLI/CLI.hpp>

#include "compiler/cli/shell/shell.hpp"

namespace kflow::cli {
namespace {

// CLI11 says fixed values in the type's name only: "TEXT:{human,json}".
std::vector<std::string> fixed_values(const std::string& type) {
  const size_t open = type.find('{');
  const size_t close = type.rfind('}');
  std::vector<std::string> out;
  if (open == std::string::npos || close == std::string::npos || close < open) return out;
  for (size_t at = open + 1; at < close;) {
    const size_t end = std::min(type.find(',', at), close);
    out.push_back(type.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> out;
  for (const CLI::Option* o : app.get_options()) {
    if (o->get_positional() || o->get_group().empty()) continue;
    Flag flag{.names = "",
              .words = {},
              .argument = "",
              .description = o->get_description(),
              .values = {}};
    for (const std::string& n : o->get_snames()) flag.words.push_back("-" + n);
    for (const std::string& n : o->get_lnames()) flag.words.push_back("--" + n);
    for (const std::string& word : flag.words) flag.names += (flag.names.empty() ? "" : ",") + word;
    if (o->get_items_expected_max() > 0) {
      flag.values = fixed_values(o->get_type_name());
      flag.argument = flag.values.empty() ? o->get_type_name() : "TEXT";
      const size_t colon = flag.argument.find(':');
      if (colon != std::string::npos) flag.argument.resize(colon);
    }
    out.push_back(std::move(flag));
  }
  return out;
}

void add_verbs(const CLI::App& app, const std::string& prefix, std::vector<Verb>& out) {
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_group().empty()) continue;
    const std::string name = prefix + sub->get_name();
    if (!sub->get_subcommands([](const CLI::App*) { return true; }).empty()) {
      add_verbs(*sub, name + " ", out);
      continue;
    }
    Verb verb{.name = name,
              .description = sub->get_description(),
              .footer = sub->get_footer(),
              .flags = flags_of(*sub),
              .positionals = {}};
    for (const CLI::Option* o : sub->get_options()) {
      if (!o->get_positional()) continue;
      verb.positionals.push_back({.name = o->get_name(true, false),
                                  .description = o->get_description(),
                                  .required = o->get_required(),
                                  .many = o->get_items_expected_max() > 1});
    }
    out.push_back(std::move(verb));
  }
}

}  // namespace

std::vector<Verb> verbs_of(const CLI::App& app) {
  std::vector<Verb> out;
  add_verbs(app, "", out);
  return out;
}

std::vector<Flag> common_flags(const CLI::App& app) { return flags_of(app); }

ShellVerbs::ShellVerbs(CLI::App& app) : app_(app) {
  const std::string name = app.get_name();
  completion_ = app.add_subcommand("completion", "print a script that completes this command line");
  completion_->add_option("SHELL", shell_, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion_->footer("example: " + name + " completion bash > /etc/bash_completion.d/" + name);
  man_ = app.add_subcommand("man", "print the manual page");
  man_->footer("example: " + name + " man | man -l -");
}

std::optional<std::string> ShellVerbs::text(const std::string& version,
                                            const std::string& runs_command) const {
  if (completion_->parsed()) return completion_script(app_, shell_, runs_command);
  if (man_->parsed()) return manual_page(app_, version);
  return std::nullopt;
}

}  // namespace kflow::cli
