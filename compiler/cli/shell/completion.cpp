// Completion scripts from a command line.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <map>

#include "compiler/cli/shell/shell.hpp"
#include "compiler/cli/shell/verbs.hpp"

namespace kflow::cli {
namespace {

// Between single quotes, for any of the shells.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c == '\n' ? ' ' : c;
    }
  }
  return out + "'";
}

// fish escapes differently between single quotes.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "'";
}

std::string first_word(const std::string& text) { return text.substr(0, text.find(' ')); }
std::string second_word(const std::string& text) {
  const size_t space = text.find(' ');
  return space == std::string::npos ? "" : text.substr(space + 1);
}

std::vector<std::string> words_of(const std::vector<Flag>& flags) {
  std::vector<std::string> out;
  for (const Flag& f : flags) out.insert(out.end(), f.words.begin(), f.words.end());
  return out;
}

// First words of verbs, with the second words of groups.
std::map<std::string, std::vector<std::string>> tree_of(const std::vector<Verb>& verbs) {
  std::map<std::string, std::vector<std::string>> out;
  for (const Verb& v : verbs) {
    auto& below = out[first_word(v.name)];
    if (const std::string second = second_word(v.name); !second.empty()) below.push_back(second);
  }
  return out;
}

bool takes_run(const Verb& v) {
  return std::any_of(v.positionals.begin(), v.positionals.end(),
                     [](const Positional& p) { return p.name == "RUN"; });
}

std::string bash(const CLI::App& app, const std::string& runs) {
  const std::string name = app.get_name();
  const auto verbs = verbs_of(app);
  const auto tree = tree_of(verbs);
  const auto common = common_flags(app);
  std::vector<std::string> firsts;
  for (const auto& [word, below] : tree) firsts.push_back(word);
  std::string out = fmt::format(
      "# bash completion for {0}: put it into /etc/bash_completion.d or source it\n"
      "_{0}() {{\n"
      "  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} verb= i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case ${{COMP_WORDS[i]}} in\n"
      "      -*) ;;\n"
      "      *) verb+=${{verb:+ }}${{COMP_WORDS[i]}};;\n"
      "    esac\n"
      "  done\n",
      name);
  std::map<std::string, std::vector<std::string>> fixed;
  for (const Flag& f : common) {
    for (const std::string& word : f.words) {
      if (!f.values.empty()) fixed[word] = f.values;
    }
  }
  out += "  case \"$verb/$prev\" in\n";
  for (const auto& [word, values] : fixed)
    out += fmt::format("    */{}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return;;\n", word,
                       fmt::join(values, " "));
  for (const Verb& v : verbs) {
    for (const Flag& f : v.flags) {
      for (const std::string& word : f.words) {
        if (!f.values.empty())
          out += fmt::format("    '{}'*/{}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return;;\n",
                             v.name, word, fmt::join(f.values, " "));
      }
    }
  }
  out += "  esac\n  case $verb in\n";
  out += fmt::format("    '') COMPREPLY=($(compgen -W '{} {}' -- \"$cur\"));;\n",
                     fmt::join(firsts, " "), fmt::join(words_of(common), " "));
  for (const auto& [word, below] : tree) {
    if (!below.empty())
      out += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$cur\"));;\n", word,
                         fmt::join(below, " "));
  }
  for (const Verb& v : verbs) {
    const std::string flags = fmt::format("{}", fmt::join(words_of(v.flags), " "));
    out += fmt::format(
        "    '{}'*)\n"
        "      if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W '{}' -- \"$cur\"))\n"
        "      else COMPREPLY=($(compgen {} -- \"$cur\")); fi;;\n",
        v.name, flags,
        takes_run(v) && !runs.empty() ? fmt::format("-W \"@last $({} 2>/dev/null)\"", runs) : "-f");
  }
  return out + fmt::format("  esac\n}}\ncomplete -o filenames -F _{0} {0}\n", name);
}

std::string zsh(const CLI::App& app, const std::string& runs) {
  const std::string name = app.get_name();
  const auto verbs = verbs_of(app);
  const auto described = [](const std::string& word, const std::string& text) {
    std::string plain = text;
    std::erase_if(plain, [](char c) { return c == '[' || c == ']' || c == ':'; });
    return std::pair(word, plain);
  };
  const auto spec = [&](const Flag& f) {
    std::string out;
    for (const std::string& word : f.words) {
      const auto [w, text] = described(word, f.description);
      std::string one = w + "[" + text + "]";
      if (!f.argument.empty()) {
        one += ":" + f.argument + ":";
        one += f.values.empty() ? "_files" : fmt::format("({})", fmt::join(f.values, " "));
      }
      out += " \\\n        " + shell_quoted(one);
    }
    return out;
  };
  std::string out = fmt::format(
      "#compdef {0}\n# zsh completion for {0}: put it as _{0} into a folder of $fpath\n"
      "_{0}_runs() {{ local -a runs; runs=(@last ${{(f)\"$({1} 2>/dev/null)\"}}); "
      "compadd -a runs }}\n"
      "_{0}() {{\n  local -a verbs\n  verbs=(\n",
      name, runs.empty() ? "true" : runs);
  std::map<std::string, std::string> first;
  for (const Verb& v : verbs) first.try_emplace(first_word(v.name), v.description);
  for (const auto& [word, text] : first) {
    const auto [w, plain] = described(word, text);
    out += "    " + shell_quoted(w + ":" + plain) + "\n";
  }
  out +=
      "  )\n  if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n  case $words[2] in\n";
  for (const auto& [word, below] : tree_of(verbs)) {
    if (!below.empty()) out += fmt::format("    {}) compadd {};;\n", word, fmt::join(below, " "));
  }
  for (const Verb& v : verbs) {
    if (v.name.find(' ') != std::string::npos) continue;
    out += fmt::format("    {})\n      _arguments", v.name);
    for (const Flag& f : v.flags) out += spec(f);
    out += fmt::format(" \\\n        '*: :{}';;\n",
                       takes_run(v) && !runs.empty() ? "_" + name + "_runs" : "_files");
  }
  return out + fmt::format("  esac\n}}\n_{0} \"$@\"\n", name);
}

std::string fish(const CLI::App& app, const std::string& runs) {
  const std::string name = app.get_name();
  const auto verbs = verbs_of(app);
  std::string out = fmt::format(
      "# fish completion for {0}: put it into ~/.config/fish/completions/{0}.fish\n", name);
  std::map<std::string, std::string> first;
  for (const Verb& v : verbs) first.try_emplace(first_word(v.name), v.description);
  for (const auto& [word, text] : first)
    out += fmt::format("complete -c {} -n __fish_use_subcommand -f -a {} -d {}\n", name, word,
                       fish_quoted(text));
  for (const Verb& v : verbs) {
    const std::string second = second_word(v.name);
    const std::string seen = "__fish_seen_subcommand_from " + first_word(v.name);
    if (!second.empty()) {
      out += fmt::format("complete -c {} -n {} -f -a {} -d {}\n", name, fish_quoted(seen), second,
                         fish_quoted(v.description));
      continue;
    }
    for (const Flag& f : v.flags) {
      out += fmt::format("complete -c {} -n {}", name, fish_quoted(seen));
      for (const std::string& word : f.words)
        out += word.starts_with("--") ? " -l " + word.substr(2) : " -s " + word.substr(1);
      if (!f.argument.empty()) out += " -r";
      if (!f.values.empty())
        out += fmt::format(" -f -a {}", fish_quoted(fmt::format("{}", fmt::join(f.values, " "))));
      out += " -d " + fish_quoted(f.description) + "\n";
    }
    if (takes_run(v) && !runs.empty())
      out += fmt::format("complete -c {} -n {} -f -a '@last ({} 2>/dev/null)'\n", name,
                         fish_quoted(seen), runs);
  }
  return out;
}

}  // namespace

std::string completion_script(const CLI::App& app, std::string_view shell,
                              const std::string& runs_command) {
  if (shell == "bash") return bash(app, runs_command);
  if (shell == "zsh") return zsh(app, runs_command);
  return fish(app, runs_command);
}

}  // namespace kflow::cli
