// Notices: the frames of a stream that are no events of the run.
#pragma once

#include <string>

#include "runtime/server/feed.hpp"

namespace kflow::server {

/// JSON documents. `from`: the first index that is wanted.
std::string catch_up_notice(const store::RunHeader& run, uint64_t from, const Feed::State& state);
std::string subscribed_notice(const store::RunHeader& run, const Feed::State& state);
std::string replay_notice(const store::RunHeader& run, uint64_t from, const Feed::State& state);
/// One of them as a Server-Sent Event: it has no `id:`.
std::string notice_frame(std::string_view event, std::string_view json);

}  // namespace kflow::server
