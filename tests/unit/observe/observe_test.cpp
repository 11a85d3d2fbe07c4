// Spans, metrics, log lines and their export.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/conversation/conversation.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/observe/watcher.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::observe;

namespace {

// All events of a run whose effects fail once and then answer.
std::vector<machine::Event> events_of(const std::shared_ptr<const ir::Program>& program) {
  auto state = machine::make_state(program);
  std::vector<machine::Event> out;
  std::vector<machine::Action> actions;
  machine::Millis now = 1'000'000;
  const auto take = [&](machine::Turn turn) {
    out.insert(out.end(), turn.events.begin(), turn.events.end());
    actions.insert(actions.end(), turn.actions.begin(), turn.actions.end());
  };
  take(machine::start(*state,
                      {.workflow = program->find("w"),
                       .input = cel::Value::map({}),
                       .run_id = "run-1",
                       .session_id = "s"},
                      now));
  for (int guard = 0; guard < 100 && machine::status(*state) == machine::RunStatus::running;
       ++guard) {
    now += 1000;
    if (actions.empty()) {
      now = std::max(now, machine::next_due(*state));
      take(machine::advance(*state, machine::TickInput{}, now));
      continue;
    }
    const auto start = std::get<machine::StartActivity>(actions.front());
    actions.erase(actions.begin());
    machine::OutcomeInput input{
        .act = start.act, .attempt = start.attempt, .outcome = cel::Value::integer(1)};
    if (start.attempt == 1)
      input.outcome = machine::RunError{.kind = "exec", .code = "exit", .message = "not yet"};
    take(machine::advance(*state, input, now));
  }
  return out;
}

std::shared_ptr<const ir::Program> program() {
  const auto compiled = driver::compile_text("w.kflow", R"(
    extern tool eff() -> any { command: ["x"] }
    tool both() { step inner = eff() { retry: { max: 3 on: [exec] } } }
    workflow w() {
      parallel { step t = both() }
      step last = eff()
    }
  )");
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(*compiled->program);
}

const Span& named(const std::vector<Span>& spans, std::string_view name) {
  for (const Span& s : spans) {
    if (s.name == name) return s;
  }
  FAIL("no span " << name);
  return spans.front();
}

// Answers each POST with the next status, the last one for ever; keeps the bodies.
class Collector {
 public:
  explicit Collector(std::vector<std::string> answers) : answers_(std::move(answers)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    socklen_t size = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    ::listen(fd_, 16);
    thread_ = std::thread([this] { serve(); });
  }
  ~Collector() {
    stopping_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    ::close(fd_);
    thread_.join();
  }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  std::vector<std::string> requests() {
    const std::lock_guard guard(mutex_);
    return requests_;
  }

 private:
  void serve() {
    while (!stopping_) {
      const int client = ::accept(fd_, nullptr, nullptr);
      if (client < 0) return;
      std::string in;
      char buffer[65536];
      size_t length = std::string::npos;
      while (true) {
        const ssize_t n = ::read(client, buffer, sizeof buffer);
        if (n <= 0) break;
        in.append(buffer, static_cast<size_t>(n));
        const size_t head = in.find("\r\n\r\n");
        if (head == std::string::npos) continue;
        const size_t at = in.find("Content-Length: ");
        length = head + 4 + (at == std::string::npos ? 0 : std::stoul(in.substr(at + 16)));
        if (in.size() >= length) break;
      }
      std::string answer;
      {
        const std::lock_guard guard(mutex_);
        answer = answers_[std::min(requests_.size(), answers_.size() - 1)];
        requests_.push_back(std::move(in));
      }
      const std::string text =
          "HTTP/1.1 " + answer + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      [[maybe_unused]] const auto n = ::write(client, text.data(), text.size());
      ::close(client);
    }
  }
  std::vector<std::string> answers_;
  int fd_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("a run is a trace: steps below it, attempts below them") {
  const auto p = program();
  const auto events = events_of(p);
  SpanBuilder builder;
  std::vector<Span> spans;
  for (const auto& e : events) builder.add("run-1", *p, e, spans);
  CHECK(builder.open_runs() == 0);
  const Span& root = named(spans, "w");
  const Span& tool = named(spans, "t");
  const Span& inner = named(spans, "inner");
  const Span& last = named(spans, "last");
  CHECK(root.parent_id.empty());
  CHECK(tool.parent_id == root.span_id);
  CHECK(inner.parent_id == tool.span_id);
  CHECK(last.parent_id == root.span_id);
  CHECK(root.failed);  // `last` is tried once
  CHECK(last.failed);
  CHECK_FALSE(inner.failed);
  size_t attempts = 0;
  std::set<std::string> ids;
  for (const Span& s : spans) {
    CHECK(s.trace_id == root.trace_id);
    CHECK(s.trace_id.size() == 16);
    CHECK(s.span_id.size() == 8);
    CHECK(s.end >= s.start);
    CHECK(ids.insert(s.span_id).second);
    if (s.name == "inner attempt") {
      ++attempts;
      CHECK(s.parent_id == inner.span_id);
    }
  }
  CHECK(attempts == 2);
  // Another process that saw only the end goes on with the same ids.
  SpanBuilder other;
  std::vector<Span> rest;
  for (size_t i = events.size() / 2; i < events.size(); ++i)
    other.add("run-1", *p, events[i], rest);
  CHECK(named(rest, "last").span_id == last.span_id);
  CHECK(other.open_runs() == 0);
}

namespace {

std::string attribute(const Span& span, std::string_view name) {
  for (const Attribute& a : span.attributes) {
    if (a.name == name) return a.number ? std::to_string(*a.number) : a.text;
  }
  return "-";
}

// One turn of an agent that calls a tool and then answers.
std::vector<machine::Event> agent_events(const std::shared_ptr<const ir::Program>& p) {
  auto state = machine::make_state(p);
  std::vector<machine::Event> out;
  std::vector<machine::Action> actions;
  machine::Millis now = 1'000'000;
  const auto take = [&](machine::Turn turn) {
    out.insert(out.end(), turn.events.begin(), turn.events.end());
    actions.insert(actions.end(), turn.actions.begin(), turn.actions.end());
  };
  take(machine::start(*state,
                      {.workflow = p->find("w"),
                       .input = cel::Value::map({}),
                       .run_id = "run-1",
                       .session_id = "s"},
                      now));
  size_t calls = 0;
  while (!actions.empty()) {
    const auto start = std::get<machine::StartActivity>(actions.front());
    actions.erase(actions.begin());
    now += 500;
    cel::Value value = cel::Value::integer(7);
    if (start.kind == ir::CalleeKind::model) {
      conversation::ModelAnswer answer;
      answer.message.role = conversation::Role::assistant;
      answer.usage = {.input_tokens = 12, .output_tokens = 3};
      answer.model = "x-2026";
      if (++calls == 1) {
        answer.stop = conversation::StopReason::tool_calls;
        answer.message.parts.push_back({.kind = conversation::PartKind::tool_call,
                                        .id = "c1",
                                        .name = "add",
                                        .arguments = R"({"a": 1})"});
      } else {
        answer.message.parts.push_back({.text = "seven"});
      }
      value = conversation::to_value(answer);
    }
    take(machine::advance(
        *state,
        machine::OutcomeInput{.act = start.act, .attempt = start.attempt, .outcome = value}, now));
  }
  CHECK(machine::status(*state) == machine::RunStatus::completed);
  return out;
}

}  // namespace

TEST_CASE("agents, models and tools are named as the conventions for generative AI have it") {
  const auto compiled = driver::compile_text("w.kflow", R"(
    /// Adds.
    extern tool add(a: int) -> int { command: ["x"] }
    agent helper { model: "anthropic/x"  tools: [add] }
    workflow w() -> string { step answer = helper("hi")  return answer }
  )");
  REQUIRE(compiled->program.has_value());
  const auto p = std::make_shared<const ir::Program>(*compiled->program);
  const auto events = agent_events(p);
  SpanBuilder builder;
  std::vector<Span> spans;
  for (const auto& e : events) builder.add("run-1", *p, e, spans);
  const Span& agent = named(spans, "invoke_agent helper");
  const Span& chat = named(spans, "chat x");
  const Span& tool = named(spans, "execute_tool add");
  CHECK(agent.parent_id == named(spans, "w").span_id);
  CHECK(chat.parent_id == agent.span_id);
  CHECK(tool.parent_id == agent.span_id);
  CHECK(agent.start <= chat.start);
  CHECK(agent.end >= tool.end);
  CHECK(chat.client);
  CHECK_FALSE(tool.client);
  CHECK(attribute(chat, "gen_ai.operation.name") == "chat");
  CHECK(attribute(chat, "gen_ai.provider.name") == "anthropic");
  CHECK(attribute(chat, "gen_ai.request.model") == "x");
  CHECK(attribute(chat, "gen_ai.response.model") == "x-2026");
  CHECK(attribute(chat, "gen_ai.usage.input_tokens") == "12");
  CHECK(attribute(agent, "gen_ai.agent.name") == "helper");
  CHECK(attribute(agent, "gen_ai.usage.output_tokens") == "6");
  CHECK(attribute(tool, "gen_ai.tool.name") == "add");

  Watcher watcher({.exports = {}, .log = {}, .write_log = {}, .clock = [] { return Millis{0}; }});
  watcher.committed({.key = 1, .id = "run-1", .workflow = "w"}, *p, events);
  const std::string text = prometheus_text(watcher.registry());
  CHECK(text.find("gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\"") !=
        std::string::npos);
  CHECK(text.find("gen_ai_client_operation_duration_seconds_count{") != std::string::npos);
}

TEST_CASE("OTLP requests are JSON of the standard's shape") {
  const auto p = program();
  SpanBuilder builder;
  std::vector<Span> spans;
  for (const auto& e : events_of(p)) builder.add("run-1", *p, e, spans);
  const auto json = cel::from_json(trace_request({{"service.name", "k", std::nullopt}}, spans));
  REQUIRE(json);
  const auto& resource = json->find("resourceSpans")->as_list()[0];
  const auto list = resource.find("scopeSpans")->as_list()[0].find("spans")->as_list();
  CHECK(list.size() == spans.size());
  CHECK(list[0].find("traceId")->as_string().size() == 32);
  CHECK(list[0].find("spanId")->as_string().size() == 16);
  CHECK(list[0].find("startTimeUnixNano")->as_string().ends_with("000000"));

  Registry registry;
  registry.counter("kflow.steps", "steps").add({{"callee", "x"}}, 3);
  auto& h = registry.histogram("kflow.step.duration", "time", "s", {0.1, 1});
  for (const double v : {0.05, 0.1, 0.5, 7.0}) h.observe({}, v);
  const auto metrics = cel::from_json(metrics_request({}, registry, 1, 2));
  REQUIRE(metrics);
  const auto all = metrics->find("resourceMetrics")
                       ->as_list()[0]
                       .find("scopeMetrics")
                       ->as_list()[0]
                       .find("metrics")
                       ->as_list();
  REQUIRE(all.size() == 2);
  CHECK(all[0].find("sum")->find("isMonotonic")->as_bool());
  const auto& point = all[1].find("histogram")->find("dataPoints")->as_list()[0];
  CHECK(point.find("count")->as_string() == "4");
  CHECK(cel::to_json(*point.find("bucketCounts")) == R"(["2","1","1"])");
}

TEST_CASE("Prometheus text: escapes, cumulative buckets, bounded label sets") {
  Registry registry;
  auto& counter = registry.counter("kflow.runs.ended", "Runs\nthat ended");
  counter.add({{"workflow", "a\"b\\c\n"}});
  auto& h = registry.histogram("kflow.x", "x", "s", {0.5, 1});
  h.observe({}, 0.2);
  h.observe({}, 0.7);
  h.observe({}, 5);
  CHECK(prometheus_text(registry) ==
        "# HELP kflow_runs_ended_total Runs\\nthat ended\n# TYPE kflow_runs_ended_total counter\n"
        "kflow_runs_ended_total{workflow=\"a\\\"b\\\\c\\n\"} 1\n"
        "# HELP kflow_x_seconds x\n# TYPE kflow_x_seconds histogram\n"
        "kflow_x_seconds_bucket{le=\"0.5\"} 1\nkflow_x_seconds_bucket{le=\"1\"} "
        "2\nkflow_x_seconds_bucket{le=\"+Inf\"} 3\n"
        "kflow_x_seconds_sum 5.9\nkflow_x_seconds_count 3\n");
  auto& many = registry.counter("many", "many");
  for (size_t i = 0; i < 2 * max_series; ++i) many.add({{"id", std::to_string(i)}});
  CHECK(many.all().size() == max_series + 1);
}

TEST_CASE("settings come from the standard's variables") {
  std::map<std::string, std::string> vars{{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"},
                                          {"OTEL_EXPORTER_OTLP_HEADERS", "a=b,c=d%20e"},
                                          {"OTEL_EXPORTER_OTLP_TIMEOUT", "250"},
                                          {"OTEL_SERVICE_NAME", "svc"},
                                          {"OTEL_RESOURCE_ATTRIBUTES", "service.name=no,zone=eu"}};
  const auto get = [&](const char* name) {
    return vars.contains(name) ? vars.at(name).c_str() : nullptr;
  };
  const ExportSettings s = export_settings(get);
  CHECK(s.traces_url == "http://c:4318/v1/traces");
  CHECK(s.metrics_url == "http://c:4318/v1/metrics");
  CHECK(s.headers == std::vector<std::string>{"a: b", "c: d e", "Content-Type: application/json"});
  CHECK(s.timeout_ms == 250);
  REQUIRE(s.resource.size() == 2);
  CHECK(s.resource[0].text == "svc");
  vars["OTEL_SDK_DISABLED"] = "true";
  CHECK_FALSE(export_settings(get).on());
  CHECK(log_settings("info,json")->json);
  CHECK(log_settings("debug")->level == LogLevel::debug);
  CHECK_FALSE(log_settings("loud"));
}

TEST_CASE("the exporter tries again, and sends what is left at the end") {
  Collector collector({"503 No", "429 Later\r\nRetry-After: 0", "200 OK"});
  Registry registry;
  ExportSettings settings{.traces_url = collector.url("/v1/traces"),
                          .metrics_url = collector.url("/v1/metrics"),
                          .headers = {"Content-Type: application/json"},
                          .timeout_ms = 5000,
                          .resource = {}};
  {
    Exporter exporter(settings, registry, [] {
      return machine::Millis(std::chrono::duration_cast<std::chrono::milliseconds>(
                                 std::chrono::steady_clock::now().time_since_epoch())
                                 .count());
    });
    Span span{.trace_id = trace_id_of("r"),
              .span_id = span_id_of("r", 1, 0),
              .parent_id = "",
              .name = "hello",
              .start = 1,
              .end = 2,
              .failed = false,
              .message = "",
              .attributes = {},
              .link = {}};
    exporter.add({span});
  }
  const auto requests = collector.requests();
  REQUIRE(requests.size() == 4);
  for (size_t i = 0; i < 3; ++i) CHECK(requests[i].find("hello") != std::string::npos);
  CHECK(requests[3].starts_with("POST /v1/metrics"));
  CHECK(registry.all()[0]->all().empty());  // nothing was dropped
}

TEST_CASE("a collector that is not there costs spans, and is told of in a metric") {
  Registry registry;
  ExportSettings settings{.traces_url = "http://127.0.0.1:1/v1/traces",
                          .metrics_url = "",
                          .headers = {},
                          .timeout_ms = 200,
                          .resource = {}};
  {
    std::atomic<machine::Millis> now = 0;
    Exporter exporter(settings, registry,
                      [&] { return now += 1000; });  // the deadline of the flush comes fast
    std::vector<Span> spans(max_queued_spans + 5);
    exporter.add(std::move(spans));
  }
  REQUIRE(registry.all()[0]->all().size() == 1);
  CHECK(registry.all()[0]->all()[0].second->value() >= 5);
}

TEST_CASE("the watcher counts, measures and logs without values") {
  std::vector<std::string> lines;
  Watcher watcher({.exports = {},
                   .log = {LogLevel::debug, true},
                   .write_log = [&](const std::string& l) { lines.push_back(l); },
                   .clock = [] { return machine::Millis(5); }});
  const auto p = program();
  store::RunHeader header;
  header.key = 7;
  header.id = "run-1";
  header.workflow = "w";
  watcher.committed(header, *p, events_of(p));
  watcher.batch(1, 10, 0.002);
  watcher.trouble("the disk is full");
  const std::string text = prometheus_text(watcher.registry());
  CHECK(text.find("kflow_runs_ended_total{workflow=\"w\",status=\"ERROR\"} 1") !=
        std::string::npos);
  CHECK(text.find("kflow_steps_total{callee=\"eff\",outcome=\"completed\"} 1") !=
        std::string::npos);
  CHECK(text.find("kflow_step_attempts_total{callee=\"eff\"} 3") != std::string::npos);
  CHECK(text.find("kflow_commits_total 1") != std::string::npos);
  REQUIRE(lines.size() > 5);
  for (const auto& l : lines) CHECK(cel::from_json(l));
  CHECK(lines.back().find("the disk is full") != std::string::npos);
}
