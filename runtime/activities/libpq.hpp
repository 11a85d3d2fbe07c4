// libpq, loaded when the first PostgreSQL database is opened: it brings a dozen libraries along,
// which a program that uses none of them should not wait for.
#pragma once

#include <libpq-fe.h>

#include "compiler/base/result.hpp"

namespace kflow::activities {

#define KFLOW_LIBPQ_FUNCTIONS(X) \
  X(PQconnectStartParams)        \
  X(PQconnectPoll)               \
  X(PQfinish)                    \
  X(PQstatus)                    \
  X(PQsocket)                    \
  X(PQerrorMessage)              \
  X(PQtransactionStatus)         \
  X(PQsetNoticeProcessor)        \
  X(PQsetnonblocking)            \
  X(PQsendQuery)                 \
  X(PQsendQueryParams)           \
  X(PQsendPrepare)               \
  X(PQsendDescribePrepared)      \
  X(PQsendQueryPrepared)         \
  X(PQsetSingleRowMode)          \
  X(PQconsumeInput)              \
  X(PQisBusy)                    \
  X(PQflush)                     \
  X(PQgetResult)                 \
  X(PQresultStatus)              \
  X(PQresultErrorField)          \
  X(PQclear)                     \
  X(PQnfields)                   \
  X(PQntuples)                   \
  X(PQfname)                     \
  X(PQftype)                     \
  X(PQgetvalue)                  \
  X(PQgetlength)                 \
  X(PQgetisnull)                 \
  X(PQcmdStatus)                 \
  X(PQcmdTuples)                 \
  X(PQnparams)                   \
  X(PQparamtype)                 \
  X(PQgetCancel)                 \
  X(PQcancel)                    \
  X(PQfreeCancel)                \
  X(PQconninfoParse)             \
  X(PQconninfoFree)              \
  X(PQfreemem)

/// The functions of libpq that are used, under their own names.
struct Libpq {
#define KFLOW_MEMBER(name) decltype(&::name) name = nullptr;
  KFLOW_LIBPQ_FUNCTIONS(KFLOW_MEMBER)
#undef KFLOW_MEMBER
};

/// Loads it once; it stays for as long as the process. Thread-safe.
Result<const Libpq*> libpq();

}  // namespace kflow::activities
