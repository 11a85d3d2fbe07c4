// kflow.h over the C++ library.
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "runtime/embed/c_handles.hpp"

using namespace kflow::embed;

namespace {

std::string text_of(const char* text) { return text == nullptr ? "" : text; }

char* copy_of(const std::string& text) {
  auto* out = static_cast<char*>(std::malloc(text.size() + 1));
  if (out == nullptr) throw std::bad_alloc();
  std::memcpy(out, text.c_str(), text.size() + 1);
  return out;
}

// Whether a struct of the caller's, which may be of an older version, has a field.
template <typename S>
bool has(const S* options, size_t offset, size_t size) {
  return options != nullptr && options->size >= offset + size;
}
#define KFLOW_HAS(options, field) \
  has(options, offsetof(std::remove_cvref_t<decltype(*options)>, field), sizeof(options->field))

const char* status_name(Status s) {
  switch (s) {
    case Status::pending:
      return "PENDING";
    case Status::running:
      return "RUNNING";
    case Status::paused:
      return "PAUSED";
    case Status::completed:
      return "COMPLETED";
    case Status::cancelled:
      return "CANCELLED";
    case Status::error:
      return "ERROR";
  }
  return "ERROR";
}

Value document(const Run& run) {
  std::vector<std::pair<std::string, Value>> out{{"id", run.id},
                                                 {"workflow", run.workflow},
                                                 {"status", status_name(run.status)},
                                                 {"created_at_ms", run.created_at_ms}};
  if (run.ended_at_ms > 0) out.emplace_back("ended_at_ms", run.ended_at_ms);
  if (run.status == Status::completed) {
    out.emplace_back("value", run.value);
  } else if (has_ended(run.status)) {
    out.emplace_back("error", Value::record({{"kind", run.error.kind},
                                             {"code", run.error.code},
                                             {"message", run.error.message},
                                             {"step", run.error.step},
                                             {"data", run.error.data}}));
  }
  return Value::record(std::move(out));
}

Result<Value> json_of(const char* json) {
  return json == nullptr ? Result<Value>(Value()) : Value::from_json(json);
}

EngineOptions options_of(const kflow_engine_options* o) {
  EngineOptions out;
  void* user = KFLOW_HAS(o, user) ? o->user : nullptr;
  if (KFLOW_HAS(o, project_root)) out.project_root = text_of(o->project_root);
  if (KFLOW_HAS(o, models_url)) out.models_url = text_of(o->models_url);
  if (KFLOW_HAS(o, functions) && o->functions != nullptr) out.functions = o->functions->functions;
  if (KFLOW_HAS(o, clock) && o->clock != nullptr) out.clock = o->clock->clock;
  if (KFLOW_HAS(o, no_adopt)) out.adopt = o->no_adopt == 0;
  if (KFLOW_HAS(o, on_log) && o->on_log != nullptr)
    out.on_log = [f = o->on_log, user](const std::string& line) { f(user, line.c_str()); };
  if (KFLOW_HAS(o, on_trouble) && o->on_trouble != nullptr)
    out.on_trouble = [f = o->on_trouble, user](const std::string& what) { f(user, what.c_str()); };
  if (KFLOW_HAS(o, project) && o->project != nullptr) out.project = o->project->project;
  if (KFLOW_HAS(o, secret) && o->secret != nullptr) {
    out.secret = [f = o->secret, user](std::string_view name) -> std::optional<std::string> {
      const char* value = f(user, std::string(name).c_str());
      return value == nullptr ? std::nullopt : std::optional<std::string>(value);
    };
  }
  return out;
}

}  // namespace

static kflow_error* no_durability() {
  return new_error({ErrorCode::invalid_argument, "there is no such durability"});
}

const char* kflow_version(void) { return version(); }
kflow_error_code kflow_error_get_code(const kflow_error* error) {
  return error == nullptr ? KFLOW_INTERNAL : static_cast<kflow_error_code>(error->error.code);
}
const char* kflow_error_message(const kflow_error* error) {
  return error == nullptr ? "" : error->error.message.c_str();
}
void kflow_error_free(kflow_error* error) { delete error; }
void kflow_string_free(char* text) { std::free(text); }

// ---- stores, programs, clocks

kflow_error* kflow_store_open(const char* folder, kflow_durability durability,
                              kflow_store** store) {
  return guarded([&]() -> kflow_error* {
    if (folder == nullptr) return missing("folder");
    if (store == nullptr) return missing("store");
    if (durability < KFLOW_SYNC || durability > KFLOW_NONE) return no_durability();
    auto opened = Store::open(folder, static_cast<Durability>(durability));
    if (!opened) return new_error(opened.error());
    *store = new kflow_store{std::move(*opened)};
    return nullptr;
  });
}
kflow_error* kflow_store_in_memory(kflow_store** store) {
  return guarded([&]() -> kflow_error* {
    if (store == nullptr) return missing("store");
    *store = new kflow_store{Store::in_memory()};
    return nullptr;
  });
}
void kflow_store_close(kflow_store* store) { delete store; }

kflow_error* kflow_project_open(const char* path, kflow_project** project) {
  return guarded([&]() -> kflow_error* {
    if (project == nullptr) return missing("project");
    auto opened = Project::open(path == nullptr ? "." : path);
    if (!opened) return new_error(opened.error());
    *project = new kflow_project{std::move(*opened)};
    return nullptr;
  });
}
kflow_error* kflow_project_open_store(const kflow_project* project, kflow_durability durability,
                                      kflow_store** store) {
  return guarded([&]() -> kflow_error* {
    if (project == nullptr) return missing("project");
    if (store == nullptr) return missing("store");
    if (durability < KFLOW_SYNC || durability > KFLOW_NONE) return no_durability();
    auto opened = project->project.open_store(static_cast<Durability>(durability));
    if (!opened) return new_error(opened.error());
    *store = new kflow_store{std::move(*opened)};
    return nullptr;
  });
}
void kflow_project_free(kflow_project* project) { delete project; }

kflow_error* kflow_program_load(const char* path, kflow_program** program) {
  return guarded([&]() -> kflow_error* {
    if (path == nullptr) return missing("path");
    if (program == nullptr) return missing("program");
    auto loaded = Program::load(path);
    if (!loaded) return new_error(loaded.error());
    *program = new kflow_program{std::move(*loaded)};
    return nullptr;
  });
}
kflow_error* kflow_program_decode(const void* bytes, size_t size, kflow_program** program) {
  return guarded([&]() -> kflow_error* {
    if (bytes == nullptr) return missing("bytes");
    if (program == nullptr) return missing("program");
    auto loaded = Program::decode({static_cast<const char*>(bytes), size});
    if (!loaded) return new_error(loaded.error());
    *program = new kflow_program{std::move(*loaded)};
    return nullptr;
  });
}
void kflow_program_free(kflow_program* program) { delete program; }

kflow_error* kflow_clock_new(int64_t now_ms, kflow_clock** clock) {
  return guarded([&]() -> kflow_error* {
    if (clock == nullptr) return missing("clock");
    *clock = new kflow_clock{ManualClock(now_ms)};
    return nullptr;
  });
}
void kflow_clock_set(kflow_clock* clock, int64_t now_ms) {
  if (clock != nullptr) clock->clock.set(now_ms);
}
void kflow_clock_free(kflow_clock* clock) { delete clock; }

// ---- functions

kflow_error* kflow_functions_new(kflow_functions** functions) {
  return guarded([&]() -> kflow_error* {
    if (functions == nullptr) return missing("functions");
    *functions = new kflow_functions{};
    return nullptr;
  });
}
void kflow_functions_free(kflow_functions* functions) { delete functions; }

kflow_error* kflow_functions_add(kflow_functions* functions, const char* name,
                                 kflow_function function, void* user) {
  return guarded([&]() -> kflow_error* {
    if (functions == nullptr) return missing("functions");
    if (name == nullptr) return missing("name");
    if (function == nullptr) return missing("function");
    functions->functions.add(
        name, [function, user](const Value& arguments, const Call& call) -> FunctionResult {
          kflow_call handle{call, {}, {}};
          function(user, &handle, arguments.json().c_str());
          if (handle.result) return std::move(*handle.result);
          return Failure{"abandoned", "the function has given no value", false, {}};
        });
    return nullptr;
  });
}

kflow_error* kflow_functions_add_async(kflow_functions* functions, const char* name,
                                       kflow_function function, void* user) {
  return guarded([&]() -> kflow_error* {
    if (functions == nullptr) return missing("functions");
    if (name == nullptr) return missing("name");
    if (function == nullptr) return missing("function");
    functions->functions.add_async(
        name, [function, user](const Value& arguments, const Call& call, Completion done) {
          function(user, new kflow_call{call, {}, std::move(done)}, arguments.json().c_str());
        });
    return nullptr;
  });
}

const char* kflow_call_run_id(const kflow_call* call) {
  return call == nullptr ? "" : call->call.run_id().c_str();
}
const char* kflow_call_idempotency_key(const kflow_call* call) {
  return call == nullptr ? "" : call->call.idempotency_key().c_str();
}
uint32_t kflow_call_attempt(const kflow_call* call) {
  return call == nullptr ? 0 : call->call.attempt();
}
int kflow_call_stopped(const kflow_call* call) {
  return call == nullptr || call->call.stopped() ? 1 : 0;
}

static void finish(kflow_call* call, FunctionResult result) {
  if (call == nullptr) return;
  if (!call->done) {
    if (!call->result) call->result = std::move(result);
    return;
  }
  if (Value* v = std::get_if<Value>(&result)) return call->done->value(std::move(*v));
  call->done->fail(std::get<Failure>(std::move(result)));
}

void kflow_call_value(kflow_call* call, const char* json) {
  kflow_error_free(guarded([&]() -> kflow_error* {
    auto value = json_of(json);
    if (value) {
      finish(call, std::move(*value));
    } else {
      finish(call, Failure{"malformed", value.error().message, false, {}});
    }
    return nullptr;
  }));
}
void kflow_call_fail(kflow_call* call, const char* code, const char* message, int retryable) {
  kflow_error_free(guarded([&]() -> kflow_error* {
    finish(call, Failure{text_of(code), text_of(message), retryable != 0, {}});
    return nullptr;
  }));
}
void kflow_call_free(kflow_call* call) {
  if (call != nullptr && call->done) delete call;
}

// ---- the engine

kflow_error* kflow_engine_open(const kflow_store* store, const kflow_engine_options* options,
                               kflow_engine** engine) {
  return guarded([&]() -> kflow_error* {
    if (store == nullptr) return missing("store");
    if (engine == nullptr) return missing("engine");
    if (options != nullptr && options->size < sizeof(size_t))
      return new_error({ErrorCode::invalid_argument, "`options.size` is not set: KFLOW_INIT"});
    auto opened = Engine::open(store->store, options_of(options));
    if (!opened) return new_error(opened.error());
    *engine = new kflow_engine{std::move(*opened)};
    return nullptr;
  });
}
void kflow_engine_close(kflow_engine* engine) { delete engine; }

kflow_error* kflow_start(kflow_engine* engine, const kflow_program* program, const char* workflow,
                         const char* input, const kflow_start_options* options, char** run_id) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (program == nullptr) return missing("program");
    if (workflow == nullptr) return missing("workflow");
    if (run_id == nullptr) return missing("run_id");
    auto value = json_of(input);
    if (!value) return new_error(value.error());
    StartOptions o;
    if (KFLOW_HAS(options, id)) o.id = text_of(options->id);
    if (KFLOW_HAS(options, session_id)) o.session_id = text_of(options->session_id);
    if (KFLOW_HAS(options, user_id)) o.user_id = text_of(options->user_id);
    if (KFLOW_HAS(options, idempotency_key)) o.idempotency_key = text_of(options->idempotency_key);
    if (KFLOW_HAS(options, tags) && options->tags != nullptr) {
      auto tags = Value::from_json(options->tags);
      auto texts = tags ? Converter<std::vector<std::string>>::from(*tags) : std::nullopt;
      if (!texts)
        return new_error({ErrorCode::invalid_argument, "`tags` is no JSON array of texts"});
      o.tags = std::move(*texts);
    }
    auto started = engine->engine.start(program->program, workflow, *value, o);
    if (!started) return new_error(started.error());
    *run_id = copy_of(*started);
    return nullptr;
  });
}

static kflow_error* give(Result<Run> run, char** out) {
  if (!run) return new_error(run.error());
  *out = copy_of(document(*run).json());
  return nullptr;
}

kflow_error* kflow_get(kflow_engine* engine, const char* run_id, char** run) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    if (run == nullptr) return missing("run");
    return give(engine->engine.get(run_id), run);
  });
}
kflow_error* kflow_await(kflow_engine* engine, const char* run_id, int timeout_ms, char** run) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    if (run == nullptr) return missing("run");
    return give(engine->engine.await(run_id, timeout_ms), run);
  });
}

kflow_error* kflow_list(kflow_engine* engine, const char* status, size_t limit, char** runs) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (runs == nullptr) return missing("runs");
    std::optional<Status> wanted;
    for (int i = 0; status != nullptr && i <= static_cast<int>(Status::error); ++i) {
      if (std::string_view(status) == status_name(static_cast<Status>(i)))
        wanted = static_cast<Status>(i);
    }
    if (status != nullptr && !wanted)
      return new_error(
          {ErrorCode::invalid_argument, "there is no status `" + std::string(status) + "`"});
    auto list = engine->engine.list(wanted, limit);
    if (!list) return new_error(list.error());
    std::vector<Value> out;
    for (const Run& run : *list) out.push_back(document(run));
    *runs = copy_of(Value::list(std::move(out)).json());
    return nullptr;
  });
}

static kflow_error* done(const Result<void>& result) {
  return result ? nullptr : new_error(result.error());
}

kflow_error* kflow_signal(kflow_engine* engine, const char* run_id, const char* name,
                          const char* value, const char* key) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    if (name == nullptr) return missing("name");
    auto v = json_of(value);
    if (!v) return new_error(v.error());
    return done(engine->engine.signal(run_id, name, *v, text_of(key)));
  });
}

kflow_error* kflow_questions(kflow_engine* engine, const char* run_id, char** questions) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    if (questions == nullptr) return missing("questions");
    auto open = engine->engine.questions(run_id);
    if (!open) return new_error(open.error());
    std::vector<Value> list;
    for (const Question& q : *open) {
      auto form = q.form.empty() ? Result<Value>(Value()) : Value::from_json(q.form);
      list.push_back(Value::record({{"id", q.id},
                                    {"step", q.step},
                                    {"text", q.text},
                                    {"show", q.show},
                                    {"form", form ? *form : Value()},
                                    {"expires_at_ms", q.expires_at_ms}}));
    }
    *questions = copy_of(Value::list(std::move(list)).json());
    return nullptr;
  });
}

kflow_error* kflow_answer(kflow_engine* engine, const char* run_id, const char* question_id,
                          int approve, const char* value, const char* feedback) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    if (question_id == nullptr) return missing("question_id");
    Answer answer;
    answer.approve = approve != 0;
    answer.feedback = text_of(feedback);
    if (value != nullptr) {
      auto v = Value::from_json(value);
      if (!v) return new_error(v.error());
      answer.value = std::move(*v);
    }
    return done(engine->engine.answer(run_id, question_id, answer));
  });
}

kflow_error* kflow_cancel(kflow_engine* engine, const char* run_id, const char* reason) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    return done(engine->engine.cancel(run_id, text_of(reason)));
  });
}
kflow_error* kflow_kill(kflow_engine* engine, const char* run_id, const char* reason) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    return done(engine->engine.cancel(run_id, text_of(reason), true));
  });
}
kflow_error* kflow_resume(kflow_engine* engine, const char* run_id) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    return done(engine->engine.resume(run_id));
  });
}

kflow_error* kflow_follow(kflow_engine* engine, const char* run_id, uint64_t from,
                          kflow_visitor visit, void* user, int timeout_ms, int* ended) {
  return guarded([&]() -> kflow_error* {
    if (engine == nullptr) return missing("engine");
    if (run_id == nullptr) return missing("run_id");
    if (visit == nullptr) return missing("visit");
    auto over = engine->engine.follow(
        run_id, from, [&](const Event& e) { return visit(user, e.index, e.json.c_str()) != 0; },
        timeout_ms);
    if (!over) return new_error(over.error());
    if (ended != nullptr) *ended = *over ? 1 : 0;
    return nullptr;
  });
}
