/* What of kflow.h a program that was built long ago relies on, a line each: sizes and places of
 * fields (of a 64-bit machine), numbers of enumerators. */
#include <stddef.h>
#include <stdio.h>

#include "kflow/kflow.h"

#define SIZE(type) printf("size %s %zu\n", #type, sizeof(type))
#define FIELD(type, field) printf("field %s.%s %zu\n", #type, #field, offsetof(type, field))
#define NUMBER(name) printf("number %s %d\n", #name, (int)(name))

int main(void) {
  SIZE(kflow_engine_options);
  FIELD(kflow_engine_options, size);
  FIELD(kflow_engine_options, project_root);
  FIELD(kflow_engine_options, models_url);
  FIELD(kflow_engine_options, functions);
  FIELD(kflow_engine_options, clock);
  FIELD(kflow_engine_options, no_adopt);
  FIELD(kflow_engine_options, on_log);
  FIELD(kflow_engine_options, on_trouble);
  FIELD(kflow_engine_options, user);
  FIELD(kflow_engine_options, secret);
  FIELD(kflow_engine_options, project);
  SIZE(kflow_start_options);
  FIELD(kflow_start_options, size);
  FIELD(kflow_start_options, id);
  FIELD(kflow_start_options, session_id);
  FIELD(kflow_start_options, user_id);
  FIELD(kflow_start_options, idempotency_key);
  FIELD(kflow_start_options, tags);
  NUMBER(KFLOW_INVALID_ARGUMENT);
  NUMBER(KFLOW_NOT_FOUND);
  NUMBER(KFLOW_ALREADY_EXISTS);
  NUMBER(KFLOW_CONFLICT);
  NUMBER(KFLOW_PERMISSION);
  NUMBER(KFLOW_UNAVAILABLE);
  NUMBER(KFLOW_TIMEOUT);
  NUMBER(KFLOW_NO_SPACE);
  NUMBER(KFLOW_CORRUPT);
  NUMBER(KFLOW_INCOMPATIBLE);
  NUMBER(KFLOW_LIMIT);
  NUMBER(KFLOW_UNSUPPORTED);
  NUMBER(KFLOW_CANCELLED);
  NUMBER(KFLOW_IO);
  NUMBER(KFLOW_INTERNAL);
  NUMBER(KFLOW_SYNC);
  NUMBER(KFLOW_PROCESS);
  NUMBER(KFLOW_NONE);
  return 0;
}
