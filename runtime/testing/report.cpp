// The forms of reports.
#include "runtime/testing/report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/base/xml.hpp"

namespace kflow::testing {
namespace {

std::string place(const FileResult& file, const ir::Origin& origin) {
  const std::string& name = origin.file < file.files.size() ? file.files[origin.file] : file.path;
  return fmt::format("{}:{}", name, origin.line);
}

std::string details(const FileResult& file, const Failure& failure, std::string_view indent) {
  std::string out = fmt::format("{}{}: {}\n", indent, place(file, failure.origin), failure.message);
  size_t width = 0;
  for (const auto& [text, value] : failure.parts)
    width = std::max(width, std::min<size_t>(text.size(), 40));
  for (const auto& [text, value] : failure.parts)
    out += fmt::format("{}  {:<{}}  {}\n", indent, text, width, value);
  return out;
}

std::string painted(std::string_view text, std::string_view code, bool colour) {
  return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

std::string duration(double ms) {
  return ms < 1000 ? fmt::format("{:.0f} ms", ms) : fmt::format("{:.1f} s", ms / 1000);
}

// `#` ends a description in TAP, unless it is escaped.
std::string tap_name(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '#' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string all_details(const FileResult& file, const TestResult& test) {
  std::string out;
  for (const Failure& f : test.failures) out += details(file, f, "");
  for (const std::string& line : test.logged) out += "log: " + line + "\n";
  return out;
}

}  // namespace

std::string human(const FileResult& file, bool colour) {
  if (!file.error.empty())
    return fmt::format("{} {}\n    {}\n", painted("✗", "31", colour), file.path, file.error);
  std::string out = file.path + "\n";
  for (const TestResult& t : file.tests) {
    out += fmt::format("  {} {}  {}\n",
                       t.passed() ? painted("✓", "32", colour) : painted("✗", "31", colour), t.name,
                       painted(duration(t.ms), "2", colour));
    for (const Failure& f : t.failures) out += details(file, f, "      ");
    if (!t.passed()) {
      for (const std::string& line : t.logged) out += "      log: " + line + "\n";
    }
  }
  return out;
}

std::string human_summary(const std::vector<FileResult>& files) {
  size_t tests = 0;
  size_t failed = 0;
  size_t broken = 0;
  double ms = 0;
  for (const FileResult& f : files) {
    broken += !f.error.empty();
    tests += f.tests.size();
    for (const TestResult& t : f.tests) failed += !t.passed(), ms += t.ms;
  }
  std::string out = fmt::format("{} test{}", tests, tests == 1 ? "" : "s");
  out += failed == 0 ? ", all passed" : fmt::format(", {} failed", failed);
  if (tests == 0) out = "no tests";
  if (broken > 0)
    out += fmt::format("; {} file{} cannot be tested", broken, broken == 1 ? "" : "s");
  return out + " (" + duration(ms) + ")\n";
}

std::string tap(const std::vector<FileResult>& files) {
  size_t n = 0;
  std::string body;
  for (const FileResult& file : files) {
    if (!file.error.empty())
      body += fmt::format("not ok {} - {}: {}\n", ++n, tap_name(file.path), tap_name(file.error));
    for (const TestResult& t : file.tests) {
      body += fmt::format("{}ok {} - {}: {} # time={:.1f}ms\n", t.passed() ? "" : "not ", ++n,
                          tap_name(file.path), tap_name(t.name), t.ms);
      if (t.passed()) continue;
      body += "  ---\n  message: |\n";
      const std::string all = all_details(file, t);
      for (size_t at = 0; at < all.size();) {
        const size_t end = all.find('\n', at);
        body += "    " + all.substr(at, end - at) + "\n";
        at = end == std::string::npos ? all.size() : end + 1;
      }
      body += "  ...\n";
    }
  }
  return fmt::format("TAP version 14\n1..{}\n", n) + body;
}

std::string junit(const std::vector<FileResult>& files) {
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";
  for (const FileResult& file : files) {
    const size_t failed = static_cast<size_t>(std::count_if(
        file.tests.begin(), file.tests.end(), [](const TestResult& t) { return !t.passed(); }));
    double ms = 0;
    for (const TestResult& t : file.tests) ms += t.ms;
    const bool broken = !file.error.empty();
    out += fmt::format(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3f}\">\n",
        xml_attribute(file.path), file.tests.size() + broken, failed, broken ? 1 : 0, ms / 1000);
    if (broken) {
      out += fmt::format(
          "    <testcase name=\"check\" classname=\"{0}\"><error message=\"{1}\"/></testcase>\n",
          xml_attribute(file.path), xml_attribute(file.error));
    }
    for (const TestResult& t : file.tests) {
      out +=
          fmt::format("    <testcase name=\"{}\" classname=\"{}\" line=\"{}\" time=\"{:.3f}\"",
                      xml_attribute(t.name), xml_attribute(file.path), t.origin.line, t.ms / 1000);
      if (t.passed()) {
        out += "/>\n";
      } else {
        out +=
            fmt::format(">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                        xml_attribute(t.failures.front().message), xml_text(all_details(file, t)));
      }
    }
    out += "  </testsuite>\n";
  }
  return out + "</testsuites>\n";
}

std::string json_lines(const std::vector<FileResult>& files) {
  std::string out;
  for (const FileResult& file : files) {
    if (!file.error.empty()) {
      JsonWriter json;
      json.begin_object();
      json.key("file"), json.string(file.path);
      json.key("error"), json.string(file.error);
      json.end_object();
      out += std::move(json).take() + "\n";
    }
    for (const TestResult& t : file.tests) {
      JsonWriter json;
      json.begin_object();
      json.key("file"), json.string(file.path);
      json.key("name"), json.string(t.name);
      json.key("line"), json.integer(t.origin.line);
      json.key("passed"), json.boolean(t.passed());
      json.key("ms"), json.number(t.ms);
      json.key("virtual_ms"), json.integer(t.virtual_ms);
      json.key("failures"), json.begin_array();
      for (const Failure& f : t.failures) {
        json.begin_object();
        json.key("line"), json.integer(f.origin.line);
        json.key("message"), json.string(f.message);
        json.key("parts"), json.begin_array();
        for (const auto& [text, value] : f.parts) {
          json.begin_object();
          json.key("text"), json.string(text);
          json.key("value"), json.string(value);
          json.end_object();
        }
        json.end_array();
        json.end_object();
      }
      json.end_array();
      json.end_object();
      out += std::move(json).take() + "\n";
    }
  }
  return out;
}

}  // namespace kflow::testing
