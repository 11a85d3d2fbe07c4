// kflow for C: compile or load a program, run it durably, talk to it.
/*
 * ABI. Handles are opaque. Structs that the caller fills in begin with their size: set it by
 * `KFLOW_INIT`, and fields that a later version appends are at their defaults. Functions and
 * enumerators are only ever added; numbers are never reused.
 *
 * Errors. A function that can fail gives NULL where it succeeded, and else an error that the caller
 * frees. Results stand in the last parameters and are set only where it succeeded.
 *
 * Texts. Given texts end in NUL, are UTF-8, and are copied. Values are JSON. Texts that are handed
 * out are freed by `kflow_string_free`, those that callbacks are given live until they return.
 *
 * Threads. All functions may be called from any thread, at the same time. Callbacks run on threads
 * of the engine: functions several at a time, asynchronous ones and log lines one after another.
 * They must not call `kflow_engine_close`, and those of logs must not call the engine at all.
 *
 * Lifetime. A store, a project, a program and a clock may be closed while an engine uses them.
 * After `kflow_engine_close` no callback is called any more. No fork while a store is open.
 *
 * Mistakes. NULL where something is needed is an error of KFLOW_INVALID_ARGUMENT, or does nothing
 * where there is no error to give. Closing an engine from within one of its callbacks ends the
 * program with a message; a handle that was freed must not be used. */
#ifndef KFLOW_H
#define KFLOW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KFLOW_API __attribute__((visibility("default")))
#else
#define KFLOW_API
#endif

/* `kflow_engine_options options = KFLOW_INIT(kflow_engine_options);` */
#ifdef __cplusplus
#define KFLOW_INIT(type) {sizeof(type)}
#else
#define KFLOW_INIT(type) {.size = sizeof(type)}
#endif

typedef struct kflow_error kflow_error;
typedef struct kflow_store kflow_store;
typedef struct kflow_project kflow_project;
typedef struct kflow_program kflow_program;
typedef struct kflow_functions kflow_functions;
typedef struct kflow_clock kflow_clock;
typedef struct kflow_engine kflow_engine;
typedef struct kflow_call kflow_call;

/* ---- errors and texts */

typedef enum kflow_error_code {
  KFLOW_INVALID_ARGUMENT = 0,
  KFLOW_NOT_FOUND = 1,
  KFLOW_ALREADY_EXISTS = 2,
  KFLOW_CONFLICT = 3,
  KFLOW_PERMISSION = 4,
  KFLOW_UNAVAILABLE = 5,
  KFLOW_TIMEOUT = 6,
  KFLOW_NO_SPACE = 7,
  KFLOW_CORRUPT = 8,
  KFLOW_INCOMPATIBLE = 9,
  KFLOW_LIMIT = 10,
  KFLOW_UNSUPPORTED = 11,
  KFLOW_CANCELLED = 12,
  KFLOW_IO = 13,
  KFLOW_INTERNAL = 14
} kflow_error_code;

KFLOW_API const char* kflow_version(void);
KFLOW_API kflow_error_code kflow_error_get_code(const kflow_error* error);
/* Lives as long as the error. */
KFLOW_API const char* kflow_error_message(const kflow_error* error);
KFLOW_API void kflow_error_free(
    kflow_error* error); /* NULL is fine, as for all `free` and `close` */
KFLOW_API void kflow_string_free(char* text);

/* ---- stores */

typedef enum kflow_durability {
  KFLOW_SYNC = 0,    /* survives a power loss */
  KFLOW_PROCESS = 1, /* survives the death of the process */
  KFLOW_NONE = 2
} kflow_durability;

/* A folder, made if it is not there; `durability` is that of a store which is made now. */
KFLOW_API kflow_error* kflow_store_open(const char* folder, kflow_durability durability,
                                        kflow_store** store);
/* For tests. */
KFLOW_API kflow_error* kflow_store_in_memory(kflow_store** store);
KFLOW_API void kflow_store_close(kflow_store* store);

/* ---- projects: a folder with a kflow.yaml, read as the command line reads it */

/* `path`: the folder, or the file; NULL: the current folder. Without the file: the defaults. */
KFLOW_API kflow_error* kflow_project_open(const char* path, kflow_project** project);
/* Where the project's command line has it: $KFLOW_STORE, or `.kflow` in the folder. */
KFLOW_API kflow_error* kflow_project_open_store(const kflow_project* project,
                                                kflow_durability durability, kflow_store** store);
KFLOW_API void kflow_project_free(kflow_project* project);

/* ---- programs; `kflow_compile.h` compiles .kflow files */

/* What `kflowc build FILE -o PROGRAM.kir` has written. */
KFLOW_API kflow_error* kflow_program_load(const char* path, kflow_program** program);
KFLOW_API kflow_error* kflow_program_decode(const void* bytes, size_t size,
                                            kflow_program** program);
KFLOW_API void kflow_program_free(kflow_program* program);

/* ---- functions that workflows call: `extern tool`s without a `command` */

/* Gives the value as JSON by `kflow_call_value`, or fails by `kflow_call_fail`, before it returns;
 * neither is the failure `abandoned`. `arguments`: a JSON object. */
typedef void (*kflow_function)(void* user, kflow_call* call, const char* arguments);

KFLOW_API kflow_error* kflow_functions_new(kflow_functions** functions);
KFLOW_API void kflow_functions_free(kflow_functions* functions);
KFLOW_API kflow_error* kflow_functions_add(kflow_functions* functions, const char* name,
                                           kflow_function function, void* user);
/* One that begins something and returns. The call is the function's then: whoever has it gives a
 * value or fails, once and from any thread, and frees it by `kflow_call_free`. */
KFLOW_API kflow_error* kflow_functions_add_async(kflow_functions* functions, const char* name,
                                                 kflow_function function, void* user);

/* Texts live as long as the call. */
KFLOW_API const char* kflow_call_run_id(const kflow_call* call);
/* Equal for all attempts of one step. */
KFLOW_API const char* kflow_call_idempotency_key(const kflow_call* call);
KFLOW_API uint32_t kflow_call_attempt(const kflow_call* call);
/* 1: nobody waits for the value any more. */
KFLOW_API int kflow_call_stopped(const kflow_call* call);
/* JSON that cannot be read is the failure `malformed`. The first of the two counts. */
KFLOW_API void kflow_call_value(kflow_call* call, const char* json);
KFLOW_API void kflow_call_fail(kflow_call* call, const char* code, const char* message,
                               int retryable);
/* Of asynchronous calls only. */
KFLOW_API void kflow_call_free(kflow_call* call);

/* ---- a clock that stands until it is set, for tests */

KFLOW_API kflow_error* kflow_clock_new(int64_t now_ms, kflow_clock** clock);
KFLOW_API void kflow_clock_set(kflow_clock* clock, int64_t now_ms);
KFLOW_API void kflow_clock_free(kflow_clock* clock);

/* ---- the engine */

typedef struct kflow_engine_options {
  size_t size;              /* KFLOW_INIT */
  const char* project_root; /* base of relative paths; NULL: the project's, or the current folder */
  const char* models_url;   /* where all models are called; NULL: where their providers are */
  kflow_functions* functions; /* copied; NULL: none */
  kflow_clock* clock;         /* NULL: the system's */
  int no_adopt;               /* 1: runs that nobody has are left alone */
  void (*on_log)(void* user, const char* line);
  void (*on_trouble)(void* user, const char* what);
  void* user;
  /* The value of a secret, or NULL; copied before it returns to the caller's hands. NULL: what the
   * project says, else the environment. */
  const char* (*secret)(void* user, const char* name);
  kflow_project*
      project; /* its kflow.yaml counts where nothing is said above; NULL: no file is read */
} kflow_engine_options;

/* `options` NULL: the defaults. */
KFLOW_API kflow_error* kflow_engine_open(const kflow_store* store,
                                         const kflow_engine_options* options,
                                         kflow_engine** engine);
/* Stops gently: runs are given up, and the next engine on the store goes on with them. */
KFLOW_API void kflow_engine_close(kflow_engine* engine);

typedef struct kflow_start_options {
  size_t size; /* KFLOW_INIT */
  const char* id;
  const char* session_id;
  const char* user_id;
  const char* idempotency_key;
  const char* tags; /* a JSON array of texts */
} kflow_start_options;

/* Durable when it returns. `input`: a JSON object, or NULL. `options`: may be NULL. */
KFLOW_API kflow_error* kflow_start(kflow_engine* engine, const kflow_program* program,
                                   const char* workflow, const char* input,
                                   const kflow_start_options* options, char** run_id);
/* {"id", "workflow", "status": "PENDING" | "RUNNING" | "PAUSED" | "COMPLETED" | "CANCELLED" |
 * "ERROR", "created_at_ms", "ended_at_ms", "value", "error": {"kind", "code", "message", "step",
 * "data"}}; `value` of a completed run, `error` of one that failed or was cancelled. */
KFLOW_API kflow_error* kflow_get(kflow_engine* engine, const char* run_id, char** run);
/* Waits until it has ended, or for `timeout_ms` (below 0: without limit); as it is then. */
KFLOW_API kflow_error* kflow_await(kflow_engine* engine, const char* run_id, int timeout_ms,
                                   char** run);
/* A JSON array of what `kflow_get` gives, newest first. `status`: "RUNNING", …; NULL: any. */
KFLOW_API kflow_error* kflow_list(kflow_engine* engine, const char* status, size_t limit,
                                  char** runs);
KFLOW_API kflow_error* kflow_signal(kflow_engine* engine, const char* run_id, const char* name,
                                    const char* value, const char* key);
/* [{"id", "step", "text", "show", "form", "expires_at_ms"}]; `form`: a JSON Schema, or null. */
KFLOW_API kflow_error* kflow_questions(kflow_engine* engine, const char* run_id, char** questions);
/* `value`: JSON, or NULL where none is asked for. */
KFLOW_API kflow_error* kflow_answer(kflow_engine* engine, const char* run_id,
                                    const char* question_id, int approve, const char* value,
                                    const char* feedback);
KFLOW_API kflow_error* kflow_cancel(kflow_engine* engine, const char* run_id, const char* reason);
/* Nothing is waited for, nothing compensated. */
KFLOW_API kflow_error* kflow_kill(kflow_engine* engine, const char* run_id, const char* reason);
KFLOW_API kflow_error* kflow_resume(kflow_engine* engine, const char* run_id);

/* 0: stop. */
typedef int (*kflow_visitor)(void* user, uint64_t index, const char* frame);
/* Events from index `from` on, in order, as they come: until the run has ended (`*ended` 1), the
 * visitor stops, or the time is over (below 0: never). 0: what there is now. */
KFLOW_API kflow_error* kflow_follow(kflow_engine* engine, const char* run_id, uint64_t from,
                                    kflow_visitor visit, void* user, int timeout_ms, int* ended);

#ifdef __cplusplus
}
#endif
#endif
