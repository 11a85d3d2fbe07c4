// What a reader who comes back is told first.
#include "runtime/server/notices.hpp"

#include <fmt/format.h>

#include "compiler/base/json.hpp"
#include "runtime/engine/stream.hpp"

namespace kflow::server {

Result<uint64_t> count_missed(store::Store& store, const store::RunHeader& run, uint64_t from,
                              const Feed::State& state) {
  return engine::RunStream(store, run.key).count(from, state.next_index);
}

std::string catch_up_notice(const store::RunHeader& run, uint64_t missed,
                            const Feed::State& state) {
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string("catch_up");
  out.key("run_id"), out.string(run.id);
  out.key("status"), out.string(machine::to_string(state.status));
  out.key("missed_events"), out.unsigned_integer(missed);
  out.key("current_event_count"), out.unsigned_integer(state.next_index);
  out.key("message"), out.string("what was missed follows, then what happens from now on");
  out.end_object();
  return out.take();
}

std::string subscribed_notice(const store::RunHeader& run, const Feed::State& state) {
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string("subscribed");
  out.key("run_id"), out.string(run.id);
  out.key("status"), out.string(machine::to_string(state.status));
  out.key("current_event_count"), out.unsigned_integer(state.next_index);
  out.key("message"), out.string("from here on, events are sent as they happen");
  out.end_object();
  return out.take();
}

std::string replay_notice(const store::RunHeader& run, uint64_t from, uint64_t missed,
                          const Feed::State& state) {
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string("replay");
  out.key("run_id"), out.string(run.id);
  out.key("status"), out.string(machine::to_string(state.status));
  out.key("total_events"), out.unsigned_integer(missed);
  out.key("total_buffered"), out.unsigned_integer(state.next_index);
  out.key("last_event_index_requested"), out.integer(static_cast<int64_t>(from) - 1);
  out.key("message"), out.string("the events after that one follow, then the stream ends");
  out.end_object();
  return out.take();
}

std::string notice_frame(std::string_view event, std::string_view json) {
  return fmt::format("event: {}\ndata: {}\n\n", event, json);
}

}  // namespace kflow::server
