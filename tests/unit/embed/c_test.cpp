// The C interface: what a caller can get wrong, and structs of older callers.
#include <cstring>
#include <string>
#include <thread>

#include "kflow/kflow.h"
#include "kflow/kflow_compile.h"
#include "tests/support/catch.hpp"

namespace {

// The error's code, or -1 where there is none.
int code(kflow_error* error) {
  if (error == nullptr) return -1;
  const int out = kflow_error_get_code(error);
  CHECK(std::strlen(kflow_error_message(error)) > 0);
  kflow_error_free(error);
  return out;
}
void fine(kflow_error* error) {
  if (error != nullptr) FAIL(kflow_error_message(error));
}

std::string take(char* text) {
  std::string out = text;
  kflow_string_free(text);
  return out;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void by_user(void* user, kflow_call* call, const char* arguments) {
  CHECK(kflow_call_attempt(call) == 1);
  CHECK(std::strlen(kflow_call_idempotency_key(call)) > 0);
  CHECK(std::strlen(kflow_call_run_id(call)) > 0);
  *static_cast<std::string*>(user) = arguments;
  kflow_call_value(call, "[1, 2");  // no JSON
  kflow_call_fail(call, "second", "does not count", 0);
}
void silent(void*, kflow_call*, const char*) {}
void later(void*, kflow_call* call, const char*) {
  std::thread([call] {
    kflow_call_fail(call, "no", "not today", 0);
    kflow_call_free(call);
  }).detach();
}

}  // namespace

TEST_CASE("C: NULL and nonsense are errors") {
  kflow_store* store = nullptr;
  kflow_program* program = nullptr;
  kflow_engine* engine = nullptr;
  char* text = nullptr;
  CHECK(code(kflow_store_open(nullptr, KFLOW_SYNC, &store)) == KFLOW_INVALID_ARGUMENT);
  CHECK(code(kflow_store_open("/proc/none", KFLOW_SYNC, &store)) != -1);
  CHECK(code(kflow_store_open("x", static_cast<kflow_durability>(3), &store)) ==
        KFLOW_INVALID_ARGUMENT);
  CHECK(code(kflow_program_load("/nowhere", &program)) == KFLOW_NOT_FOUND);
  CHECK(code(kflow_program_decode("none", 4, &program)) == KFLOW_INCOMPATIBLE);
  CHECK(code(kflow_compile_text("t", "workflow {", &program)) == KFLOW_INVALID_ARGUMENT);
  CHECK(code(kflow_engine_open(nullptr, nullptr, &engine)) == KFLOW_INVALID_ARGUMENT);
  CHECK(code(kflow_start(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr)) ==
        KFLOW_INVALID_ARGUMENT);
  fine(kflow_store_in_memory(&store));
  kflow_engine_options unset{};
  CHECK(code(kflow_engine_open(store, &unset, &engine)) == KFLOW_INVALID_ARGUMENT);
  fine(kflow_engine_open(store, nullptr, &engine));
  fine(kflow_compile_text("t", "workflow main(n: int) -> int { return n }", &program));
  CHECK(code(kflow_start(engine, program, "none", "{}", nullptr, &text)) == KFLOW_NOT_FOUND);
  CHECK(code(kflow_start(engine, program, "main", "{", nullptr, &text)) == KFLOW_INVALID_ARGUMENT);
  CHECK(code(kflow_start(engine, program, "main", "{}", nullptr, &text)) == KFLOW_INVALID_ARGUMENT);
  CHECK(code(kflow_get(engine, "none", &text)) == KFLOW_NOT_FOUND);
  CHECK(code(kflow_follow(engine, "none", 0, nullptr, nullptr, 0, nullptr)) ==
        KFLOW_INVALID_ARGUMENT);
  fine(kflow_start(engine, program, "main", "{\"n\": 3}", nullptr, &text));
  const std::string run = take(text);
  fine(kflow_await(engine, run.c_str(), 20'000, &text));
  CHECK(has(take(text), "\"value\":3"));
  // All of them take NULL.
  kflow_engine_close(engine);
  kflow_engine_close(nullptr);
  kflow_program_free(program);
  kflow_program_free(nullptr);
  kflow_store_close(store);
  kflow_store_close(nullptr);
  kflow_error_free(nullptr);
  kflow_string_free(nullptr);
  kflow_functions_free(nullptr);
  kflow_clock_free(nullptr);
  kflow_call_free(nullptr);
  CHECK(std::string(kflow_version()) == "0.1.0");
}

TEST_CASE("C: functions that fail, answers, and a struct of an older caller") {
  kflow_store* store = nullptr;
  kflow_program* program = nullptr;
  kflow_functions* functions = nullptr;
  kflow_clock* clock = nullptr;
  kflow_engine* engine = nullptr;
  char* text = nullptr;
  std::string seen;
  fine(kflow_store_in_memory(&store));
  fine(kflow_functions_new(&functions));
  fine(kflow_functions_add(functions, "bad", by_user, &seen));
  fine(kflow_functions_add(functions, "silent", silent, nullptr));
  fine(kflow_functions_add_async(functions, "later", later, nullptr));
  CHECK(code(kflow_functions_add(functions, nullptr, silent, nullptr)) == KFLOW_INVALID_ARGUMENT);
  fine(kflow_clock_new(1'700'000'000'000, &clock));
  kflow_engine_options options = KFLOW_INIT(kflow_engine_options);
  options.functions = functions;
  options.clock = clock;
  // Built against a header that knew nothing of `secret`: what lies there is not looked at.
  options.size = offsetof(kflow_engine_options, secret);
  options.secret = reinterpret_cast<const char* (*)(void*, const char*)>(1);
  fine(kflow_engine_open(store, &options, &engine));
  fine(kflow_compile_text("t", R"(
    extern tool bad(n: int) -> int
    extern tool silent() -> int
    extern tool later() -> int
    retry once { max: 1 }
    workflow main(which: string) -> string {
      step ok = human.confirm("and?")
      try {
        if which == "bad" { step a = bad(4) { retry: once } }
        if which == "silent" { step b = silent() { retry: once } }
        if which == "later" { step c = later() { retry: once } }
      } catch err { return err.code }
      return "none"
    }
  )",
                          &program));
  const std::pair<const char*, const char*> cases[] = {
      {"bad", "malformed"}, {"silent", "abandoned"}, {"later", "no"}};
  for (const auto& [which, expected] : cases) {
    INFO(which);
    const std::string input = std::string("{\"which\": \"") + which + "\"}";
    fine(kflow_start(engine, program, "main", input.c_str(), nullptr, &text));
    const std::string run = take(text);
    std::string questions;
    for (int i = 0; i < 2000 && !has(questions, "and?"); ++i) {
      fine(kflow_questions(engine, run.c_str(), &text));
      questions = take(text);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    REQUIRE(has(questions, "and?"));
    const size_t at = questions.find("\"id\":\"") + 6;
    const std::string id = questions.substr(at, questions.find('"', at) - at);
    CHECK(code(kflow_answer(engine, run.c_str(), "none", 1, nullptr, nullptr)) == KFLOW_NOT_FOUND);
    fine(kflow_answer(engine, run.c_str(), id.c_str(), 1, nullptr, nullptr));
    fine(kflow_await(engine, run.c_str(), 20'000, &text));
    CHECK(has(take(text), std::string("\"value\":\"") + expected + "\""));
  }
  CHECK(seen == "{\"n\":4}");
  kflow_engine_close(engine);
  kflow_clock_free(clock);
  kflow_functions_free(functions);
  kflow_program_free(program);
  kflow_store_close(store);
}
