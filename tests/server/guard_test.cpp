// Hosts, origins, tokens and cookies.
#include "runtime/server/guard.hpp"

#include "tests/server/flows.hpp"
#include "tests/server/served.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

Served::Setup with_tokens() {
  Served::Setup setup{.files = {{"flows.kflow", flows}}};
  setup.options.tokens = {
      {.name = "all", .secret = "secret-all"},
      {.name = "reader", .secret = "secret-read", .run = false, .admin = false},
      {.name = "ann", .secret = "secret-ann", .admin = false, .user_id = "ann"},
      {.name = "bob", .secret = "secret-bob", .admin = false, .user_id = "bob"}};
  return setup;
}

Answer with(const Served& s, const std::string& token, Ask request) {
  request.headers.emplace_back("Authorization", "Bearer " + token);
  return ask(s.port(), request);
}

Ask starting(const std::string& more = "") {
  return {.method = "POST",
          .target = "/workflows/hello/runs",
          .body = R"({"stream":false,"background":true)" + more + "}"};
}

}  // namespace

TEST_CASE("a foreign name in Host is refused: DNS rebinding") {
  Served::Setup setup{.files = {{"flows.kflow", flows}}};
  setup.options.hosts = {"kflow.example.org"};
  Served s(std::move(setup));
  const auto status = [&](const std::string& host) {
    return ask(s.port(), {.target = "/workflows", .headers = {{"Host", host}}}).status;
  };
  const std::string port = std::to_string(s.port());
  CHECK(status("localhost:" + port) == 200);
  CHECK(status("127.0.0.1:" + port) == 200);
  CHECK(status("LOCALHOST") == 200);
  CHECK(status("[::1]:" + port) == 200);
  CHECK(status("kflow.example.org") == 200);
  CHECK(status("evil.example:" + port) == 421);
  CHECK(status("localhost.evil.example") == 421);
  CHECK(status("127.0.0.1.nip.io") == 421);
  CHECK(status("192.168.1.1") == 421);
  CHECK(status("") == 421);
}

TEST_CASE("other sites change nothing, also without a token") {
  Served::Setup setup{.files = {{"flows.kflow", flows}}};
  setup.options.cors = {"https://app.example.org"};
  Served s(std::move(setup));
  const auto status = [&](std::vector<std::pair<std::string, std::string>> headers) {
    Ask request = starting();
    request.headers = std::move(headers);
    return ask(s.port(), request).status;
  };
  const std::string own = "http://127.0.0.1:" + std::to_string(s.port());
  CHECK(status({}) == 202);
  CHECK(status({{"Origin", own}}) == 202);
  CHECK(status({{"Origin", "https://evil.example"}}) == 403);
  CHECK(status({{"Origin", "http://127.0.0.1:1"}}) == 403);
  CHECK(status({{"Origin", "null"}}) == 403);
  CHECK(status({{"Origin", own}, {"Origin", "https://evil.example"}}) == 403);
  CHECK(status({{"Sec-Fetch-Site", "cross-site"}}) == 403);
  CHECK(status({{"Sec-Fetch-Site", "same-site"}}) == 403);
  CHECK(status({{"Sec-Fetch-Site", "same-origin"}}) == 202);
  CHECK(status({{"Sec-Fetch-Site", "none"}}) == 202);
  // CORS for those that are configured, and for nobody else.
  CHECK(status({{"Origin", "https://app.example.org"}}) == 202);
  const auto allowed = [&](const std::string& origin) {
    const Answer answer = ask(s.port(), {.target = "/workflows", .headers = {{"Origin", origin}}});
    return answer.headers.contains("access-control-allow-origin")
               ? answer.headers.at("access-control-allow-origin")
               : std::string();
  };
  CHECK(allowed("https://app.example.org") == "https://app.example.org");
  CHECK(allowed("https://evil.example").empty());
  const Answer preflight = ask(s.port(), {.method = "OPTIONS",
                                          .target = "/workflows/hello/runs",
                                          .headers = {{"Origin", "https://app.example.org"}}});
  CHECK(preflight.status == 204);
  CHECK(preflight.headers.at("access-control-allow-methods") == "GET, HEAD, POST");
}

TEST_CASE("tokens, scopes, and what is open without") {
  Served s(with_tokens());
  CHECK(s.get("/workflows").status == 401);
  CHECK(s.get("/metrics").status == 401);
  CHECK(s.get("/health").status == 200);
  CHECK(s.get("/openapi.json").status == 200);
  CHECK(field(json_of(s.get("/session-info").body), "signed_in") == "false");
  const Answer refused = with(s, "secret-wrong", {.target = "/workflows"});
  CHECK(refused.status == 401);
  CHECK(refused.headers.at("www-authenticate") == "Bearer");
  CHECK(refused.body.find("secret") == std::string::npos);
  CHECK(with(s, "secret-all", {.target = "/workflows"}).status == 200);
  CHECK(with(s, "secret-read", {.target = "/workflows"}).status == 200);
  CHECK(with(s, "secret-read", starting()).status == 403);
  const Answer started = with(s, "secret-all", starting());
  CHECK(started.status == 202);
  const std::string run = "/workflows/hello/runs/" + field(json_of(started.body), "run_id");
  CHECK(with(s, "secret-read", {.method = "DELETE", .target = run}).status == 403);
  const cel::Value who = json_of(with(s, "secret-read", {.target = "/session-info"}).body);
  CHECK(field(who, "name") == "reader");
  CHECK(field(who, "scopes") == R"(["read"])");
}

TEST_CASE("a token that is bound to a user sees that user's runs alone") {
  Served s(with_tokens());
  const Answer started = with(s, "secret-ann", starting());
  CHECK(started.status == 202);
  const std::string run = "/workflows/hello/runs/" + field(json_of(started.body), "run_id");
  CHECK(with(s, "secret-ann", {.target = run}).status == 200);
  CHECK(with(s, "secret-bob", {.target = run}).status == 404);
  CHECK(with(s, "secret-bob", {.target = run + "/events"}).status == 404);
  CHECK(with(s, "secret-all", {.target = run}).status == 200);
  CHECK(field(json_of(with(s, "secret-all", {.target = run}).body), "user_id") == "ann");
  const auto count = [&](const std::string& token) {
    return json_of(with(s, token, {.target = "/runs"}).body).find("data")->as_list().size();
  };
  CHECK(count("secret-ann") == 1);
  CHECK(count("secret-bob") == 0);
  CHECK(with(s, "secret-bob", starting(R"(,"user_id":"ann")")).status == 403);
  CHECK(with(s, "secret-bob", {.method = "POST", .target = run + "/cancel"}).status == 404);
}

TEST_CASE("what a run starts belongs to the user of the run, and so do its forks") {
  Served::Setup setup = with_tokens();
  setup.files = {
      {"f.kflow",
       "workflow family() -> any {\n  step own = child()\n  step id = grandchild.start()\n"
       "  return id\n}\n"
       "workflow child() -> int {\n  step own = grandchild()\n  return own\n}\n"
       "workflow grandchild() -> int {\n  step x = tool_(1)\n  return x\n}\n"
       "tool tool_(x: int) -> int { return x }\n"}};
  Served s(std::move(setup));
  const Answer done = with(s, "secret-ann",
                           {.method = "POST",
                            .target = "/workflows/family/runs",
                            .body = R"({"stream":false,"run_id":"root","session_id":"s"})"});
  REQUIRE(done.status == 200);
  const auto rows = [&](const std::string& token, const std::string& query) {
    const cel::Value page = json_of(with(s, token, {.target = "/runs?children=true" + query}).body);
    return *page.find("data");
  };
  // The one that nobody waits for may take a moment, but it is there.
  const auto all = rows("secret-ann", "");
  REQUIRE(all.as_list().size() == 4);
  for (const cel::Value& row : all.as_list()) {
    CHECK(field(row, "user_id") == "ann");
    const std::string run =
        "/workflows/" + field(row, "workflow_id") + "/runs/" + field(row, "run_id");
    for (const char* more : {"", "/events?follow=false", "/steps", "/why"}) {
      INFO(run << more);
      CHECK(with(s, "secret-ann", {.target = run + more}).status == 200);
      CHECK(with(s, "secret-bob", {.target = run + more}).status == 404);
    }
  }
  const auto count = [&](const std::string& token, const std::string& query) {
    return rows(token, query).as_list().size();
  };
  CHECK(count("secret-bob", "") == 0);
  CHECK(count("secret-bob", "&session_id=s") == 0);
  CHECK(count("secret-all", "&user_id=ann") == 4);
  CHECK(count("secret-all", "&user_id=bob") == 0);
  CHECK(with(s, "secret-bob", {.target = "/runs?user_id=ann"}).status == 403);
  const Ask fork{.method = "POST",
                 .target = "/workflows/family/runs/root/fork",
                 .body = R"({"from_step":"own","new_run_id":"second"})"};
  CHECK(with(s, "secret-bob", fork).status == 404);
  CHECK(with(s, "secret-ann", fork).status == 202);
  CHECK(with(s, "secret-ann", {.target = "/workflows/family/runs/second"}).status == 200);
  CHECK(with(s, "secret-bob", {.target = "/workflows/family/runs/second"}).status == 404);
}

TEST_CASE("a session is its user's: nobody else reads its state by starting a run in it") {
  Served::Setup setup = with_tokens();
  setup.files = {{"f.kflow",
                  "workflow note(text: string = \"\") -> string {\n"
                  "  session: { last: string = \"\" }\n"
                  "  let before = session.last\n  set session.last = text\n  return before\n}\n"}};
  Served s(std::move(setup));
  const auto note = [&](const std::string& token, const std::string& more) {
    return with(s, token,
                {.method = "POST",
                 .target = "/workflows/note/runs",
                 .body = R"({"stream":false,)" + more + "}"});
  };
  const auto in_s = [&](const std::string& token) {
    return note(token, R"("session_id":"s","input":{"text":"of )" + token + "\"}");
  };
  CHECK(in_s("secret-ann").status == 200);
  CHECK(field(json_of(in_s("secret-ann").body), "content") == "of secret-ann");
  CHECK(in_s("secret-bob").status == 403);
  CHECK(note("secret-bob", R"("session_id":"s","session_state":{"last":"x"})").status == 403);
  CHECK(note("secret-bob", R"("session_id":"b","session_state":{"last":"x"})").status == 200);
  CHECK(field(json_of(in_s("secret-ann").body), "content") == "of secret-ann");
  for (const char* method : {"GET", "PATCH"})
    CHECK(with(s, "secret-bob", {.method = method, .target = "/sessions/s", .body = "{}"}).status ==
          404);
  const auto sessions = [&](const std::string& token, const std::string& query) {
    return json_of(with(s, token, {.target = "/sessions" + query}).body)
        .find("data")
        ->as_list()
        .size();
  };
  CHECK(sessions("secret-ann", "") == 1);
  CHECK(sessions("secret-bob", "") == 1);
  CHECK(sessions("secret-all", "") == 2);
  CHECK(sessions("secret-all", "?user_id=ann") == 1);
  CHECK(with(s, "secret-bob", {.target = "/sessions?user_id=ann"}).status == 403);
  // Nor by a key that somebody else has used.
  const auto with_key = [&](const std::string& token, bool background) {
    return with(s, token,
                {.method = "POST",
                 .target = "/workflows/note/runs",
                 .headers = {{"Idempotency-Key", "k"}},
                 .body = background ? R"({"stream":false,"background":true,"input":{"text":"t"}})"
                                    : R"({"stream":false,"input":{"text":"t"}})"});
  };
  CHECK(with_key("secret-ann", false).status == 200);
  CHECK(with_key("secret-ann", true).status == 202);
  CHECK(with_key("secret-bob", false).status == 409);
  CHECK(with_key("secret-bob", true).status == 409);
}

TEST_CASE("the page signs in with a cookie that other sites cannot use") {
  Served s(with_tokens());
  const auto sign_in = [&](const std::string& token) {
    return s.post("/signin", R"({"token":")" + token + "\"}");
  };
  CHECK(sign_in("wrong-token").status == 401);
  CHECK(sign_in("").status == 422);
  const Answer good = sign_in("secret-all");
  CHECK(good.status == 204);
  const std::string cookie = good.headers.at("set-cookie");
  CHECK(cookie.find("HttpOnly") != std::string::npos);
  CHECK(cookie.find("SameSite=Strict") != std::string::npos);
  CHECK(cookie.find("Path=/") != std::string::npos);
  CHECK(cookie.find("secret") == std::string::npos);
  const std::string value = cookie.substr(0, cookie.find(';'));
  const auto with_cookie = [&](Ask request) {
    request.headers.emplace_back("Cookie", "other=1; " + value);
    return ask(s.port(), request).status;
  };
  CHECK(with_cookie({.target = "/workflows"}) == 200);
  CHECK(with_cookie(starting()) == 202);
  Ask foreign = starting();
  foreign.headers = {{"Origin", "https://evil.example"}};
  CHECK(with_cookie(foreign) == 403);
  CHECK(with_cookie({.method = "POST", .target = "/signout"}) == 204);
  CHECK(with_cookie({.target = "/workflows"}) == 401);
}

TEST_CASE("listening to other machines needs a token; TLS needs both files") {
  server::Options options;
  options.listen = {"127.0.0.1:0", "[::1]:0"};
  CHECK(server::check(options));
  options.listen = {"0.0.0.0:0"};
  const auto open = server::check(options);
  REQUIRE(!open);
  CHECK(open.error().message.find("KFLOW_TOKEN") != std::string::npos);
  options.listen = {"example.org:80"};
  CHECK(!server::check(options));
  options.tokens = {{.name = "t", .secret = "long enough"}};
  CHECK(server::check(options));
  options.tokens[0].secret = "short";
  CHECK(!server::check(options));
  options.tokens.clear();
  options.listen = {"127.0.0.1:0"};
  options.certificate = "cert.pem";
  CHECK(!server::check(options));
}
