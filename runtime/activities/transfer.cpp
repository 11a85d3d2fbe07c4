// An exchange while it is under way: what curl is told of it, and the pieces that come.
#include "runtime/activities/transfer.hpp"

#include "compiler/base/utf8.hpp"

namespace kflow::activities {
namespace {

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  if (t.status == 0) curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &t.status);
  if (t.saved) t.wanted = expected_status(t.request.input, t.status);
  return t.take({data, size * count}) ? size * count : 0;
}

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  std::string_view line(data, size * count);
  t.header_bytes += line.size();
  if (t.header_bytes > max_header_bytes) {
    t.headers_too_large = true;
    return 0;
  }
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // of a redirect or an interim answer
    t.answer_headers.clear();
    t.status = 0;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size * count;
  std::string_view value = line.substr(colon + 1);
  while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
  std::string& held = t.answer_headers[lower(line.substr(0, colon))];
  held += (held.empty() ? "" : ", ") + replace_invalid_utf8(value);
  return size * count;
}

}  // namespace

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

void set_options(Transfer& t, const std::string& method, bool follow) {
  CURL* e = t.easy;
  if (method == "HEAD") curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
  // A method that curl is told by name is kept across redirects. A POST must not be, as what a
  // 301, 302 or 303 points to is to be read (RFC 9110 §15.4); curl knows one by its body.
  if (method != "POST") curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(e, CURLOPT_URL, t.url.c_str());
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, t.headers);
  curl_easy_setopt(e, CURLOPT_PRIVATE, &t);
  curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t.error);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, &t);
  curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(e, CURLOPT_HEADERDATA, &t);
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, follow ? 1L : 0L);
  curl_easy_setopt(e, CURLOPT_MAXREDIRS, static_cast<long>(max_redirects));
  curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(http_connect_timeout_ms));
  curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, static_cast<long>(default_http_timeout_ms));
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
}

bool Transfer::take(std::string_view bytes) {
  if (saved && wanted) return save_piece(*this, bytes);
  if (saved) {  // what a server says of an error
    answer.append(bytes.substr(0, max_error_body - std::min(max_error_body, answer.size())));
    return true;
  }
  const bool refused = model && status != 200;
  const size_t most = refused ? max_error_body : static_cast<size_t>(max_bytes);
  if (answer.size() + bytes.size() > most) {
    too_large = true;
    return false;
  }
  // Kept of a model's answer too: for the tape, and it is bounded.
  answer.append(bytes);
  if (!model || refused) return true;
  model->reader->feed(bytes, model->deltas);
  // Pieces of one kind that came together go on together.
  std::string text;
  bool reasoning = false;
  const auto flush = [&] {
    if (!text.empty() && on_delta) on_delta(request.token, reasoning, std::move(text));
    text.clear();
  };
  for (models::Delta& d : model->deltas) {
    if (d.kind != models::Delta::Kind::text && d.kind != models::Delta::Kind::reasoning) continue;
    const bool thought = d.kind == models::Delta::Kind::reasoning;
    if (thought != reasoning) flush();
    reasoning = thought;
    text += d.text;
  }
  flush();
  model->deltas.clear();
  return true;
}

}  // namespace kflow::activities
