// Finding routes, checking parameters.
#include "runtime/server/router.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::server {
namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const size_t end = std::min(path.find('/'), path.size());
    out.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return out;
}

std::optional<int64_t> integer_of(std::string_view text) {
  int64_t n = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), n);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || text.empty())
    return std::nullopt;
  return n;
}

// What is wrong with it; "": nothing, and `value` is of the parameter's type.
std::string convert(const Parameter& p, cel::Value& value, bool typed) {
  const bool is_text = value.kind() == cel::Kind::string;
  switch (p.type) {
    case Type::text: {
      if (!is_text) return "must be a string";
      const std::string_view text = value.as_string();
      if (text.size() > p.max_bytes) return fmt::format("has at most {} bytes", p.max_bytes);
      if (text.find('\0') != std::string_view::npos) return "holds a zero character";
      if (p.required && text.empty()) return "must not be empty";
      if (!p.choices.empty() && !text.empty() &&
          std::ranges::find(p.choices, text) == p.choices.end())
        return fmt::format("is one of {}", fmt::join(p.choices, ", "));
      return "";
    }
    case Type::integer: {
      if (is_text) {
        const auto n = integer_of(value.as_string());
        if (!n) return "must be an integer";
        value = cel::Value::integer(*n);
      }
      if (value.kind() != cel::Kind::int_) return "must be an integer";
      if (value.as_int() < p.min || value.as_int() > p.max)
        return value.as_int() < p.min && p.max == largest_integer
                   ? fmt::format("is at least {}", p.min)
                   : fmt::format("is {} to {}", p.min, p.max);
      return "";
    }
    case Type::boolean: {
      if (is_text) {
        const std::string text = lower(value.as_string());
        if (text == "true" || text == "1") value = cel::Value::boolean(true);
        if (text == "false" || text == "0") value = cel::Value::boolean(false);
      }
      return value.kind() == cel::Kind::boolean ? "" : "must be true or false";
    }
    case Type::json:
    case Type::object: {
      if (is_text && (!typed || p.type == Type::object)) {
        auto json = cel::from_json(value.as_string());
        if (!json) return "is not JSON: " + json.error().message;
        value = std::move(*json);
      }
      return p.type == Type::object && value.kind() != cel::Kind::map ? "must be an object" : "";
    }
    case Type::moment: {
      if (is_text) {
        if (const auto n = integer_of(value.as_string())) {
          value = cel::Value::integer(*n);
        } else {
          const auto t = cel::parse_timestamp(value.as_string());
          if (!t) return "is a time: RFC 3339, or seconds since 1970";
          value = cel::Value::integer(t->seconds);
        }
      }
      if (value.kind() != cel::Kind::int_) return "is a time: RFC 3339, or seconds since 1970";
      // Milliseconds, if it is that large.
      const int64_t n = value.as_int();
      constexpr int64_t most = 253'402'300'800'000;
      if (n < 0 || n > most) return "is a time: RFC 3339, or seconds since 1970";
      if (n < 100'000'000'000) value = cel::Value::integer(n * 1000);
      return "";
    }
  }
  return "";
}

class Filler {
 public:
  Filler(Call& call, const Route& route) : call_(call), route_(route) {}
  Problem problem{422, "", {}};

  void put(In in, const std::string& name, cel::Value value, bool typed) {
    const auto it = std::ranges::find_if(
        route_.parameters, [&](const Parameter& p) { return p.in == in && p.name == name; });
    if (it == route_.parameters.end()) return unknown(in, name);
    if (it->many && value.kind() == cel::Kind::string) {
      std::string_view text = value.as_string();
      while (!text.empty()) {
        const size_t end = std::min(text.find(','), text.size());
        add(*it, cel::Value::string(text.substr(0, end)), typed);
        text.remove_prefix(std::min(end + 1, text.size()));
      }
      return;
    }
    if (call_.has(name) && !it->many) return wrong(name, "is given more than once");
    // Null is as good as nothing.
    if (value.is_null() && it->type != Type::json) return;
    add(*it, std::move(value), typed);
  }

  void finish() {
    for (const Parameter& p : route_.parameters) {
      if (p.required && !call_.has(p.name) && !failed_.contains(std::string(p.name)))
        wrong(std::string(p.name), "is missing");
    }
    if (problem.errors.empty()) return;
    for (const auto& [path, message] : problem.errors)
      problem.detail += (problem.detail.empty() ? "`" : "; `") + path + "` " + message;
  }

 private:
  void add(const Parameter& p, cel::Value value, bool typed) {
    std::string what = convert(p, value, typed);
    if (!what.empty()) return wrong(std::string(p.name), std::move(what));
    call_.values[std::string(p.name)].push_back(std::move(value));
  }
  void wrong(const std::string& name, std::string what) {
    failed_.insert(name);
    problem.errors.emplace_back(name, std::move(what));
  }
  void unknown(In in, const std::string& name) {
    std::vector<std::string> names;
    for (const Parameter& p : route_.parameters) {
      if (p.in == in) names.emplace_back(p.name);
    }
    const std::string hint = names.empty() ? std::string("; it takes none")
                                           : fmt::format("; there are {}", fmt::join(names, ", "));
    wrong(replace_invalid_utf8(name.substr(0, 100)),
          (in == In::query ? "is no query parameter of this route" : "is no field of this route") +
              hint);
  }

  Call& call_;
  const Route& route_;
  std::set<std::string> failed_;
};

}  // namespace

const cel::Value* Call::value(std::string_view name) const {
  const auto it = values.find(name);
  return it == values.end() || it->second.empty() ? nullptr : &it->second.front();
}
std::string Call::text(std::string_view name, std::string_view otherwise) const {
  const cel::Value* v = value(name);
  return std::string(v == nullptr ? otherwise : v->as_string());
}
int64_t Call::integer(std::string_view name, int64_t otherwise) const {
  const cel::Value* v = value(name);
  return v == nullptr ? otherwise : v->as_int();
}
bool Call::flag(std::string_view name, bool otherwise) const {
  const cel::Value* v = value(name);
  return v == nullptr ? otherwise : v->as_bool();
}

void Router::add(Route route) {
  auto parts = split(route.pattern);
  routes_.push_back({std::make_unique<Route>(std::move(route)), std::move(parts)});
}

Router::Match Router::match(std::string_view method, std::string_view target) const {
  Match out;
  const std::string_view path = target.substr(0, std::min(target.find('?'), target.size()));
  std::vector<std::string> segments;
  for (const std::string_view part : split(path)) {
    auto decoded = percent_decode(part, false);
    // A name is one segment: nothing climbs out of it.
    if (!decoded || find_invalid_utf8(*decoded) != std::string::npos) {
      out.problem = Problem{400, "the path is not percent-encoded UTF-8"};
      return out;
    }
    segments.push_back(std::move(*decoded));
  }
  std::set<std::string_view> methods;
  for (const auto& [route, wanted] : routes_) {
    if (wanted.size() != segments.size()) continue;
    std::vector<std::pair<std::string_view, std::string>> captured;
    bool fits = true;
    for (size_t i = 0; i < wanted.size() && fits; ++i) {
      if (wanted[i].starts_with('{')) {
        captured.emplace_back(wanted[i].substr(1, wanted[i].size() - 2), segments[i]);
        fits = !segments[i].empty();
      } else {
        fits = wanted[i] == segments[i];
      }
    }
    if (!fits) continue;
    methods.insert(route->method);
    if (route->method != method && !(method == "HEAD" && route->method == "GET")) continue;
    if (out.route != nullptr && out.captured.size() <= captured.size()) continue;
    out.route = route.get();
    out.captured = std::move(captured);
  }
  if (out.route != nullptr) return out;
  if (methods.contains("GET")) methods.insert("HEAD");
  out.allow = fmt::format("{}", fmt::join(methods, ", "));
  if (methods.empty()) {
    out.problem = Problem{404, "there is nothing at this path; /openapi.json lists what there is"};
  } else {
    out.problem = Problem{405, "this path takes " + out.allow};
  }
  return out;
}

std::optional<Problem> Router::fill(Call& call, const Match& match) const {
  Filler filler(call, *match.route);
  for (const auto& [name, value] : match.captured) {
    if (value.find('\0') != std::string::npos || value.size() > 4096)
      return Problem{404, "there is nothing of that name"};
    call.values[std::string(name)] = {cel::Value::string(value)};
  }
  const size_t question = call.request.target.find('?');
  if (question != std::string::npos) {
    auto query = parse_form(std::string_view(call.request.target).substr(question + 1));
    if (!query) return Problem{400, "the query is not percent-encoded as it should be"};
    for (auto& [name, value] : *query) {
      if (find_invalid_utf8(name + value) != std::string::npos)
        return Problem{400, "the query is not UTF-8"};
      filler.put(In::query, name, cel::Value::string(std::move(value)), false);
    }
  }
  for (const Parameter& p : match.route->parameters) {
    if (p.in != In::header) continue;
    const std::string* header = call.request.header(lower(p.name));
    if (header == nullptr || header->empty()) continue;
    if (find_invalid_utf8(*header) != std::string::npos)
      return Problem{400, fmt::format("the header {} is not UTF-8", p.name)};
    filler.put(In::header, std::string(p.name), cel::Value::string(*header), false);
  }
  const bool takes_body = match.route->files ||
                          std::ranges::any_of(match.route->parameters,
                                              [](const Parameter& p) { return p.in == In::body; });
  if (takes_body || !call.request.body.empty()) {
    const std::string* type = call.request.header("content-type");
    auto fields = parse_body(type == nullptr ? "" : *type, call.request.body);
    if (auto* problem = std::get_if<Problem>(&fields)) return std::move(*problem);
    for (Field& field : std::get<std::vector<Field>>(fields)) {
      if (field.file && match.route->files) {
        call.files.push_back(std::move(field));
      } else if (field.file) {
        return Problem{422, "this route takes no files"};
      } else {
        filler.put(In::body, field.name, std::move(field.value), field.typed);
      }
    }
  }
  filler.finish();
  if (!filler.problem.errors.empty()) return std::move(filler.problem);
  return std::nullopt;
}

}  // namespace kflow::server
