// Compiling .kflow files from C: not in a library without the parser.
#ifndef KFLOW_COMPILE_H
#define KFLOW_COMPILE_H

#include "kflow/kflow.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A file and what it imports. KFLOW_INVALID_ARGUMENT: it has errors, which are the message. */
KFLOW_API kflow_error* kflow_compile_file(const char* path, kflow_program** program);
KFLOW_API kflow_error* kflow_compile_text(const char* name, const char* text,
                                          kflow_program** program);

#ifdef __cplusplus
}
#endif
#endif
