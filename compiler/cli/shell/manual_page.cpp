// groff's `man` macros from a command line.
#include <CLI/CLI.hpp>

#include "compiler/cli/shell/shell.hpp"
#include "compiler/cli/shell/verbs.hpp"

namespace kflow::cli {
namespace {

// Text that groff takes as it is: no escapes, no hyphen for a minus, no line that is a request.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '\n') {
      out += ' ';
    } else {
      out += c;
    }
  }
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out.insert(0, "\\&");
  return out;
}

void item(std::string& out, const std::string& term, const std::string& text) {
  out += ".TP\n" + term + "\n" + plain(text) + "\n";
}

void flags(std::string& out, const std::vector<Flag>& list) {
  for (const Flag& f : list) {
    std::string term = ".B " + plain(f.names);
    if (!f.argument.empty()) term += " \\fI" + plain(f.argument) + "\\fR";
    item(out, term, f.description);
  }
}

}  // namespace

std::string manual_page(const CLI::App& app, const std::string& version) {
  const std::string name = app.get_name();
  std::string upper = name;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::string out = ".TH " + upper + " 1 \"\" \"" + name + " " + version + "\" \"kflow\"\n";
  out += ".SH NAME\n" + name + " \\- " + plain(app.get_description()) + "\n";
  out += ".SH SYNOPSIS\n.B " + name + "\n\\fIVERB\\fR [\\fIARGUMENT\\fR ...]\n";
  out += ".SH OPTIONS\n";
  flags(out, common_flags(app));
  out += ".SH VERBS\n";
  for (const Verb& verb : verbs_of(app)) {
    out += ".SS " + name + " " + plain(verb.name);
    for (const Positional& p : verb.positionals) {
      const std::string word = p.name + (p.many ? "..." : "");
      out += " " + (p.required ? word : "[" + word + "]");
    }
    out += "\n" + plain(verb.description) + "\n";
    for (const Positional& p : verb.positionals) item(out, ".I " + plain(p.name), p.description);
    flags(out, verb.flags);
    if (!verb.footer.empty()) out += ".PP\n" + plain(verb.footer) + "\n";
  }
  out +=
      ".SH EXIT STATUS\n0 ok; 1 the run or check failed; 2 usage; 3 paused, waiting for an answer; "
      "4 cancelled; 5 store or system failure; 130 interrupted\n";
  return out;
}

}  // namespace kflow::cli
