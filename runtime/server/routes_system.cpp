// Routes of the server itself: the page, signing in, health, metrics, the OpenAPI document.
#include <fmt/format.h>

#include "compiler/base/json.hpp"
#include "runtime/server/app.hpp"
#include "runtime/server/page.hpp"
#include "runtime/server/parameters.hpp"

namespace kflow::server {
namespace {

void page(App&, const CallPtr& call) {
  if (page_html().empty())
    return answer(call, Problem{404,
                                "this program was built without the page; the interface is "
                                "there all the same: /openapi.json"});
  Response out{.status = 200,
               .content_type = "text/html; charset=utf-8",
               .headers = {{"Cache-Control", "no-cache"},
                           {"ETag", std::string(page_tag())},
                           {"Referrer-Policy", "no-referrer"},
                           {"Content-Security-Policy", "frame-ancestors 'none'"}}};
  const std::string* known = call->request.header("if-none-match");
  if (known != nullptr && *known == page_tag()) {
    out.status = 304;
    out.content_type.clear();
  } else {
    out.body = page_html();
  }
  call->reply(std::move(out));
}

void session_info(App& app, const CallPtr& call) {
  const Principal& who = call->who;
  JsonWriter out;
  out.begin_object();
  out.key("requires_auth"), out.boolean(app.guard().requires_auth());
  out.key("signed_in"), out.boolean(who.signed_in);
  out.key("name"), who.name.empty() ? out.null() : out.string(who.name);
  out.key("user_id"), who.user_id.empty() ? out.null() : out.string(who.user_id);
  out.key("scopes");
  out.begin_array();
  for (const Scope scope : {Scope::read, Scope::run, Scope::admin}) {
    if (who.may(scope)) out.string(to_string(scope));
  }
  out.end_array();
  out.key("version"), out.string(app.parts().version);
  out.end_object();
  call->reply(json_response(200, out.take()));
}

std::string cookie(const App& app, const Request& request, std::string_view value, int64_t age) {
  (void)app;
  return fmt::format("{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{}", cookie_name, value,
                     age, request.tls ? "; Secure" : "");
}

void sign_in(App& app, const CallPtr& call) {
  const auto value = app.guard().sign_in(call->text("token"));
  if (!value)
    return answer(call, Problem{401, app.guard().requires_auth()
                                         ? "this is no token of this server"
                                         : "this server has no tokens: nobody needs to sign in"});
  const auto age = std::chrono::duration_cast<std::chrono::seconds>(cookie_life).count();
  call->reply({.status = 204,
               .headers = {{"Set-Cookie", cookie(app, call->request, *value, age)},
                           {"Cache-Control", "no-store"}}});
}

void sign_out(App& app, const CallPtr& call) {
  app.guard().sign_out(call->request);
  call->reply({.status = 204, .headers = {{"Set-Cookie", cookie(app, call->request, "", 0)}}});
}

void gauge(std::string& out, std::string_view name, std::string_view kind, std::string_view help,
           uint64_t value) {
  out += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, kind, value);
}

void metrics(App& app, const CallPtr& call) {
  std::string out =
      app.parts().registry == nullptr ? "" : observe::prometheus_text(*app.parts().registry);
  const NetworkCounts counts = app.parts().network->counts();
  gauge(out, "kflow_http_connections", "gauge", "Connections that are open", counts.connections);
  gauge(out, "kflow_http_streams", "gauge", "Of them, with a stream or a WebSocket",
        counts.streams);
  gauge(out, "kflow_http_waiting", "gauge", "Requests that are answered at the end of a run",
        app.waiting());
  gauge(out, "kflow_http_accepted_total", "counter", "Connections taken", counts.accepted);
  gauge(out, "kflow_http_refused_total", "counter", "Connections over the limit", counts.refused);
  gauge(out, "kflow_http_requests_total", "counter", "Requests whose head was read",
        counts.requests);
  gauge(out, "kflow_runs_active", "gauge", "Runs in memory", app.engine().active());
  gauge(out, "kflow_runs_followed", "gauge", "Runs that somebody follows", app.feeds().size());
  call->reply({.status = 200,
               .content_type = "text/plain; version=0.0.4; charset=utf-8",
               .headers = {{"Cache-Control", "no-store"}},
               .body = std::move(out)});
}

}  // namespace

void add_system_routes(App& app) {
  const auto bind = [&app](void (*handler)(App&, const CallPtr&)) {
    return [&app, handler](const CallPtr& call) { handler(app, call); };
  };
  for (const char* path : {"/", "/index.html"}) {
    app.router().add({.method = "GET",
                      .pattern = path,
                      .id = path[1] == '\0' ? "page" : "index",
                      .summary = "The web page",
                      .scope = Scope::open,
                      .answers = {{200, "the page", "text", "text/html"}, {304, "as it was"}},
                      .run = bind(page),
                      .quick = true});
  }
  app.router().add(
      {.method = "GET",
       .pattern = "/health",
       .id = "health",
       .summary = "Whether the server lives",
       .scope = Scope::open,
       .answers = {{200, "it does", "Health"}},
       .run = [](const CallPtr& call) { call->reply(json_response(200, R"({"status":"ok"})")); },
       .quick = true});
  app.router().add({.method = "GET",
                    .pattern = "/metrics",
                    .id = "metrics",
                    .summary = "Metrics for Prometheus",
                    .answers = {{200, "text format 0.0.4", "text", "text/plain"}},
                    .run = bind(metrics)});
  app.router().add(
      {.method = "GET",
       .pattern = "/openapi.json",
       .id = "openapi",
       .summary = "This document",
       .scope = Scope::open,
       .answers = {{200, "OpenAPI 3.1", "Empty"}},
       .run = [&app](const CallPtr& call) { call->reply(json_response(200, app.openapi())); },
       .quick = true});
  app.router().add({.method = "GET",
                    .pattern = "/session-info",
                    .id = "session_info",
                    .summary = "Who the caller is to this server",
                    .scope = Scope::open,
                    .answers = {{200, "what it may do", "SessionInfo"}},
                    .run = bind(session_info),
                    .quick = true});
  app.router().add({.method = "POST",
                    .pattern = "/signin",
                    .id = "sign_in",
                    .summary = "A token for a cookie, for the page",
                    .scope = Scope::open,
                    .parameters = {{.name = "token",
                                    .in = In::body,
                                    .doc = "one of the server's tokens",
                                    .required = true}},
                    .answers = {{204, "signed in"}, refusal(401, "no such token")},
                    .run = bind(sign_in)});
  app.router().add({.method = "POST",
                    .pattern = "/signout",
                    .id = "sign_out",
                    .summary = "Ends what /signin began",
                    .scope = Scope::open,
                    .answers = {{204, "signed out"}},
                    .run = bind(sign_out)});
}

}  // namespace kflow::server
