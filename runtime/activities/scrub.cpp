// Looking for secrets in texts, URLs, JSON and event streams.
#include "runtime/activities/scrub.hpp"

#include <algorithm>
#include <map>

#include "compiler/base/json.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::activities {

using cel::Value;

namespace {

// Parameters of URLs and forms, and fields of JSON, whose values nobody else may have.
constexpr std::string_view parameters[] = {
    "key",    "api_key", "apikey", "api-key",       "token", "access_token", "auth",  "password",
    "passwd", "secret",  "appid",  "client_secret", "sig",   "signature",    "crumb", "sessionid",
};
// A shorter value is hardly one: `?key=title`.
constexpr size_t min_parameter_bytes = 8;
constexpr std::string_view fields[] = {"access_token",  "refresh_token", "id_token",
                                       "client_secret", "session_token", "api_key",
                                       "apikey",        "password"};

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '~';
}

std::string percent_encoded(std::string_view s) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : s) {
    if (unreserved(c)) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(digits[static_cast<unsigned char>(c) >> 4]);
      out.push_back(digits[static_cast<unsigned char>(c) & 15]);
    }
  }
  return out;
}

// `a=b&c=d` without the values of those parameters.
std::string without_parameters(std::string_view query) {
  std::string out;
  while (true) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const size_t equal = pair.find('=');
    const bool private_one =
        equal != std::string_view::npos && pair.size() - equal > min_parameter_bytes &&
        std::ranges::find(parameters, lower(pair.substr(0, equal))) != std::end(parameters);
    if (private_one) {
      out += std::string(pair.substr(0, equal + 1)) + std::string(hidden);
    } else {
      out += pair;
    }
    if (end == query.size()) return out;
    out.push_back('&');
    query.remove_prefix(end + 1);
  }
}

bool looks_like_a_form(std::string_view s) {
  return s.find('=') != std::string_view::npos && std::all_of(s.begin(), s.end(), [](char c) {
           return unreserved(c) || c == '=' || c == '&' || c == '%' || c == '+' || c == '*';
         });
}

// `"access_token": "…"` of JSON, wherever it stands.
void hide_fields(std::string& s) {
  for (const std::string_view field : fields) {
    const std::string name = "\"" + std::string(field) + "\"";
    for (size_t at = 0; (at = s.find(name, at)) != std::string::npos;) {
      at += name.size();
      size_t value = s.find_first_not_of(" \t\r\n", at);
      if (value == std::string::npos || s[value] != ':') continue;
      value = s.find_first_not_of(" \t\r\n", value + 1);
      if (value == std::string::npos || s[value] != '"') continue;
      size_t end = value + 1;
      while (end < s.size() && s[end] != '"') end += s[end] == '\\' ? 2 : 1;
      if (end >= s.size()) return;
      s.replace(value + 1, end - value - 1, hidden);
      at = value + 1 + hidden.size();
    }
  }
}

/// A text of an event, and what it belongs to: the same place of the same part of the answer.
struct Piece {
  size_t event = 0;
  std::string place;
  std::string text;
  bool changed = false;
};

void collect(const Value& v, size_t event, const std::string& place, std::vector<Piece>& out) {
  if (v.kind() == cel::Kind::string) {
    out.push_back({event, place, std::string(v.as_string())});
  } else if (v.kind() == cel::Kind::list) {
    for (const Value& item : v.as_list()) collect(item, event, place + "[]", out);
  } else if (v.kind() == cel::Kind::map) {
    std::string part = place;
    for (const char* name :
         {"type", "index", "output_index", "content_index", "summary_index", "item_id"}) {
      const Value* x = v.find(name);
      if (x != nullptr) part += "," + cel::to_json(*x);
    }
    for (const cel::MapEntry& e : v.as_map())
      collect(e.value, event, part + "." + std::string(e.key.as_string()), out);
  }
}

void write(const Value& v, std::vector<Piece>::const_iterator& next, JsonWriter& out) {
  if (v.kind() == cel::Kind::string) {
    out.string((next++)->text);
  } else if (v.kind() == cel::Kind::list) {
    out.begin_array();
    for (const Value& item : v.as_list()) write(item, next, out);
    out.end_array();
  } else if (v.kind() == cel::Kind::map) {
    out.begin_object();
    for (const cel::MapEntry& e : v.as_map()) {
      out.key(e.key.as_string());
      write(e.value, next, out);
    }
    out.end_object();
  } else {
    out.raw(cel::to_json(v));
  }
}

// Takes a secret out of texts that belong one after another.
bool hide_across(std::vector<Piece*>& row, const std::string& secret) {
  std::string whole;
  for (const Piece* p : row) whole += p->text;
  bool found = false;
  for (size_t at; (at = whole.find(secret)) != std::string::npos;) {
    found = true;
    size_t begin = 0;
    size_t left = secret.size();
    bool said = false;
    for (Piece* p : row) {
      const size_t size = p->text.size();
      if (left > 0 && at < begin + size) {
        const size_t from = at > begin ? at - begin : 0;
        const size_t n = std::min(left, size - from);
        p->text.replace(from, n, said ? "" : hidden);
        p->changed = said = true;
        left -= n;
        at += n;
      }
      begin += size;
    }
    whole.clear();
    for (const Piece* p : row) whole += p->text;
  }
  return found;
}

}  // namespace

void Scrubber::add(const std::string& secret) {
  if (secret.size() < min_secret_bytes || std::ranges::find(secrets_, secret) != secrets_.end())
    return;
  secrets_.push_back(secret);
  std::string escaped;
  append_json_string(escaped, secret);
  std::string base64 = cel::base64_encode(secret);
  while (base64.ends_with('=')) base64.pop_back();
  // The last characters of base64 depend on what follows.
  if (base64.size() > min_secret_bytes + 2) base64.resize(base64.size() - 1);
  for (std::string form :
       {secret, escaped.substr(1, escaped.size() - 2), percent_encoded(secret), base64}) {
    if (std::ranges::find(forms_, form) == forms_.end()) forms_.push_back(std::move(form));
  }
  // A secret may hold another: the longer one goes first.
  std::ranges::sort(forms_, [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

std::string Scrubber::text(std::string_view text) const {
  std::string out(text);
  for (const std::string& form : forms_) {
    for (size_t at = 0; (at = out.find(form, at)) != std::string::npos; at += hidden.size())
      out.replace(at, form.size(), hidden);
  }
  return out;
}

std::string Scrubber::url(std::string_view url) const {
  std::string out = text(url);
  if (const size_t scheme = out.find("://"); scheme != std::string::npos) {
    const size_t path = std::min(out.find_first_of("/?#", scheme + 3), out.size());
    const size_t at = out.rfind('@', path);
    if (at != std::string::npos && at > scheme) out.erase(scheme + 3, at - scheme - 2);
  }
  const size_t query = out.find('?');
  if (query == std::string::npos) return out;
  const size_t end = std::min(out.find('#', query), out.size());
  return out.substr(0, query + 1) +
         without_parameters(std::string_view(out).substr(query + 1, end - query - 1)) +
         out.substr(end);
}

std::string Scrubber::body(std::string_view body) const {
  std::string out = text(body);
  if (looks_like_a_form(out)) return without_parameters(out);
  hide_fields(out);
  return secrets_.empty() ? out : whole_texts(out);
}

// Servers give back what they are told, a few letters at a time: in the events of a stream, or in
// the parts of a document.
std::string Scrubber::whole_texts(const std::string& body) const {
  struct Event {
    size_t begin = 0;  ///< of its JSON in the body
    size_t end = 0;
    Value value;
  };
  std::vector<Event> events;
  std::vector<Piece> pieces;
  const size_t first = std::min(body.find_first_not_of(" \t\r\n"), body.size());
  const bool document = first < body.size() && (body[first] == '{' || body[first] == '[');
  if (document) {
    if (auto v = cel::from_json(body)) {
      collect(*v, 0, "", pieces);
      events.push_back({0, body.size(), std::move(*v)});
    }
  }
  for (size_t line = 0; !document && line < body.size();) {
    const size_t end = std::min(body.find_first_of("\r\n", line), body.size());
    if (std::string_view(body).substr(line).starts_with("data:")) {
      const size_t begin = std::min(end, body.find_first_not_of(' ', line + 5));
      if (auto v = cel::from_json(std::string_view(body).substr(begin, end - begin))) {
        collect(*v, events.size(), "", pieces);
        events.push_back({begin, end, std::move(*v)});
      }
    }
    line = end + 1;
  }
  std::map<std::string, std::vector<Piece*>> rows;
  for (Piece& p : pieces) rows[p.place].push_back(&p);
  bool found = false;
  for (auto& [place, row] : rows) {
    for (const std::string& secret : secrets_) found = hide_across(row, secret) || found;
  }
  if (!found) return body;
  std::string out;
  size_t copied = 0;
  auto piece = pieces.cbegin();
  for (size_t i = 0; i < events.size(); ++i) {
    const auto begin = piece;
    bool changed = false;
    for (; piece != pieces.cend() && piece->event == i; ++piece) changed |= piece->changed;
    if (!changed) continue;
    out.append(body, copied, events[i].begin - copied);
    auto next = begin;
    JsonWriter json;
    write(events[i].value, next, json);
    out += json.take();
    copied = events[i].end;
  }
  return out + body.substr(copied);
}

}  // namespace kflow::activities
