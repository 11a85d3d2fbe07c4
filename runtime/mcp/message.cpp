// Reading and writing of messages.
#include "runtime/mcp/message.hpp"

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::mcp {

using cel::Kind;
using cel::Value;

const Value* member(const Value& v, std::string_view key) {
  return v.kind() == Kind::map ? v.find(key) : nullptr;
}
std::string text_member(const Value& v, std::string_view key) {
  const Value* x = member(v, key);
  return x != nullptr && x->kind() == Kind::string ? std::string(x->as_string()) : "";
}
bool flag_member(const Value& v, std::string_view key, bool fallback) {
  const Value* x = member(v, key);
  return x != nullptr && x->kind() == Kind::boolean ? x->as_bool() : fallback;
}

namespace {

bool is_id(const Value* v) {
  return v != nullptr && (v->kind() == Kind::int_ || v->kind() == Kind::string);
}

Result<Message> read(const Value& v) {
  const auto wrong = [](const char* what) {
    return fail(ErrorCode::invalid_argument, std::string("no JSON-RPC message: ") + what);
  };
  if (v.kind() != Kind::map) return wrong("not an object");
  if (text_member(v, "jsonrpc") != "2.0") return wrong("`jsonrpc` is not \"2.0\"");
  Message out;
  const Value* id = member(v, "id");
  if (is_id(id)) out.id = *id;
  if (const Value* method = member(v, "method")) {
    if (method->kind() != Kind::string) return wrong("`method` is no text");
    if (id != nullptr && !is_id(id)) return wrong("`id` is neither a number nor a text");
    out.method = method->as_string();
    out.kind = id == nullptr ? Message::Kind::notification : Message::Kind::request;
    if (const Value* params = member(v, "params")) out.params = *params;
    return out;
  }
  if (const Value* error = member(v, "error")) {
    out.kind = Message::Kind::error;
    const Value* code = member(*error, "code");
    out.code = code != nullptr && code->kind() == Kind::int_ ? code->as_int() : 0;
    out.text = text_member(*error, "message");
    if (const Value* data = member(*error, "data")) out.content = *data;
    return out;
  }
  const Value* result = member(v, "result");
  if (result == nullptr) return wrong("neither `method` nor `result` nor `error`");
  if (!is_id(id)) return wrong("a result without an `id`");
  out.kind = Message::Kind::result;
  out.content = *result;
  return out;
}

void head(JsonWriter& out) {
  out.begin_object();
  out.key("jsonrpc"), out.string("2.0");
}
void tail(JsonWriter& out, std::string_view method, const Value& params) {
  out.key("method"), out.string(method);
  if (!params.is_null()) out.key("params"), out.raw(cel::to_json(params));
  out.end_object();
}

}  // namespace

Result<std::vector<Message>> parse_messages(std::string_view text) {
  auto v = cel::from_json(text);
  if (!v) return std::unexpected(std::move(v).error());
  std::vector<Message> out;
  if (v->kind() != Kind::list) {
    auto one = read(*v);
    if (!one) return std::unexpected(std::move(one).error());
    out.push_back(std::move(*one));
    return out;
  }
  if (v->as_list().empty() || v->as_list().size() > max_batch)
    return fail(ErrorCode::invalid_argument, "a batch of no or too many messages");
  for (const Value& item : v->as_list()) {
    auto one = read(item);
    if (!one) return std::unexpected(std::move(one).error());
    out.push_back(std::move(*one));
  }
  return out;
}

std::string request_text(int64_t id, std::string_view method, const Value& params) {
  JsonWriter out;
  head(out);
  out.key("id"), out.integer(id);
  tail(out, method, params);
  return out.take();
}
std::string notification_text(std::string_view method, const Value& params) {
  JsonWriter out;
  head(out);
  tail(out, method, params);
  return out.take();
}
std::string result_text(const Value& id, const Value& result) {
  JsonWriter out;
  head(out);
  out.key("id"), out.raw(cel::to_json(id));
  out.key("result"), out.raw(cel::to_json(result));
  out.end_object();
  return out.take();
}
std::string error_text(const Value& id, int64_t code, std::string_view message) {
  JsonWriter out;
  head(out);
  out.key("id"), out.raw(cel::to_json(id));
  out.key("error");
  out.begin_object();
  out.key("code"), out.integer(code);
  out.key("message"), out.string(message);
  out.end_object();
  out.end_object();
  return out.take();
}

}  // namespace kflow::mcp
