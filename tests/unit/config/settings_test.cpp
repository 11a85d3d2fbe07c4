// kflow.yaml: what it says, and what is wrong with it.
#include "runtime/config/settings.hpp"

#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::config;

TEST_CASE("settings are read") {
  const auto s = read_settings(
      "retention: { age: 30d, error: 90d, keep: 5 }\nfiles:\n  roots: [., ../data]\nstore: "
      "{max_mib: 64}\n",
      "kflow.yaml");
  REQUIRE(s);
  CHECK(s->retention.age_ms == 30LL * 86'400'000);
  REQUIRE(s->retention.by_status.size() == 1);
  CHECK(s->retention.by_status[0].first == "ERROR");
  CHECK(s->retention.keep == 5);
  CHECK(s->file_roots == std::vector<std::string>{".", "../data"});
  CHECK(s->store_max_mib == 64);
  CHECK(read_settings("", "x").has_value());
  CHECK(load_settings("/nowhere").has_value());
}

TEST_CASE("each wrong key is named with its line") {
  const auto s = read_settings(
      "retention:\n  age: soon\n  ages: 3d\nfiles: 5\nstor: {}\nstore: {max_mib: -1}\n",
      "kflow.yaml");
  REQUIRE_FALSE(s);
  CHECK(s.error().message ==
        "kflow.yaml:2: `age` is a duration such as 12h or 30d\n"
        "kflow.yaml:3: `retention` has no key `ages`; it takes age, completed, error, cancelled, "
        "keep, deltas\n"
        "kflow.yaml:4: `files` is a record of keys and values\n"
        "kflow.yaml:5: `kflow.yaml` has no key `stor`; it takes retention, files, store, models, "
        "secrets, server\n"
        "kflow.yaml:6: `max_mib` is a number of at least 1");
  CHECK_FALSE(read_settings("a: [", "kflow.yaml"));
  CHECK_FALSE(read_settings("- 1", "kflow.yaml"));
}

TEST_CASE("models: where and how they are called") {
  const auto s = read_settings(R"(models:
  openai:
    api_key: TEAM_KEY
    timeout: 5m
    idle_timeout: 30s
    proxy: socks5://127.0.0.1:9
    stream: false
    previous_response_id: true
    structured_output: json
    headers: { x-a: b, x-t: "${TOKEN}" }
    limits: { requests_per_minute: 60, tokens_per_minute: 1000, concurrent: 2 }
  openai/gpt-5.2: { price: { input: 1.25, output: 10, cached_input: 0.125 } }
  local: { base_url: "http://localhost:1/v1" }
secrets: { A: { env: B }, C: { file: c.txt } }
)",
                               "kflow.yaml");
  REQUIRE(s);
  const ModelSettings& m = s->models.at("openai");
  CHECK(m.api_key == "TEAM_KEY");
  CHECK(m.timeout_ms == 300'000);
  CHECK(m.idle_timeout_ms == 30'000);
  CHECK(m.proxy == "socks5://127.0.0.1:9");
  CHECK(m.stream == false);
  CHECK(m.previous_response_id == true);
  CHECK(m.structured_output == "json");
  CHECK(m.headers.size() == 2);
  CHECK(m.requests_per_minute == 60);
  CHECK(m.tokens_per_minute == 1000);
  CHECK(m.concurrent == 2);
  CHECK(s->models.at("openai/gpt-5.2").price->cached_input == 0.125);
  CHECK(s->models.at("local").base_url == "http://localhost:1/v1");
  CHECK(s->secrets.at("C").file == "c.txt");
}

TEST_CASE("models: a provider that cannot keep conversations") {
  const auto s = read_settings(
      "models:\n  anthropic/x: { previous_response_id: true }\n  mine: { previous_response_id: 7 "
      "}\n",
      "kflow.yaml");
  REQUIRE_FALSE(s);
  CHECK(s.error().message ==
        "kflow.yaml:2: `previous_response_id` is for models of `openai`\n"
        "kflow.yaml:3: `previous_response_id` is true or false");
}

TEST_CASE("models: what is wrong, with its line") {
  const auto s = read_settings(R"(models:
  openai:
    base_url: ftp://x
    proxy: nonsense
    api_key: sk-a-key-itself
    stream: maybe
    structured_output: xml
    headers: [1]
    limits: { concurent: 3 }
    price: { input: 1 }
    idle_timeout: soon
  opnai/x: {}
  openai: {}
secrets:
  A: {}
  B: { env: X, file: y }
)",
                               "kflow.yaml");
  REQUIRE_FALSE(s);
  CHECK(s.error().message ==
        "kflow.yaml:3: `base_url` is a URL that begins with one of https://, http://\n"
        "kflow.yaml:4: `proxy` is a URL that begins with one of http://, https://, socks5://, "
        "socks5h://, socks4://\n"
        "kflow.yaml:5: `api_key` is the name of an environment variable, not the key itself\n"
        "kflow.yaml:6: `stream` is true or false\n"
        "kflow.yaml:7: `structured_output` is schema, json or prompt\n"
        "kflow.yaml:8: `headers` is a record of names\n"
        "kflow.yaml:9: `limits` has no key `concurent`; it takes requests_per_minute, "
        "tokens_per_minute, concurrent\n"
        "kflow.yaml:10: `price` needs `input` and `output`\n"
        "kflow.yaml:11: `idle_timeout` is a duration such as 12h or 30d\n"
        "kflow.yaml:12: there is no provider `opnai`; there are openai, openai_chat, anthropic, "
        "gemini\n"
        "kflow.yaml:13: `openai` is said twice\n"
        "kflow.yaml:15: `secrets: A` says either `env` or `file`\n"
        "kflow.yaml:16: `secrets: B` says either `env` or `file`");
}

TEST_CASE("the server's settings") {
  const auto s = read_settings(R"(
server:
  listen: 127.0.0.1:8080
  hosts: [kflow.example.org]
  cors: [https://app.example.org]
  tls: { certificate: cert.pem, key: key.pem }
  tokens:
    - { name: ci, env: CI_TOKEN, scopes: [read, run], user: ann }
    - { name: all, file: token.txt }
  limits: { header_kib: 16, body_mib: 1, connections: 10, starts: 5, header_time: 2s, idle_time: 1m }
)",
                                       "kflow.yaml");
  REQUIRE(s);
  const ServerSettings& server = s->server;
  CHECK(server.listen == std::vector<std::string>{"127.0.0.1:8080"});
  CHECK(server.hosts == std::vector<std::string>{"kflow.example.org"});
  CHECK(server.certificate == "cert.pem");
  REQUIRE(server.tokens.size() == 2);
  CHECK(server.tokens[0].variable == "CI_TOKEN");
  CHECK(server.tokens[0].run);
  CHECK_FALSE(server.tokens[0].admin);
  CHECK(server.tokens[0].user == "ann");
  CHECK(server.tokens[1].admin);
  CHECK(server.limits.body_mib == 1);
  CHECK(server.limits.header_ms == 2000);
  CHECK(server.limits.idle_ms == 60'000);

  const auto wrong = read_settings(R"(server:
  lissten: x
  cors: [https://a.example/path]
  tokens: [{ name: a, scopes: [all] }]
  tls: { key: k }
)",
                                           "kflow.yaml");
  REQUIRE(!wrong);
  for (const char* part : {":2: `server` has no key `lissten`", ":3: `cors` is a list of origins",
                           ":4: there is no scope `all`", "says either `env` or `file`",
                           "says both `certificate` and `key`"}) {
    INFO(part << " in " << wrong.error().message);
    CHECK(wrong.error().message.find(part) != std::string::npos);
  }
}
