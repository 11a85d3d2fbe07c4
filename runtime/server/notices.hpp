// Notices: the frames of a stream that are no events of the run.
#pragma once

#include <string>

#include "runtime/server/feed.hpp"

namespace kflow::server {

/// How many events a reader is sent who wants those from index `from` on: not always as many as
/// there are indexes, since retention takes some away.
Result<uint64_t> count_missed(store::Store& store, const store::RunHeader& run, uint64_t from,
                              const Feed::State& state);

/// JSON documents. `missed`: as `count_missed` says; `from`: the first index that is wanted.
std::string catch_up_notice(const store::RunHeader& run, uint64_t missed, const Feed::State& state);
std::string subscribed_notice(const store::RunHeader& run, const Feed::State& state);
std::string replay_notice(const store::RunHeader& run, uint64_t from, uint64_t missed,
                          const Feed::State& state);
/// One of them as a Server-Sent Event: it has no `id:`.
std::string notice_frame(std::string_view event, std::string_view json);

}  // namespace kflow::server
