// Rows of the table of routes that several routes have.
#pragma once

#include "runtime/server/router.hpp"

namespace kflow::server {

inline Parameter limit_row() {
  return {.name = "limit", .type = Type::integer, .doc = "at most so many", .min = 1, .max = 1000};
}
inline Parameter cursor_row() {
  return {.name = "cursor", .doc = "`next_cursor` of the answer before", .max_bytes = 32};
}
inline Parameter page_row() {
  return {.name = "page",
          .type = Type::integer,
          .doc = "instead of a cursor: 1, 2, …; then totals are counted, up to 10 000",
          .min = 1,
          .max = 10'000};
}
/// `session_id` beside a run that is named already.
inline Parameter of_session_row(In in) {
  return {.name = "session_id",
          .in = in,
          .doc = "404 if the run is another session's",
          .max_bytes = max_id_bytes};
}
/// `user_id` beside a run or a session that is named already.
inline Parameter of_user_row(In in) {
  return {
      .name = "user_id", .in = in, .doc = "404 if it is another user's", .max_bytes = max_id_bytes};
}
/// `type` of sessions.
inline Parameter session_type_row() {
  return {.name = "type", .doc = "only `workflow` there is", .choices = {"workflow"}};
}
inline Parameter last_event_row(In in) {
  return {.name = in == In::header ? "Last-Event-ID" : "last_event_index",
          .in = in,
          .type = Type::integer,
          .doc = in == In::header ? "the last event that was seen; beats the query"
                                  : "the last event that was seen",
          .min = -1};
}
inline Parameter idempotency_row(std::string_view doc) {
  return {.name = "Idempotency-Key", .in = In::header, .doc = doc, .max_bytes = max_id_bytes};
}
inline Parameter stream_row() {
  return {.name = "stream",
          .in = In::body,
          .type = Type::boolean,
          .doc = "answer with the events that follow (the default)"};
}
inline Parameter background_row() {
  return {.name = "background",
          .in = In::body,
          .type = Type::boolean,
          .doc = "with stream=false: answer at once, with 202"};
}
/// The id of a run that is made.
inline Parameter new_run_row(std::string_view name) {
  return {
      .name = name, .in = In::body, .doc = "its id; else a new UUIDv7", .max_bytes = max_id_bytes};
}

/// An answer that is a problem document.
inline Answer refusal(int status, std::string_view doc) {
  return {status, doc, "Problem", "application/problem+json"};
}

}  // namespace kflow::server
