// JSON objects and forms → fields.
#include "runtime/server/body.hpp"

#include <algorithm>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/server/options.hpp"

namespace kflow::server {
namespace {

using Fields = std::vector<Field>;
using Parsed = std::variant<Fields, Problem>;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// `form-data; name="a"; filename="b"` → the parameter's value, unquoted; "" if it is not there.
std::string parameter(std::string_view header, std::string_view wanted) {
  size_t at = header.find(';');
  while (at != std::string_view::npos) {
    ++at;
    while (at < header.size() && header[at] == ' ') ++at;
    const size_t equal = header.find('=', at);
    if (equal == std::string_view::npos) return "";
    const std::string name = lower(trimmed(header.substr(at, equal - at)));
    std::string value;
    size_t i = equal + 1;
    if (i < header.size() && header[i] == '"') {
      for (++i; i < header.size() && header[i] != '"'; ++i) {
        if (header[i] == '\\' && i + 1 < header.size() && header[i + 1] == '"') ++i;
        value.push_back(header[i]);
      }
      at = header.find(';', i);
    } else {
      at = header.find(';', i);
      value = trimmed(header.substr(i, at == std::string_view::npos ? at : at - i));
    }
    if (name == wanted) return value;
  }
  return "";
}

Parsed bad(int status, std::string detail) { return Problem{status, std::move(detail)}; }

Parsed from_json_body(std::string_view body) {
  auto value = cel::from_json(body);
  if (!value) return bad(400, "the body is not JSON: " + value.error().message);
  if (value->kind() != cel::Kind::map) return bad(422, "the body must be a JSON object of fields");
  if (value->as_map().size() > max_fields)
    return bad(422, "the body has more than " + std::to_string(max_fields) + " fields");
  Fields out;
  for (const cel::MapEntry& e : value->as_map())
    out.push_back({.name = std::string(e.key.as_string()), .value = e.value, .typed = true});
  return out;
}

Parsed from_form(std::string_view body) {
  auto pairs = parse_form(body);
  if (!pairs) return bad(400, "the form is not urlencoded as it should be");
  if (pairs->size() > max_fields)
    return bad(422, "the form has more than " + std::to_string(max_fields) + " fields");
  Fields out;
  for (auto& [name, value] : *pairs) {
    if (find_invalid_utf8(name) != std::string::npos ||
        find_invalid_utf8(value) != std::string::npos)
      return bad(400, "the form is not UTF-8");
    out.push_back({.name = std::move(name), .value = cel::Value::string(std::move(value))});
  }
  return out;
}

// One part: headers, an empty line, the content. False: it is malformed.
bool add_part(std::string_view part, Fields& out, std::string& problem) {
  const size_t head_end = part.find("\r\n\r\n");
  if (head_end == std::string_view::npos) return false;
  std::string_view head = part.substr(0, head_end);
  const std::string_view content = part.substr(head_end + 4);
  Field field;
  bool named = false;
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return false;
    const std::string name = lower(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (name == "content-disposition") {
      field.name = parameter(value, "name");
      field.file_name = parameter(value, "filename");
      named = !field.name.empty();
      field.file = lower(value).find("filename=") != std::string::npos;
    } else if (name == "content-type") {
      field.media_type = value;
    }
  }
  if (!named || find_invalid_utf8(field.name) != std::string::npos ||
      find_invalid_utf8(field.file_name) != std::string::npos)
    return false;
  if (field.file) {
    field.value = cel::Value::bytes(content);
  } else if (find_invalid_utf8(content) != std::string::npos) {
    problem = "the field `" + field.name + "` is not UTF-8";
    return false;
  } else {
    field.value = cel::Value::string(content);
  }
  out.push_back(std::move(field));
  return true;
}

Parsed from_multipart(std::string_view content_type, std::string_view body) {
  const std::string boundary = parameter(content_type, "boundary");
  if (boundary.empty() || boundary.size() > 70)
    return bad(400, "the multipart body has no `boundary` of 1 to 70 characters");
  const std::string delimiter = "--" + boundary;
  Fields out;
  size_t at = body.find(delimiter);
  if (at == std::string_view::npos)
    return bad(400, "the multipart body does not hold its boundary");
  for (;;) {
    at += delimiter.size();
    if (body.substr(at, 2) == "--") return out;
    if (body.substr(at, 2) != "\r\n") return bad(400, "the multipart body is malformed");
    at += 2;
    const size_t end = body.find("\r\n" + delimiter, at);
    if (end == std::string_view::npos) return bad(400, "the multipart body does not end");
    if (out.size() >= max_fields)
      return bad(422, "the form has more than " + std::to_string(max_fields) + " fields");
    std::string problem = "a part of the multipart body is malformed";
    if (!add_part(body.substr(at, end - at), out, problem)) return bad(400, problem);
    at = end + 2;
  }
}

}  // namespace

Parsed parse_body(std::string_view content_type, std::string_view body) {
  const std::string type =
      lower(trimmed(content_type.substr(0, std::min(content_type.find(';'), content_type.size()))));
  if (body.empty() && type != "multipart/form-data") return Fields();
  if (type == "application/json" || type.ends_with("+json")) return from_json_body(body);
  if (type == "application/x-www-form-urlencoded") return from_form(body);
  if (type == "multipart/form-data") return from_multipart(content_type, body);
  return bad(415, (type.empty() ? std::string("the body has no Content-Type")
                                : "bodies of `" + type + "` are not read") +
                      "; send application/json, application/x-www-form-urlencoded or "
                      "multipart/form-data");
}

}  // namespace kflow::server
