// The quota: new work is refused first, then all, and what is there stays.
#include "tests/support/catch.hpp"
#include "tests/unit/store/support.hpp"

namespace kflow::store::test {

TEST_CASE("a store at its limit refuses new runs, lets others finish, and loses nothing") {
  const TempFolder folder;
  LmdbOptions options;
  options.max_bytes = 8 << 20;
  options.durability = Durability::none;
  auto opened = open_lmdb_store(folder.path() + "/s", options);
  REQUIRE(opened);
  Store& store = **opened;
  const OwnerId own = store.register_owner("").value();
  const RunHeader going = header_of(store, start_one(store, new_run("going", own, 1)));
  const std::string much(100'000, 'x');
  std::optional<Error> refused;
  size_t started = 0;
  for (int i = 0; i < 1000 && !refused; ++i) {
    NewRun run = new_run("run" + std::to_string(i), own, 1);
    run.events = much;
    const auto out = store.start({&run, 1});
    REQUIRE(out);
    refused = out->front().refused;
    started += refused ? 0 : 1;
  }
  REQUIRE(refused);
  CHECK(refused->code == ErrorCode::no_space);
  CHECK(started > 40);
  CHECK(store.info().value().runs == started + 1);

  // The reserve is for those on their way; then they are refused too.
  uint64_t seq = 1;
  std::optional<Error> full;
  while (!full) {
    const RunCommit commit = commit_of(going, seq, much);
    const auto out = store.commit({&commit, 1});
    if (out) {
      ++seq;
    } else {
      full = out.error();
    }
    REQUIRE(seq < 1000);
  }
  CHECK(full->code == ErrorCode::no_space);
  CHECK(full->message.find("limit of 8 MiB") != std::string::npos);
  CHECK(seq > 1);
  CHECK(store.read(going.key, 0, 1'000'000'000).value().size() == seq);
}

}  // namespace kflow::store::test
