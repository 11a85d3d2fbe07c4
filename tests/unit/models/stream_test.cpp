// Streams as the providers send them, cut anywhere; and all that a stream should not be.
#include "compiler/cel/value_codec.hpp"
#include "runtime/models/dialects.hpp"
#include "runtime/models/wire.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::models;
using conversation::ModelAnswer;
using conversation::PartKind;

namespace {

struct Outcome {
  std::expected<ModelAnswer, ModelError> answer;
  std::string text, reasoning;
};

Outcome read(std::string_view provider, std::string_view body, bool stream = true,
             size_t cut = SIZE_MAX, size_t step = SIZE_MAX) {
  const auto reader = find_dialect(provider)->reader(stream);
  std::vector<Delta> deltas;
  for (size_t from = 0; from < body.size();) {
    const size_t n = from == 0 && cut != SIZE_MAX ? cut : std::min(step, body.size() - from);
    reader->feed(body.substr(from, n), deltas);
    from += n;
  }
  Outcome out{.answer = reader->finish()};
  for (const Delta& d : deltas) {
    if (d.kind == Delta::Kind::text) out.text += d.text;
    if (d.kind == Delta::Kind::reasoning) out.reasoning += d.text;
  }
  return out;
}

std::string code(const Outcome& o) { return o.answer ? "" : o.answer.error().code; }
std::string message(const Outcome& o) { return o.answer ? "" : o.answer.error().message; }

// As recorded: ids shortened, everything else as it was sent, with events that nobody reads.
const std::string responses_stream =
    R"(event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1764000000,"status":"in_progress","error":null,"model":"gpt-5.2","output":[],"usage":null}}

event: response.in_progress
data: {"type":"response.in_progress","sequence_number":1,"response":{"id":"resp_1","status":"in_progress","output":[]}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}

event: response.reasoning_summary_part.added
data: {"type":"response.reasoning_summary_part.added","sequence_number":3,"item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","sequence_number":4,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"**Adding**"}

event: response.reasoning_summary_part.added
data: {"type":"response.reasoning_summary_part.added","sequence_number":5,"item_id":"rs_1","output_index":0,"summary_index":1,"part":{"type":"summary_text","text":""}}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","sequence_number":6,"item_id":"rs_1","output_index":0,"summary_index":1,"delta":"Prüfen …"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":7,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"Die Sum","logprobs":[],"obfuscation":"x7Gk"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":8,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"me: \"7\" \u20ac\n","logprobs":[]}

event: response.some_new_event
data: {"type":"response.some_new_event","sequence_number":9,"what":{"ever":[1,null]}}

event: response.completed
data: {"type":"response.completed","sequence_number":10,"response":{"id":"resp_1","object":"response","status":"completed","error":null,"incomplete_details":null,"model":"gpt-5.2-2025-12-11","output":[{"id":"rs_1","type":"reasoning","encrypted_content":"gAAAAAB","summary":[{"type":"summary_text","text":"**Adding**"},{"type":"summary_text","text":"Prüfen …"}]},{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":"Die Summe: \"7\" \u20ac\n"}]},{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_x","name":"add","arguments":"{\"a\":3,\"b\":4}"}],"usage":{"input_tokens":81,"input_tokens_details":{"cached_tokens":64},"output_tokens":40,"output_tokens_details":{"reasoning_tokens":12},"total_tokens":121}}}

)";

const std::string messages_stream =
    R"(event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-4-6","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":17,"cache_creation_input_tokens":0,"cache_read_input_tokens":64,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"**Adding**\n\nPrüfen …"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Die Sum"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"me: \"7\" €\n"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"new_delta","x":1}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"add","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":3,\""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"b\":4}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":40}}

event: message_stop
data: {"type":"message_stop"}

)";

const std::string chat_stream =
    ": OPENROUTER PROCESSING\n\n"
    R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4.1","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"reasoning":"**Adding**\n\nPrüfen …"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Die Sum"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"me: \"7\" €\n"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_x","type":"function","function":{"name":"add","arguments":""}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":3,"}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"b\":4}"}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":81,"completion_tokens":40,"total_tokens":121,"prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":12}}}

data: [DONE]

)";

const std::string gemini_stream =
    R"(data: {"candidates": [{"content": {"parts": [{"text": "**Adding**\n\nPrüfen …","thought": true}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 81,"totalTokenCount": 93,"cachedContentTokenCount": 64,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 81}],"thoughtsTokenCount": 12},"modelVersion": "gemini-3-pro","responseId": "r1"}

data: {"candidates": [{"content": {"parts": [{"text": "Die Sum"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 81,"cachedContentTokenCount": 64,"thoughtsTokenCount": 12},"responseId": "r1"}

data: {"candidates": [{"content": {"parts": [{"text": "me: \"7\" €\n"}],"role": "model"},"index": 0}],"responseId": "r1"}

data: {"candidates": [{"content": {"parts": [{"functionCall": {"name": "add","args": {"a": 3,"b": 4}},"thoughtSignature": "CiQB"}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 81,"candidatesTokenCount": 28,"totalTokenCount": 121,"cachedContentTokenCount": 64,"thoughtsTokenCount": 12},"modelVersion": "gemini-3-pro","responseId": "r1"}

)";

const std::vector<std::pair<std::string, std::string>> recorded{{"openai", responses_stream},
                                                                {"openai_chat", chat_stream},
                                                                {"anthropic", messages_stream},
                                                                {"gemini", gemini_stream}};

}  // namespace

TEST_CASE("recorded streams, cut at every byte, and into single bytes") {
  for (const auto& [provider, stream] : recorded) {
    INFO(provider);
    const Outcome whole = read(provider, stream);
    REQUIRE(whole.answer);
    const ModelAnswer& a = *whole.answer;
    CHECK(conversation::text_of(a.message) == "Die Summe: \"7\" €\n");
    CHECK(whole.text == "Die Summe: \"7\" €\n");
    CHECK(whole.reasoning == "**Adding**\n\nPrüfen …");
    REQUIRE(a.message.parts.size() == 3);
    CHECK(a.message.parts[0].kind == PartKind::reasoning);
    CHECK(a.message.parts[0].text == "**Adding**\n\nPrüfen …");
    CHECK(a.message.parts[2].name == "add");
    CHECK(read_json(a.message.parts[2].arguments) == read_json(R"({"a":3,"b":4})"));
    CHECK(a.stop == conversation::StopReason::tool_calls);
    CHECK(a.usage.input_tokens == 81);
    CHECK(a.usage.cached_input_tokens == 64);
    CHECK(a.usage.output_tokens == 40);
    CHECK(a.usage.reasoning_tokens == (provider == "anthropic" ? 0 : 12));
    const cel::Value expected = conversation::to_value(a);
    for (size_t cut = 1; cut < stream.size(); ++cut) {
      const Outcome pieces = read(provider, stream, true, cut);
      if (!pieces.answer || conversation::to_value(*pieces.answer) != expected ||
          pieces.text != whole.text || pieces.reasoning != whole.reasoning)
        FAIL(provider << " cut at " << cut);
    }
    const Outcome bytes = read(provider, stream, true, SIZE_MAX, 1);
    REQUIRE(bytes.answer);
    CHECK(conversation::to_value(*bytes.answer) == expected);
    // Asked not to stream, and streaming all the same.
    const Outcome unasked = read(provider, stream, false);
    REQUIRE(unasked.answer);
    CHECK(conversation::to_value(*unasked.answer) == expected);
  }
}

TEST_CASE("thinking goes back as it came") {
  conversation::ModelRequest r{.model = {.provider = "x", .id = "gemini-3-pro"}};
  r.messages.push_back(conversation::user_text("add"));
  const auto body = [&](std::string_view provider, const std::string& stream,
                        std::string_view of = "") {
    conversation::ModelRequest again = r;
    again.messages.push_back(read(of.empty() ? provider : of, stream).answer.value().message);
    return find_dialect(provider)->encode(again, {}).value().body;
  };
  CHECK(
      body("anthropic", messages_stream)
          .find(R"({"type":"thinking","thinking":"**Adding**\n\nPrüfen …","signature":"EqQB"})") !=
      std::string::npos);
  CHECK(body("openai", responses_stream).find(R"("encrypted_content":"gAAAAAB")") !=
        std::string::npos);
  CHECK(body("gemini", gemini_stream).find(R"("thoughtSignature":"CiQB")") != std::string::npos);
  // Of another provider it is left out; Gemini wants to be told that there is none.
  CHECK(body("anthropic", gemini_stream, "gemini").find("Adding") == std::string::npos);
  CHECK(body("gemini", messages_stream, "anthropic")
            .find(R"("thoughtSignature":"skip_thought_signature_validator")") != std::string::npos);
}

TEST_CASE("ends that come twice change nothing") {
  for (const auto& [provider, stream] : recorded) {
    INFO(provider);
    const cel::Value expected = conversation::to_value(*read(provider, stream).answer);
    const size_t last = stream.rfind(provider == "openai"      ? "event: response.completed"
                                     : provider == "anthropic" ? "event: message_stop"
                                                               : "data: [DONE]");
    if (last == std::string::npos) continue;
    const Outcome twice = read(provider, stream + stream.substr(last));
    REQUIRE(twice.answer);
    CHECK(conversation::to_value(*twice.answer) == expected);
  }
}

TEST_CASE("a stream that begins again is no answer") {
  for (const std::string provider : {"openai", "anthropic"}) {
    const std::string& stream = provider == "openai" ? responses_stream : messages_stream;
    const size_t middle = stream.find("\n\n", stream.size() / 2) + 2;
    const Outcome again = read(provider, stream.substr(0, middle) + stream);
    CHECK(code(again) == "malformed");
    CHECK(message(again).find("again") != std::string::npos);
  }
  std::string other = gemini_stream;
  while (other.find("r1") != std::string::npos) other.replace(other.find("r1"), 2, "q2");
  CHECK(code(read("gemini", gemini_stream.substr(0, 500 + gemini_stream.substr(500).find("\n\n")) +
                                "\n\n" + other)) == "malformed");
  CHECK(code(read("anthropic",
                  "data: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":"
                  "\"text_delta\",\"text\":\"x\"}}\n\n")) == "malformed");
}

TEST_CASE("answers that are none say what they are") {
  for (const auto& [provider, stream] : recorded) {
    for (const bool asked : {true, false}) {
      INFO(provider << " stream " << asked);
      const Outcome page = read(provider, " \n<!DOCTYPE html><html><body>Login</body>", asked);
      CHECK(code(page) == "malformed");
      CHECK(message(page).find("HTML") != std::string::npos);
      CHECK(message(page).find("base_url") != std::string::npos);
      CHECK(code(read(provider, "", asked)) == "incomplete");
      CHECK(message(read(provider, "  ", asked)).find("empty") != std::string::npos);
      CHECK(message(read(provider, "{}", asked)).find("form") != std::string::npos);
      CHECK(code(read(provider, "{\"choices\":[],\"content\":[],\"candidates\":[]}", asked)) ==
            "malformed");
      CHECK(code(read(provider, "upstream connect error", asked)).size() > 0);
      const Outcome error = read(
          provider,
          R"({"type":"error","error":{"type":"overloaded_error","code":"overloaded_error","status":"UNAVAILABLE","message":"Overloaded"}})",
          asked);
      CHECK(code(error) == "overloaded");
      CHECK(error.answer.error().retryable);
    }
    // Several megabytes in one event are read; more than may be is an error.
    CHECK(code(read(provider, "data: {\"type\":\"x\",\"y\":\"" + std::string(4 << 20, 'a') +
                                  "\"}\n\n" + stream)) == "");
    CHECK(code(read(provider, "data: {\"y\":\"" + std::string(max_event_bytes, 'a'))) ==
          "malformed");
    std::string endless;
    while (endless.size() <= max_answer_bytes) endless += ": " + std::string(1 << 20, 'c') + "\n";
    CHECK(message(read(provider, endless)).find("MiB") != std::string::npos);
  }
}

TEST_CASE("numbers of usage are not trusted") {
  const auto usage = [](const std::string& prompt, const std::string& out) {
    return read("openai_chat",
                R"({"choices":[{"index":0,"message":{"content":"x"},"finish_reason":)"
                R"("stop"}],"usage":{"prompt_tokens":)" +
                    prompt + ",\"completion_tokens\":" + out + "}}",
                false)
        .answer.value()
        .usage;
  };
  CHECK(usage("-5", "-1").input_tokens == 0);
  CHECK(usage("12.0", "1e3").input_tokens == 12);
  CHECK(usage("12.0", "1e3").output_tokens == 1000);
  CHECK(usage("9223372036854775807", "1e300").input_tokens == max_number);
  CHECK(usage("9223372036854775807", "1e300").output_tokens == max_number);
  CHECK(usage("\"many\"", "null").input_tokens == 0);
}

TEST_CASE("how long providers ask to wait") {
  const auto wait = [](Headers headers) { return retry_after_ms(headers); };
  CHECK(wait({{"Retry-After", "7"}}) == 7000);
  CHECK(wait({{"retry-after", "1.5"}}) == 1500);
  CHECK(wait({{"retry-after-ms", "250"}, {"retry-after", "9"}}) == 250);
  CHECK(wait({{"retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"},
              {"date", "Sun, 06 Nov 1994 08:49:37 GMT"}}) == 30'000);
  CHECK(wait({{"retry-after", "Sun, 06 Nov 1994 08:49:07 GMT"},
              {"date", "Sun, 06 Nov 1994 08:49:37 GMT"}}) == 0);
  for (const char* bad : {"-5", "nan", "soon", "5 apples", "", "0x10", "1e999"})
    CHECK(wait({{"retry-after", bad}}) == 0);
  CHECK(wait({{"retry-after", "99999999999999999999"}}) > max_retry_after_ms);
  CHECK(wait({{"x-ratelimit-remaining-requests", "3"},
              {"x-ratelimit-reset-requests", "1s"},
              {"x-ratelimit-remaining-tokens", "0"},
              {"x-ratelimit-reset-tokens", "6m0.5s"}}) == 360'500);
  CHECK(wait({{"anthropic-ratelimit-input-tokens-remaining", "0"},
              {"anthropic-ratelimit-input-tokens-reset", "1994-11-06T08:49:57Z"},
              {"date", "Sun, 06 Nov 1994 08:49:37 GMT"}}) == 20'000);
  CHECK(wait_said_in("Rate limit reached. Please try again in 5.289s. Visit …") == 5289);
  CHECK(wait_said_in("Please retry in 58.217843437s.") == 58'217);
  CHECK(wait_said_in("try again in 20ms") == 20);
  CHECK(wait_said_in("try again in 1m2s.") == 62'000);
  CHECK(wait_said_in("try again in 2 minutes") == 120'000);
  CHECK(wait_said_in("try again in a while") == 0);
  const ModelError google = find_dialect("gemini")->error(
      429, {},
      R"({"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current quota, please check your plan and billing details.","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"58s"}]}})");
  CHECK(google.code == "rate_limit");
  CHECK(google.retryable);
  CHECK(google.retry_after_ms == 58'000);
  const ModelError daily = find_dialect("gemini")->error(
      429, {},
      R"({"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"quota","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},{"retryDelay":"58s"}]}})");
  CHECK(daily.code == "quota");
  CHECK_FALSE(daily.retryable);
  const ModelError no = find_dialect("openai")->error(
      500, {{"x-should-retry", "false"}}, R"({"error":{"message":"no","code":"server_error"}})");
  CHECK_FALSE(no.retryable);
  CHECK(find_dialect("openai_chat")
            ->error(402, {}, R"({"error":{"code":402,"message":"Insufficient credits"}})")
            .code == "quota");
  CHECK(find_dialect("openai_chat")
            ->error(403, {}, R"({"error":{"code":403,"message":"Your input was flagged"}})")
            .code == "content_filter");
  CHECK(find_dialect("openai_chat")->error(403, {}, R"({"error":{"message":"no"}})").code ==
        "permission");
}

TEST_CASE("servers that speak Chat Completions in their own way") {
  const auto chat = [](const std::string& body) { return read("openai_chat", body, false); };
  // Mistral: a list of pieces. OpenRouter: what it cost. Groq: usage elsewhere. DeepSeek: cache.
  const Outcome mistral = chat(
      R"({"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"yes"}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"cost":0.25,"prompt_cache_hit_tokens":4}})");
  REQUIRE(mistral.answer);
  CHECK(conversation::text_of(mistral.answer->message) == "yes");
  CHECK(mistral.answer->message.parts[0].text == "hm");
  CHECK(mistral.answer->usd == 0.25);
  CHECK(mistral.answer->usage.cached_input_tokens == 4);
  const Outcome groq = read(
      "openai_chat",
      "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],"
      "\"x_groq\":{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}}\n\n");
  REQUIRE(groq.answer);
  CHECK(groq.answer->usage.input_tokens == 9);
  // Ollama: every call has the index 0.
  const Outcome ollama = read(
      "openai_chat",
      R"(data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"c1","index":0,"function":{"name":"a","arguments":"{}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"c2","index":0,"function":{"name":"b","arguments":"{}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

)");
  REQUIRE(ollama.answer);
  REQUIRE(ollama.answer->message.parts.size() == 2);
  CHECK(ollama.answer->message.parts[1].name == "b");
  // OpenRouter: an error in the middle of a stream.
  const Outcome broken = read("openai_chat",
                              R"(data: {"choices":[{"index":0,"delta":{"content":"half"}}]}

data: {"id":"gen-1","error":{"code":429,"message":"Rate limited upstream"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}

)");
  CHECK(code(broken) == "rate_limit");
  CHECK(
      code(chat(
          R"({"choices":[{"message":{"tool_calls":[{"index":9223372036854775807,"function":{"name":"a"}}]},"finish_reason":"stop"}]})")) ==
      "malformed");
  conversation::ModelRequest r{.model = {.provider = "openai_chat", .id = "m"}};
  r.messages.push_back(conversation::user_text("x"));
  r.output_name = "T";
  r.output_schema =
      R"({"type":"object","properties":{"t":{"type":"string"}},"required":["t"],"additionalProperties":false})";
  const auto body = [&](Endpoint::Typed typed) {
    return find_dialect("openai_chat")
        ->encode(r, {.base_url = "http://localhost/v1", .typed = typed})
        .value()
        .body;
  };
  CHECK(body(Endpoint::Typed::schema).find("json_schema") != std::string::npos);
  CHECK(body(Endpoint::Typed::json).find(R"("response_format":{"type":"json_object"})") !=
        std::string::npos);
  CHECK(body(Endpoint::Typed::prompt).find("response_format") == std::string::npos);
  CHECK(body(Endpoint::Typed::prompt).find("must fit this JSON Schema") != std::string::npos);
}

TEST_CASE("how hard to think, in each provider's words") {
  const auto body = [](std::string_view provider, std::string id, std::string effort,
                       bool typed = false) {
    conversation::ModelRequest r{.model = {.provider = std::string(provider),
                                           .id = std::move(id),
                                           .temperature = 0.5,
                                           .reasoning_effort = std::move(effort)}};
    r.messages.push_back(conversation::user_text("x"));
    if (typed) r.output_schema = R"({"type":"object","properties":{}})";
    return find_dialect(provider)->encode(r, {}).value().body;
  };
  const auto has = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(body("anthropic", "claude-sonnet-4-5-20250929", "low"), R"("max_tokens":10240,)"));
  CHECK(has(body("anthropic", "claude-sonnet-4-5-20250929", "low"),
            R"("thinking":{"type":"enabled","budget_tokens":2048})"));
  CHECK(has(body("anthropic", "claude-3-7-sonnet-latest", "high"), R"("budget_tokens":24576)"));
  CHECK(has(body("anthropic", "claude-opus-4-20250514", "high"), R"("type":"enabled")"));
  for (const char* id : {"claude-opus-4-6", "claude-opus-4-7", "claude-opus-5"}) {
    const std::string b = body("anthropic", id, "medium");
    CHECK(has(b, R"("thinking":{"type":"adaptive","display":"summarized"})"));
    CHECK(has(b, R"("output_config":{"effort":"medium"})"));
    CHECK_FALSE(has(b, "temperature"));
  }
  CHECK_FALSE(has(body("anthropic", "claude-opus-4-7", ""), "thinking"));
  CHECK(has(body("anthropic", "claude-opus-4-7", "", true), R"("tool_choice":{"type":"any"})"));
  // Whoever thinks cannot be made to call a tool.
  CHECK(has(body("anthropic", "claude-opus-5", "", true), R"("tool_choice":{"type":"auto"})"));
  CHECK(has(body("anthropic", "claude-opus-5", "none"), R"("thinking":{"type":"disabled"})"));
  CHECK(has(body("gemini", "gemini-3-pro-preview", "high"),
            R"("thinkingConfig":{"includeThoughts":true,"thinkingLevel":"high"})"));
  CHECK(
      has(body("gemini", "gemini-2.5-flash", "none"), R"("thinkingConfig":{"thinkingBudget":0})"));
  CHECK(has(body("gemini", "gemini-2.5-flash", "medium"), R"("thinkingBudget":8192)"));
  CHECK_FALSE(has(body("gemini", "gemini-2.0-flash", ""), "thinkingConfig"));
  CHECK(has(body("openai", "gpt-5.2", "low"), R"("effort":"low","summary":"auto")"));
  // What a provider does not have is refused, not left out.
  for (const auto& [provider, seed, stop] :
       {std::tuple("openai", true, false), {"openai", false, true}, {"anthropic", true, false}}) {
    conversation::ModelRequest r{.model = {.provider = provider, .id = "m"}};
    if (seed) r.model.seed = 1;
    if (stop) r.model.stop = {"END"};
    const auto refused = find_dialect(provider)->encode(r, {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find(seed ? "`seed`" : "`stop`") != std::string::npos);
  }
}

TEST_CASE("a response without what was streamed before is put together from the items") {
  std::string stream = responses_stream;
  const size_t output = stream.find(R"("output":[{"id":"rs_1")");
  const size_t usage = stream.find(R"(],"usage":{"input_tokens":81)");
  const std::string items = stream.substr(output + 10, usage - output - 10);
  stream.replace(output, usage - output, R"("output":[)");
  const size_t message_item = items.find(R"({"id":"msg_1")");
  const size_t call_item = items.find(R"({"id":"fc_1")");
  const auto done = [](const std::string& item) {
    return "data: {\"type\":\"response.output_item.done\",\"item\":" + item + "}\n\n";
  };
  stream.insert(stream.find("event: response.completed"),
                done(items.substr(0, message_item - 1)) +
                    done(items.substr(message_item, call_item - message_item - 1)) +
                    done(items.substr(call_item)));
  const Outcome out = read("openai", stream);
  REQUIRE(out.answer);
  CHECK(conversation::to_value(*out.answer) ==
        conversation::to_value(*read("openai", responses_stream).answer));
}

// KFLOW_SEED=n begins elsewhere.
TEST_CASE("mutated streams and documents: an answer or an error, nothing else") {
  uint64_t seed = 20'251'127;
  if (const char* given = std::getenv("KFLOW_SEED")) seed = std::strtoull(given, nullptr, 10);
  INFO("KFLOW_SEED=" << seed);
  const auto random = [&](size_t below) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<size_t>(seed >> 33) % below;
  };
  // Values that readers may not expect, put in place of others.
  const std::string odd[] = {"null",         "[]",   "{}",   "-1",     "9223372036854775807",
                             "1e308",        "\"\"", "true", "[[{}]]", "\"\\ud800\"",
                             "{\"type\":7}", "0.5"};
  for (const auto& [provider, stream] : recorded) {
    std::vector<std::string> events;
    for (size_t from = 0; from < stream.size();) {
      const size_t end = std::min(stream.find("\n\n", from), stream.size() - 2) + 2;
      events.push_back(stream.substr(from, end - from));
      from = end;
    }
    for (int round = 0; round < 1500; ++round) {
      std::vector<std::string> row = events;
      for (size_t change = random(4) + 1; change > 0; --change) {
        std::string& event = row[random(row.size())];
        const size_t at = event.empty() ? 0 : random(event.size());
        switch (random(6)) {
          case 0:
            row.insert(row.begin() + static_cast<std::ptrdiff_t>(random(row.size())), event);
            break;
          case 1:
            event.clear();
            break;
          case 2:
            std::swap(row[random(row.size())], event);
            break;
          case 3: {  // one value of its JSON is another
            const size_t colon = event.find("\":", at);
            const size_t end =
                colon == std::string::npos ? colon : event.find_first_of(",}", colon);
            if (end != std::string::npos)
              event.replace(colon + 2, end - colon - 2, odd[random(std::size(odd))]);
            break;
          }
          case 4:
            if (!event.empty()) event[at] = static_cast<char>(random(256));
            break;
          case 5:
            if (!event.empty()) event.resize(at);
            break;
        }
      }
      std::string bad;
      for (const std::string& event : row) bad += event;
      const Outcome out = read(provider, bad, true, SIZE_MAX, random(200) + 1);
      if (!out.answer) {
        if (out.answer.error().code.empty() || out.answer.error().message.empty())
          FAIL(provider << " round " << round);
      } else if (out.answer->usage.input_tokens < 0 || out.answer->message.parts.size() > 5000) {
        FAIL(provider << " round " << round);
      }
      // The data of one of its events as a whole document.
      const std::string& one = row[random(row.size())];
      const size_t data = one.find("data: ");
      if (data != std::string::npos) (void)read(provider, one.substr(data + 6), false);
    }
  }
  // The parser of events alone, on bytes of any kind.
  for (int round = 0; round < 2000; ++round) {
    static constexpr std::string_view letters = "data: event:\r\n\n\n{}x\0\xff\xEF\xBB\xBF";
    std::string bytes;
    for (size_t n = random(300); n > 0; --n) bytes += letters[random(letters.size())];
    const auto parse = [&](size_t step) {
      SseParser parser(4096);
      std::string out;
      for (size_t i = 0; i < bytes.size(); i += step)
        parser.feed(std::string_view(bytes).substr(i, step), [&](auto name, auto data) {
          out += std::string(name) + "|" + std::string(data) + "\n";
        });
      return out;
    };
    const size_t step = random(20) + 1;
    if (parse(1) != parse(bytes.size() + 1) || parse(step) != parse(1)) FAIL("round " << round);
  }
}
