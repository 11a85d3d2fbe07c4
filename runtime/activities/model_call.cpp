// Calls of models: the dialect's bytes over the HTTP worker, the environment's endpoint and key.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "compiler/base/utf8.hpp"
#include "runtime/activities/transfer.hpp"

namespace kflow::activities {

using cel::Value;
using conversation::ModelRequest;

namespace {

constexpr int64_t octets_a_token = 4;

// What is said of the provider, of the model and of the declaration, the later winning; the limits
// of each hold.
ModelEndpoint endpoint_of(const Options& options, const conversation::ModelSpec& spec,
                          GateList& gates) {
  ModelEndpoint out;
  for (const std::string& key : {spec.provider, spec.provider + "/" + spec.id, spec.name}) {
    const auto it = options.models.find(key);
    if (key.empty() || it == options.models.end()) continue;
    const ModelEndpoint& e = it->second;
    if (!e.base_url.empty()) out.base_url = e.base_url;
    if (!e.api_key_variable.empty()) out.api_key_variable = e.api_key_variable;
    out.headers.insert(out.headers.end(), e.headers.begin(), e.headers.end());
    if (!e.proxy.empty()) out.proxy = e.proxy;
    if (e.timeout_ms > 0) out.timeout_ms = e.timeout_ms;
    if (e.idle_timeout_ms > 0) out.idle_timeout_ms = e.idle_timeout_ms;
    if (e.stream) out.stream = e.stream;
    if (e.previous_response_id) out.previous_response_id = e.previous_response_id;
    if (!e.structured_output.empty()) out.structured_output = e.structured_output;
    if (e.price) out.price = e.price;
    const Limits limits{.requests_per_minute = e.requests_per_minute,
                        .tokens_per_minute = e.tokens_per_minute,
                        .concurrent = e.concurrent};
    if (limits.any()) gates.emplace_back(key, limits);
  }
  if (!spec.base_url.empty()) out.base_url = spec.base_url;
  if (!options.models_url.empty())
    out.base_url = options.models_url + (spec.provider.starts_with("openai") ? "/v1" : "");
  while (out.base_url.ends_with('/')) out.base_url.pop_back();
  return out;
}

models::Endpoint::Typed typed_of(const std::string& way) {
  return way == "json"     ? models::Endpoint::Typed::json
         : way == "prompt" ? models::Endpoint::Typed::prompt
                           : models::Endpoint::Typed::schema;
}

// `${NAME}` in a header of kflow.yaml is the secret or environment variable of that name.
std::optional<ActivityError> fill_in(std::string& value, const Options& options) {
  for (size_t at = 0; (at = value.find("${", at)) != std::string::npos;) {
    const size_t end = value.find('}', at);
    if (end == std::string::npos) return std::nullopt;
    const std::string name = value.substr(at + 2, end - at - 2);
    const auto secret = options.secret ? options.secret(name) : std::nullopt;
    if (!secret && !options.tape) {
      return ActivityError{.kind = "model",
                           .code = "no_key",
                           .message = fmt::format("a header of the model's endpoint in kflow.yaml "
                                                  "needs `{0}`: set the environment variable {0}",
                                                  name)};
    }
    value.replace(at, end - at + 1, secret.value_or(""));
    at += secret.value_or("").size();
  }
  return std::nullopt;
}

std::string key_variable(const conversation::ModelSpec& spec, const ModelEndpoint& endpoint,
                         const models::Dialect& dialect) {
  if (!spec.api_key.empty()) return spec.api_key;
  if (!endpoint.api_key_variable.empty()) return endpoint.api_key_variable;
  return std::string(dialect.key_variable());
}

// A server of one's own mostly wants none; a tape never does.
bool needs_key(const conversation::ModelSpec& spec, const ModelEndpoint& endpoint,
               const Options& options) {
  const bool local =
      !endpoint.base_url.empty() && spec.api_key.empty() && endpoint.api_key_variable.empty();
  return !local && options.models_url.empty() && !options.tape;
}

ActivityError no_key(const conversation::ModelSpec& spec, std::string_view variable) {
  return {
      .kind = "model",
      .code = "no_key",
      .message = fmt::format(
          "no key for the model `{}/{}`: set the environment variable {}. Without a key, a local "
          "model does: `model local {{ provider: \"openai_chat\" id: \"llama3.2\" base_url: "
          "\"http://localhost:11434/v1\" }}`; or a recorded run: `--replay TAPE`",
          spec.provider, spec.id, variable)};
}

double cost(const ModelPrice& p, const conversation::Usage& u) {
  const auto fresh = static_cast<double>(
      std::max<int64_t>(0, u.input_tokens - u.cached_input_tokens - u.cache_write_tokens));
  return (fresh * p.input +
          static_cast<double>(u.cached_input_tokens) * p.cached_input.value_or(p.input) +
          static_cast<double>(u.cache_write_tokens) * p.cache_write.value_or(p.input) +
          static_cast<double>(u.output_tokens) * p.output) /
         1e6;
}

ActivityError to_error(const models::ModelError& e, const conversation::ModelSpec& spec) {
  return {.kind = "model",
          .code = e.code,
          .message = fmt::format("{}/{}: {}", spec.provider, spec.id, e.message),
          .status = e.status,
          .retryable = e.retryable,
          .retry_after_ms = e.retry_after_ms};
}

// How long it may take, and the way there.
void set_call_options(Transfer& t) {
  set_options(t, "POST", false);
  const ModelEndpoint& e = t.model->endpoint;
  const auto or_else = [](int64_t ms, int64_t otherwise) {
    return static_cast<long>(ms > 0 ? ms : otherwise);
  };
  curl_easy_setopt(t.easy, CURLOPT_TIMEOUT_MS, or_else(e.timeout_ms, default_model_timeout_ms));
  if (e.stream.value_or(true)) {
    // Whoever streams says something now and then.
    curl_easy_setopt(t.easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(t.easy, CURLOPT_LOW_SPEED_TIME,
                     std::max(1L, or_else(e.idle_timeout_ms, default_model_idle_ms) / 1000));
  }
  if (!e.proxy.empty()) curl_easy_setopt(t.easy, CURLOPT_PROXY, e.proxy.c_str());
  curl_easy_setopt(t.easy, CURLOPT_USERAGENT, "kflow/" KFLOW_VERSION);
}

}  // namespace

std::string wanted_key(const conversation::ModelSpec& spec, const Options& options) {
  GateList gates;
  const ModelEndpoint endpoint = endpoint_of(options, spec, gates);
  const models::Dialect* dialect = models::find_dialect(spec.provider);
  if (dialect == nullptr || !needs_key(spec, endpoint, options)) return "";
  std::string variable = key_variable(spec, endpoint, *dialect);
  const bool set = options.secret && !options.secret(variable).value_or("").empty();
  return set ? "" : variable;
}

std::optional<ActivityError> prepare_model(Transfer& t, const Options& options) {
  const ModelRequest& request = *t.request.model;
  const conversation::ModelSpec& spec = request.model;
  t.model = std::make_unique<ModelCall>();
  ModelCall& call = *t.model;
  call.dialect = models::find_dialect(spec.provider);
  if (call.dialect == nullptr) {
    return ActivityError{.kind = "model",
                         .code = "provider",
                         .message = fmt::format("no provider `{}`", spec.provider)};
  }
  call.endpoint = endpoint_of(options, spec, call.gates);
  if (t.request.priced && !call.endpoint.price) {
    return ActivityError{.kind = "budget",
                         .code = "unknown_price",
                         .message = fmt::format(
                             "there is a budget in money, and the price of `{0}/{1}` is not known: "
                             "say it in kflow.yaml under models: {0}/{1}: price",
                             spec.provider, spec.id)};
  }
  models::Endpoint endpoint{.base_url = call.endpoint.base_url,
                            .api_key = "",
                            .headers = call.endpoint.headers,
                            .stream = call.endpoint.stream.value_or(true),
                            .typed = typed_of(call.endpoint.structured_output),
                            .kept = call.endpoint.previous_response_id.value_or(false),
                            .whole = t.whole};
  for (auto& [name, value] : endpoint.headers) {
    if (auto error = fill_in(value, options)) return error;
  }
  const std::string variable = key_variable(spec, call.endpoint, *call.dialect);
  // Whoever stands there instead has no business with it.
  if (options.secret && options.models_url.empty())
    endpoint.api_key = options.secret(variable).value_or("");
  if (endpoint.api_key.empty() && needs_key(spec, call.endpoint, options))
    return no_key(spec, variable);

  const bool files = has_files(request);
  ModelRequest shown;
  ModelRequest loaded;
  if (files) {
    shown = with_files_of_tools(request);
    loaded = shown;
    if (auto error = load_files(loaded, options)) return error;
  }
  auto wire = call.dialect->encode(files ? loaded : request, endpoint);
  if (files && wire && options.tape) {
    if (auto named = call.dialect->encode(with_names_of_files(shown), endpoint))
      t.tape_body = std::move(named->body);
  }
  if (!wire) {
    return ActivityError{
        .kind = "model", .code = "invalid_request", .message = wire.error().message};
  }
  t.method = "POST";
  t.url = std::move(wire->url);
  // A tape is the same wherever the provider was reached.
  const std::string base =
      endpoint.base_url.empty() ? std::string(call.dialect->default_base_url()) : endpoint.base_url;
  t.tape_url = std::string(call.dialect->default_base_url()) + t.url.substr(base.size());
  t.body = std::move(wire->body);
  for (const auto& [name, value] : wire->headers) {
    if (!header_is_safe(name + value)) {
      return ActivityError{
          .kind = "model",
          .code = "invalid_request",
          .message = fmt::format("the header `{}` contains characters it cannot have", name)};
    }
    t.headers = curl_slist_append(t.headers, (name + ": " + value).c_str());
  }
  t.headers = curl_slist_append(t.headers, "Expect:");
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, t.body.data());
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t.body.size()));
  call.estimate =
      static_cast<int64_t>(t.body.size()) / octets_a_token + spec.max_output_tokens.value_or(0);
  call.reader = call.dialect->reader(endpoint.stream);
  set_call_options(t);
  return std::nullopt;
}

bool is_forgotten(const Transfer& t) {
  return t.model && !t.whole && t.model->endpoint.previous_response_id.value_or(false) &&
         t.status != 200 && t.model->dialect->forgot(static_cast<int>(t.status), t.answer);
}

std::variant<Value, ActivityError> model_outcome(Transfer& t) {
  ModelCall& call = *t.model;
  const conversation::ModelSpec& spec = t.request.model->model;
  if (t.status != 200) {
    models::Headers headers(t.answer_headers.begin(), t.answer_headers.end());
    models::ModelError error = call.dialect->error(static_cast<int>(t.status), headers, t.answer);
    if (error.retryable && error.retry_after_ms == 0) error.retry_after_ms = retry_after_ms(t);
    ActivityError out = to_error(error, spec);
    bound_wait(out);
    return out;
  }
  auto answer = call.reader->finish();
  if (!answer) {
    ActivityError out = to_error(answer.error(), spec);
    bound_wait(out);
    return out;
  }
  if (call.endpoint.price) answer->usd = cost(*call.endpoint.price, answer->usage);
  for (conversation::Part& p : answer->message.parts) {
    p.text = replace_invalid_utf8(p.text);
    p.arguments = replace_invalid_utf8(p.arguments);
  }
  return conversation::to_value(*answer);
}

int64_t retry_after_ms(const Transfer& t) {
  const models::Headers headers(t.answer_headers.begin(), t.answer_headers.end());
  if (const int64_t said = models::retry_after_ms(headers); said > 0) return said;
  const auto it = t.answer_headers.find("retry-after");
  if (it == t.answer_headers.end()) return 0;
  const time_t when = curl_getdate(it->second.c_str(), nullptr);
  if (when < 0) return 0;
  return std::max<int64_t>(
      0, (static_cast<int64_t>(when) - static_cast<int64_t>(::time(nullptr))) * 1000);
}

void bound_wait(ActivityError& error) {
  if (!error.retryable || error.retry_after_ms <= models::max_retry_after_ms) return;
  error.retryable = false;
  error.message += fmt::format("; it asks to wait {} minutes, and at most {} are waited",
                               error.retry_after_ms / 60'000, models::max_retry_after_ms / 60'000);
  error.retry_after_ms = 0;
}

}  // namespace kflow::activities
