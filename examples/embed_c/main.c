/* A C program that runs a workflow: functions of its own, a signal, the events, the result. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kflow/kflow.h"
#include "kflow/kflow_compile.h"

static void check(kflow_error* error) {
  if (error == NULL) return;
  fprintf(stderr, "%s\n", kflow_error_message(error));
  kflow_error_free(error);
  exit(1);
}

/* {"n": 4} → 4; a host would use its JSON library. */
static long number_in(const char* arguments) {
  const char* colon = strchr(arguments, ':');
  return colon == NULL ? 0 : strtol(colon + 1, NULL, 10);
}

static void twice(void* user, kflow_call* call, const char* arguments) {
  (void)user;
  char json[32];
  const long n = number_in(arguments);
  if (n > 1000) {
    kflow_call_fail(call, "too_large", "at most 1000", 0);
    return;
  }
  snprintf(json, sizeof json, "%ld", 2 * n);
  kflow_call_value(call, json);
}

struct job {
  kflow_call* call;
  long n;
};

static void* work(void* data) {
  struct job* job = data;
  char json[32];
  snprintf(json, sizeof json, "%ld", 2 * job->n);
  if (!kflow_call_stopped(job->call)) kflow_call_value(job->call, json);
  kflow_call_free(job->call);
  free(job);
  return NULL;
}

/* Begins a thread of its own and returns. */
static void later(void* user, kflow_call* call, const char* arguments) {
  (void)user;
  struct job* job = malloc(sizeof *job);
  pthread_t thread;
  job->call = call;
  job->n = number_in(arguments);
  if (pthread_create(&thread, NULL, work, job) != 0) {
    kflow_call_fail(call, "thread", "no thread can be started", 1);
    kflow_call_free(call);
    free(job);
    return;
  }
  pthread_detach(thread);
}

static int show(void* user, uint64_t index, const char* frame) {
  (void)user;
  printf("%llu %s\n", (unsigned long long)index, frame);
  return 1;
}

int main(int argc, char** argv) {
  kflow_program* program;
  kflow_store* store;
  kflow_functions* functions;
  kflow_engine* engine;
  kflow_engine_options options = KFLOW_INIT(kflow_engine_options);
  char *run, *result;
  int ended = 0;
  if (argc != 3) {
    fprintf(stderr, "usage: embed_c WORKFLOW.kflow STORE\n");
    return 2;
  }
  check(kflow_compile_file(argv[1], &program));
  check(kflow_store_open(argv[2], KFLOW_SYNC, &store));
  check(kflow_functions_new(&functions));
  check(kflow_functions_add(functions, "twice", twice, NULL));
  check(kflow_functions_add_async(functions, "later", later, NULL));
  options.functions = functions;
  check(kflow_engine_open(store, &options, &engine));

  check(kflow_start(engine, program, "main", "{\"n\": 5}", NULL, &run));
  check(kflow_signal(engine, run, "more", "1", NULL));
  check(kflow_follow(engine, run, 0, show, NULL, 60000, &ended));
  check(kflow_await(engine, run, 60000, &result));
  printf("%s\n", result);

  kflow_string_free(result);
  kflow_string_free(run);
  kflow_engine_close(engine);
  kflow_functions_free(functions);
  kflow_store_close(store);
  kflow_program_free(program);
  return ended ? 0 : 1;
}
