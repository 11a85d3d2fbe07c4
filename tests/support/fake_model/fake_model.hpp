// FakeModel: a server that stands in for the providers of models. It speaks their wire formats,
// streaming and not, on 127.0.0.1, and answers by a script.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "compiler/cel/value.hpp"

namespace kflow::test {

/// One answer of the script, as JSON: `{"text": "…"}`, `{"calls": [{"name", "arguments"}]}`, both,
/// `{"reasoning": "…"}` with either, or `{"error": {"status": 429, "code": "…", "message": "…",
/// "retry_after": 1}}`. `"stop": "length" | "refusal"`, `"usage": {"input": 900,
/// "output": 80}` and `"kept": "resp_7"` (the answer is kept under this id) (openai). `"raw": "<html>…"` instead of all: these octets, with `"status": 200`
/// and `"content_type": "text/html"`. How it is sent: `"break": "middle"` (the
/// stream ends in its middle), `"hang": true`, `"chunk": 7` (octets a write), `"delay_ms": 5`
/// (between writes), `"piece": 20` (octets of text a delta, 5 if it is not said). `"stamps": 50`
/// instead of a text: that many pieces, a write each, that say when they were sent
/// (`000041@00000000001234567890;`: number and monotonic nanoseconds).
struct Rule {
  std::string contains;             ///< the request's body holds this; "": any
  std::vector<cel::Value> answers;  ///< one after another, the last again
  size_t next = 0;
};

/// The body of an answer as a provider (openai, openai_chat, anthropic, gemini) sends it.
std::string model_body(std::string_view provider, const cel::Value& answer, bool stream);

/// Without a rule that fits, the last user's text is said back. One thread serves all connections.
class FakeModel {
 public:
  /// `script`: `[{"contains": "…", "answers": [...]}]`, or "".
  explicit FakeModel(const std::string& script, int port = 0);
  ~FakeModel();
  int port() const { return port_; }
  /// `http://127.0.0.1:PORT`, followed by `/v1` for OpenAI's dialects.
  std::string base_url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  /// Bodies of the requests so far.
  std::vector<std::string> requests() const;
  /// Most requests that were being answered at the same time.
  int most_at_once() const { return most_at_once_; }

 private:
  class Server;
  cel::Value answer_to(const std::string& body);

  std::atomic<int> most_at_once_ = 0;
  mutable std::mutex mutex_;
  std::vector<Rule> rules_;
  std::vector<std::string> requests_;
  int port_ = 0;
  std::unique_ptr<Server> server_;
};

}  // namespace kflow::test
