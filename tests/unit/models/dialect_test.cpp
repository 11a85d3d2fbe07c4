// Every provider's answers, whole, streamed and cut anywhere; requests as they are sent.
#include <map>

#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/providers.hpp"
#include "runtime/models/dialects.hpp"
#include "runtime/models/media.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"

using namespace kflow;
using namespace kflow::models;
using conversation::ModelAnswer;
using conversation::PartKind;

namespace {

constexpr std::string_view providers[] = {"openai", "openai_chat", "anthropic", "gemini"};

struct Outcome {
  std::expected<ModelAnswer, ModelError> answer;
  std::string text, reasoning;
};

Outcome read(std::string_view provider, std::string_view body, bool stream,
             std::vector<size_t> cuts) {
  const auto reader = find_dialect(provider)->reader(stream);
  std::vector<Delta> deltas;
  size_t from = 0;
  cuts.push_back(body.size());
  for (const size_t cut : cuts) {
    reader->feed(body.substr(from, cut - from), deltas);
    from = cut;
  }
  Outcome out{.answer = reader->finish()};
  for (const Delta& d : deltas) {
    if (d.kind == Delta::Kind::text) out.text += d.text;
    if (d.kind == Delta::Kind::reasoning) out.reasoning += d.text;
  }
  return out;
}

cel::Value json(const std::string& text) { return *cel::from_json(text); }

std::string texts(const ModelAnswer& a, PartKind kind) {
  std::string out;
  for (const auto& p : a.message.parts) {
    if (p.kind == kind) out += p.text;
  }
  return out;
}

const std::string full =
    R"({"text":"Grüße — 你好 \"quoted\"\nnew line","reasoning":"let me think","calls":[)"
    R"({"name":"add","arguments":{"a":1,"b":[2,3]}},{"name":"find_it","arguments":{"q":"x \"y\""}}]})";

}  // namespace

TEST_CASE("a full answer: streamed, not streamed, and cut at every byte") {
  for (const std::string_view provider : providers) {
    INFO(provider);
    const std::string plain = test::model_body(provider, json(full), false);
    const std::string stream = test::model_body(provider, json(full), true);
    const Outcome whole = read(provider, stream, true, {});
    REQUIRE(whole.answer);
    const ModelAnswer& a = *whole.answer;
    CHECK(texts(a, PartKind::text) == "Grüße — 你好 \"quoted\"\nnew line");
    CHECK(whole.text == texts(a, PartKind::text));
    CHECK(texts(a, PartKind::reasoning) == "let me think");
    CHECK(whole.reasoning == "let me think");
    CHECK(a.stop == conversation::StopReason::tool_calls);
    CHECK(a.usage.input_tokens == 12);
    CHECK(a.usage.cached_input_tokens == 3);
    CHECK(a.usage.output_tokens == 7);
    std::vector<std::pair<std::string, cel::Value>> calls;
    for (const auto& p : a.message.parts) {
      if (p.kind != PartKind::tool_call) continue;
      CHECK_FALSE(p.id.empty());
      calls.emplace_back(p.name, json(p.arguments));
    }
    REQUIRE(calls.size() == 2);
    CHECK(calls[0].first == "add");
    CHECK(calls[0].second == json(R"({"a":1,"b":[2,3]})"));
    CHECK(calls[1].second == json(R"({"q":"x \"y\""})"));

    // Chat Completions sends no reasoning in what is not streamed.
    const Outcome direct = read(provider, plain, false, {});
    REQUIRE(direct.answer);
    CHECK(texts(*direct.answer, PartKind::text) == texts(a, PartKind::text));
    CHECK(direct.answer->usage == a.usage);

    const cel::Value expected = conversation::to_value(a);
    for (size_t cut = 1; cut < stream.size(); ++cut) {
      const Outcome pieces = read(provider, stream, true, {cut});
      if (!pieces.answer || conversation::to_value(*pieces.answer) != expected ||
          pieces.text != whole.text)
        FAIL(provider << " cut at " << cut);
    }
    std::vector<size_t> everywhere;
    for (size_t cut = 1; cut < stream.size(); ++cut) everywhere.push_back(cut);
    const Outcome bytes = read(provider, stream, true, everywhere);
    REQUIRE(bytes.answer);
    CHECK(conversation::to_value(*bytes.answer) == expected);
  }
}

TEST_CASE("an answer that breaks off anywhere is no answer") {
  for (const std::string_view provider : providers) {
    INFO(provider);
    const std::string stream = test::model_body(provider, json(full), true);
    const Outcome whole = read(provider, stream, true, {});
    REQUIRE(whole.answer);
    const cel::Value expected = conversation::to_value(*whole.answer);
    for (size_t end = 0; end < stream.size(); ++end) {
      const Outcome cut = read(provider, stream.substr(0, end), true, {});
      // What only lacks its last empty lines may be complete; then it is the whole answer. The
      // usage of Chat Completions comes after the end of the message.
      if (cut.answer) {
        ModelAnswer a = *cut.answer;
        a.usage = whole.answer->usage;
        if (conversation::to_value(a) != expected) FAIL(provider << " cut at " << end);
      } else if (!cut.answer.error().retryable) {
        FAIL(provider << " cut at " << end << ": " << cut.answer.error().message);
      }
    }
    const std::string plain = test::model_body(provider, json(full), false);
    for (size_t end = 0; end < plain.size(); ++end)
      CHECK_FALSE(read(provider, plain.substr(0, end), false, {}).answer);
  }
}

TEST_CASE("bytes that are no answer give an error") {
  uint64_t seed = 42;
  const auto random = [&] { return seed = seed * 6364136223846793005ULL + 1442695040888963407ULL; };
  for (const std::string_view provider : providers) {
    const std::string stream = test::model_body(provider, json(full), true);
    for (int round = 0; round < 300; ++round) {
      std::string bad = stream;
      for (int i = 0; i < 5; ++i)
        bad[(random() >> 33) % bad.size()] = static_cast<char>(random() >> 56);
      const Outcome out = read(provider, bad, true, {bad.size() / 2});
      if (!out.answer) CHECK_FALSE(out.answer.error().message.empty());
      (void)read(provider, bad, false, {});
    }
    CHECK_FALSE(read(provider, std::string(1000, '\0'), true, {}).answer);
    CHECK_FALSE(read(provider, "", true, {}).answer);
    CHECK_FALSE(read(provider, "data: [1,2]\n\n", true, {}).answer);
    const std::string huge = "data: \"" + std::string(max_event_bytes, 'x');
    const Outcome large = read(provider, huge, true, {});
    REQUIRE_FALSE(large.answer);
    CHECK(large.answer.error().code == "malformed");
  }
}

TEST_CASE("why an answer ended") {
  for (const std::string_view provider : providers) {
    INFO(provider);
    for (const bool stream : {true, false}) {
      const Outcome cut = read(
          provider, test::model_body(provider, json(R"({"text":"and","stop":"length"})"), stream),
          stream, {});
      REQUIRE(cut.answer);
      CHECK(cut.answer->stop == conversation::StopReason::length);
      if (provider == "openai_chat") continue;  // it says no in words
      const Outcome no = read(
          provider, test::model_body(provider, json(R"({"text":"no","stop":"refusal"})"), stream),
          stream, {});
      REQUIRE(no.answer);
      CHECK((no.answer->stop == conversation::StopReason::refusal ||
             no.answer->stop == conversation::StopReason::content_filter));
    }
  }
}

TEST_CASE("errors of providers are told apart") {
  struct Case {
    std::string_view provider;
    int status;
    std::string body;
    std::string code;
    bool retryable;
  };
  const Case cases[] = {
      {"openai", 401, R"({"error":{"code":"invalid_api_key","message":"Incorrect API key"}})",
       "auth", false},
      {"openai", 429, R"({"error":{"code":"rate_limit_exceeded","message":"Rate limit reached"}})",
       "rate_limit", true},
      {"openai", 429,
       R"({"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}})",
       "quota", false},
      {"openai", 400, R"({"error":{"code":"context_length_exceeded","message":"too long"}})",
       "context_length", false},
      {"openai", 404, R"({"error":{"code":"model_not_found","message":"no such model"}})",
       "not_found", false},
      {"openai", 500, "oops", "server", true},
      {"openai_chat", 400, R"({"error":"this model's maximum context length is 4096 tokens"})",
       "context_length", false},
      {"openai_chat", 503, "", "overloaded", true},
      {"openai_chat", 400, R"({"error":{"code":"content_filter","message":"filtered"}})",
       "content_filter", false},
      {"anthropic", 529,
       R"({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}})",
       "overloaded", true},
      {"anthropic", 400,
       R"({"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens"}})",
       "context_length", false},
      {"anthropic", 400,
       R"({"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}})",
       "quota", false},
      {"anthropic", 401,
       R"({"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}})",
       "auth", false},
      {"gemini", 400,
       R"({"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid"}})",
       "auth", false},
      {"gemini", 429,
       R"({"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Too many requests"}})",
       "rate_limit", true},
      {"gemini", 400, R"({"error":{"code":400,"status":"INVALID_ARGUMENT","message":"bad field"}})",
       "invalid_request", false},
  };
  for (const Case& c : cases) {
    INFO(c.provider << " " << c.status << " " << c.body);
    const ModelError e = find_dialect(c.provider)->error(c.status, {{"retry-after", "7"}}, c.body);
    CHECK(e.code == c.code);
    CHECK(e.retryable == c.retryable);
    CHECK(e.retry_after_ms == (c.retryable ? 7000 : 0));
    CHECK_FALSE(e.message.empty());
  }
  // In the middle of a stream.
  const Outcome a = read("anthropic",
                         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_"
                         "error\",\"message\":\"Overloaded\"}}\n\n",
                         true, {});
  REQUIRE_FALSE(a.answer);
  CHECK(a.answer.error().code == "overloaded");
  const Outcome o = read(
      "openai",
      R"(data: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}})"
      "\n\n",
      true, {});
  REQUIRE_FALSE(o.answer);
  CHECK(o.answer.error().code == "server");
}

TEST_CASE("requests: the whole conversation in each provider's form") {
  conversation::ModelRequest r{
      .model = {.provider = "openai", .id = "m", .temperature = 0.5, .max_output_tokens = 100},
      .system = "Be kind."};
  r.messages.push_back(conversation::user_text("hi"));
  r.messages.push_back(
      {.role = conversation::Role::assistant,
       .parts = {
           {.kind = PartKind::text, .text = "I look"},
           {.kind = PartKind::tool_call, .id = "c1", .name = "add", .arguments = R"({"a":1})"}}});
  r.messages.push_back(
      {.role = conversation::Role::tool,
       .parts = {{.kind = PartKind::tool_result, .text = "2", .id = "c1", .name = "add"}}});
  r.tools.push_back(
      {.name = "add",
       .description = "Adds.",
       .schema =
           R"({"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"type":"integer","default":0}},"required":["a"],"additionalProperties":false})"});
  const Endpoint endpoint{
      .base_url = "", .api_key = "KEY", .headers = {{"X-A", "b"}}, .stream = true};
  const std::map<std::string, std::string> expected{{"openai",
                                                     R"j({"model":"m","instructions":"Be kind.","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look"}]},{"type":"function_call","call_id":"c1","name":"add","arguments":"{\"a\":1}"},{"type":"function_call_output","call_id":"c1","output":"2"}],"tools":[{"type":"function","name":"add","description":"Adds.","parameters":{"type":"object","properties":{"a":{"type":"integer","description":"(minimum 1)"},"b":{"anyOf":[{"type":"integer"},{"type":"null"}]}},"required":["a","b"],"additionalProperties":false},"strict":true}],"temperature":0.5,"max_output_tokens":100,"store":false,"stream":true})j"},
                                                    {"openai_chat",
                                                     R"({"model":"m","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"hi"},{"role":"assistant","content":"I look","tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"2"}],"tools":[{"type":"function","function":{"name":"add","description":"Adds.","parameters":{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"type":"integer"}},"required":["a"],"additionalProperties":false}}}],"temperature":0.5,"max_completion_tokens":100,"stream":true,"stream_options":{"include_usage":true}})"},
                                                    {"anthropic",
                                                     R"({"model":"m","max_tokens":100,"system":[{"type":"text","text":"Be kind.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":[{"type":"text","text":"I look"},{"type":"tool_use","id":"c1","name":"add","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"2","cache_control":{"type":"ephemeral"}}]}],"tools":[{"name":"add","description":"Adds.","input_schema":{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"type":"integer"}},"required":["a"],"additionalProperties":false},"cache_control":{"type":"ephemeral"}}],"tool_choice":{"type":"auto"},"temperature":0.5,"stream":true})"},
                                                    {"gemini",
                                                     R"({"systemInstruction":{"parts":[{"text":"Be kind."}]},"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"I look"},{"functionCall":{"id":"c1","name":"add","args":{"a":1}}}]},{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"add","response":{"result":"2"}}}]}],"tools":[{"functionDeclarations":[{"name":"add","description":"Adds.","parametersJsonSchema":{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"type":"integer"}},"required":["a"],"additionalProperties":false}}]}],"generationConfig":{"temperature":0.5,"maxOutputTokens":100}})"}};
  for (const std::string_view provider : providers) {
    INFO(provider);
    const auto wire = find_dialect(provider)->encode(r, endpoint);
    REQUIRE(wire);
    CHECK(wire->body == expected.at(std::string(provider)));
    CHECK(wire->url.starts_with("https://"));
    std::string headers;
    for (const auto& [k, v] : wire->headers) headers += k + ": " + v + "\n";
    CHECK(headers.find("KEY") != std::string::npos);
    CHECK(headers.find("X-A: b") != std::string::npos);
    CHECK(wire->body.find("KEY") == std::string::npos);
    CHECK(wire->url.find("KEY") == std::string::npos);
  }
}

TEST_CASE("typed answers and images are asked for in each provider's way") {
  conversation::ModelRequest r{.model = {.provider = "x", .id = "m"}};
  r.messages.push_back(
      {.role = conversation::Role::user,
       .parts = {{.kind = PartKind::text, .text = "what?"},
                 {.kind = PartKind::media, .media_type = "image/png", .data = "abc"}}});
  r.output_name = "Plan";
  r.output_schema =
      R"({"$schema":"s","type":"object","properties":{"t":{"type":"string"}},"required":["t"],"additionalProperties":false})";
  const auto body = [&](std::string_view provider) {
    return find_dialect(provider)->encode(r, {}).value().body;
  };
  CHECK(body("openai").find(
            R"("text":{"format":{"type":"json_schema","name":"Plan","schema":{"type":"object")") !=
        std::string::npos);
  CHECK(body("openai").find(R"("image_url":"data:image/png;base64,YWJj")") != std::string::npos);
  CHECK(body("openai_chat").find(R"("response_format":{"type":"json_schema")") !=
        std::string::npos);
  CHECK(body("anthropic").find(R"("name":"give_answer")") != std::string::npos);
  CHECK(body("anthropic").find(R"("tool_choice":{"type":"any"})") != std::string::npos);
  CHECK(body("anthropic")
            .find(R"("source":{"type":"base64","media_type":"image/png","data":"YWJj"})") !=
        std::string::npos);
  CHECK(body("gemini").find(R"("responseJsonSchema":{"type":"object")") != std::string::npos);
  // The answer that is given by a tool is a text like any other.
  const std::string stream = test::model_body(
      "anthropic", json(R"({"calls":[{"name":"give_answer","arguments":{"t":"x"}}]})"), true);
  const Outcome out = read("anthropic", stream, true, {});
  REQUIRE(out.answer);
  CHECK(conversation::text_of(out.answer->message) == R"({"t":"x"})");
  CHECK(out.answer->stop == conversation::StopReason::end);
  CHECK(out.text == R"({"t":"x"})");
}

TEST_CASE("an option is refused by those providers of which the compiler says so") {
  conversation::ModelRequest request;
  request.messages.push_back(conversation::user_text("x"));
  for (const std::string_view provider : providers) {
    for (const ir::ProviderOption& option : ir::provider_options) {
      INFO(provider << " " << option.name);
      request.model = {.provider = std::string(provider), .id = "x", .name = ""};
      if (option.name == "seed") request.model.seed = 7;
      if (option.name == "stop") request.model.stop = {"END"};
      CHECK(find_dialect(provider)->encode(request, {}).has_value() == option.offered_by(provider));
    }
  }
}

TEST_CASE("servers that speak Chat Completions a little differently") {
  // No index, no id, arguments as an object, no [DONE], no usage.
  const Outcome a =
      read("openai_chat",
           "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":"
           "\"f\",\"arguments\":{\"a\":1}}}]}}]}\n\n"
           "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
           true, {});
  REQUIRE(a.answer);
  REQUIRE(a.answer->message.parts.size() == 1);
  CHECK(a.answer->message.parts[0].name == "f");
  CHECK(a.answer->message.parts[0].arguments == R"({"a":1})");
  CHECK_FALSE(a.answer->message.parts[0].id.empty());
  // Comments and carriage returns.
  const Outcome b =
      read("openai_chat",
           ": OPENROUTER PROCESSING\r\n\r\ndata: "
           "{\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}"
           "\r\n\r\n",
           true, {});
  REQUIRE(b.answer);
  CHECK(conversation::text_of(b.answer->message) == "hi");
}

TEST_CASE("what each provider is told beside text") {
  for (const std::string_view provider : providers) {
    INFO(provider);
    CHECK(takes_media(provider, "image/png"));
    CHECK(takes_media(provider, "application/pdf"));
    CHECK_FALSE(takes_media(provider, "application/zip"));
    CHECK(media_taken(provider).find("PDF") != std::string_view::npos);
  }
  CHECK(takes_media("gemini", "video/mp4"));
  CHECK_FALSE(takes_media("anthropic", "audio/mpeg"));
  CHECK_FALSE(takes_media("nobody", "image/png"));
  conversation::ModelRequest r{.model = {.provider = "x", .id = "m"}};
  r.messages.push_back(
      {.role = conversation::Role::user,
       .parts = {{.kind = PartKind::media, .media_type = "audio/wav", .data = "abc"},
                 {.kind = PartKind::media,
                  .media_type = "application/pdf",
                  .data = "abc",
                  .filename = "a.pdf"}}});
  const auto body = [&](std::string_view provider) {
    return find_dialect(provider)->encode(r, {}).value().body;
  };
  CHECK(body("openai_chat")
            .find(R"({"type":"input_audio","input_audio":{"data":"YWJj","format":"wav"}})") !=
        std::string::npos);
  CHECK(
      body("openai_chat")
          .find(
              R"({"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,YWJj"}})") !=
      std::string::npos);
  CHECK(
      body("openai").find(
          R"({"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,YWJj"})") !=
      std::string::npos);
  CHECK(
      body("anthropic")
          .find(
              R"({"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"YWJj"},"title":"a.pdf"})") !=
      std::string::npos);
  CHECK(body("gemini").find(R"({"inlineData":{"mimeType":"audio/wav","data":"YWJj"}})") !=
        std::string::npos);
}
