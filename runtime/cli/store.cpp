// rm, gc, export, import, store: verbs on what is kept.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>

#include "compiler/base/json.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/source/source.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/config/settings.hpp"
#include "runtime/engine/portable.hpp"
#include "runtime/engine/retention.hpp"

namespace kflow::cli {
namespace {

constexpr size_t max_import_bytes = 2ULL << 30;

std::string size_text(uint64_t bytes) {
  if (bytes < 1U << 20) return fmt::format("{} KiB", (bytes + 1023) >> 10);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1U << 20));
}

// "1 run", "2 runs"
std::string counted(uint64_t n, const std::string& what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

Result<int64_t> duration_ms(const std::string& text) {
  const auto d = cel::parse_duration_literal(text);
  if (!d || d->nanos < 1'000'000)
    return fail(ErrorCode::invalid_argument, "`" + text + "` is no duration; write 12h or 30d");
  return d->nanos / 1'000'000;
}

}  // namespace

int remove(const Common& common, const std::vector<std::string>& runs) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  int status = Exit::ok;
  for (const std::string& run : runs) {
    auto header = find_run(**store, run);
    auto removed =
        header ? (*store)->remove(header->key) : Result<void>(std::unexpected(header.error()));
    if (!removed) {
      status = fail_with(removed.error());
    } else {
      std::fprintf(stderr, "run %s is removed\n", short_id(header->id).c_str());
    }
  }
  return status;
}

int gc(const Common& common, const GcOptions& options) {
  const Place place = find_place(common.store);
  const auto settings = config::load_settings(place.project_root);
  if (!settings) return fail_with(settings.error());
  store::Store::Retention retention{
      .now = engine::SystemClock().now(),
      .default_age_ms = settings->retention.age_ms,
      .ages = {},
      .keep_newest = options.keep > 0 ? options.keep : settings->retention.keep,
      .dry_run = options.dry_run};
  for (const auto& [name, age] : settings->retention.by_status) {
    for (const auto status : {machine::RunStatus::completed, machine::RunStatus::error,
                              machine::RunStatus::cancelled}) {
      if (machine::to_string(status) == name) retention.ages.emplace_back(status, age);
    }
  }
  if (!options.older_than.empty()) {
    const auto age = duration_ms(options.older_than);
    if (!age) return fail_with(age.error());
    retention.default_age_ms = *age;
    retention.ages.clear();
  }
  engine::Trim trim{.now = retention.now,
                    .age_ms = settings->retention.deltas_ms,
                    .dry_run = options.dry_run};
  if (!options.deltas.empty()) {
    const auto age = duration_ms(options.deltas);
    if (!age) return fail_with(age.error());
    trim.age_ms = *age;
  }
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto gone = (*store)->collect(retention);
  if (!gone) return fail_with(gone.error());
  auto trimmed = trim.age_ms > 0 ? engine::trim_deltas(**store, trim) : engine::Trimmed();
  if (!trimmed) return fail_with(trimmed.error());
  if (common.json) {
    JsonWriter out;
    out.begin_object();
    out.key("dry_run"), out.boolean(options.dry_run);
    out.key("runs"), out.unsigned_integer(gone->runs);
    out.key("blobs"), out.unsigned_integer(gone->blobs);
    out.key("programs"), out.unsigned_integer(gone->programs);
    out.key("cache_entries"), out.unsigned_integer(gone->cache_entries);
    out.key("run_ids");
    out.begin_array();
    for (const std::string& id : gone->ids) out.string(id);
    out.end_array();
    out.key("trimmed_runs"), out.unsigned_integer(trimmed->runs.size());
    out.key("trimmed_events"), out.unsigned_integer(trimmed->events);
    out.end_object();
    std::printf("%s\n", out.text().c_str());
    return Exit::ok;
  }
  if (options.dry_run) {
    for (const std::string& id : gone->ids) std::printf("%s\n", id.c_str());
    std::fprintf(stderr, "%s would be removed\n", counted(gone->runs, "run").c_str());
    if (trim.age_ms > 0)
      std::fprintf(stderr, "%s would lose the pieces of models' answers\n",
                   counted(trimmed->runs.size(), "run").c_str());
    return Exit::ok;
  }
  std::fprintf(stderr, "removed: %s, %s, %s, %s\n", counted(gone->runs, "run").c_str(),
               counted(gone->blobs, "blob").c_str(), counted(gone->programs, "program").c_str(),
               counted(gone->cache_entries, "cached value").c_str());
  if (trim.age_ms > 0)
    std::fprintf(stderr, "trimmed: %s of models' answers out of %s\n",
                 counted(trimmed->events, "piece").c_str(),
                 counted(trimmed->runs.size(), "run").c_str());
  return Exit::ok;
}

int export_run(const Common& common, const std::string& run, const std::string& file) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, run);
  if (!header) return fail_with(header.error());
  auto bytes = engine::export_run(**store, *header);
  if (!bytes) return fail_with(bytes.error());
  const std::string path = file.empty() ? header->id + ".kfrun" : file;
  if (path == "-") {
    if (::isatty(STDOUT_FILENO) != 0)
      return fail_with({ErrorCode::invalid_argument,
                        "an exported run is no text for a terminal; name a file with -o"});
    std::cout.write(bytes->data(), static_cast<std::streamsize>(bytes->size())).flush();
    return std::cout ? Exit::ok : fail_with({ErrorCode::io, "cannot write to standard output"});
  }
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes->data(), static_cast<std::streamsize>(bytes->size())).flush();
  if (!out) return fail_with({ErrorCode::io, "cannot write `" + path + "`"});
  std::fprintf(stderr, "run %s is in %s (%s)\n", short_id(header->id).c_str(), path.c_str(),
               size_text(bytes->size()).c_str());
  return Exit::ok;
}

int import_run(const Common& common, const std::string& file, const std::string& id) {
  std::string bytes;
  if (file == "-") {
    bytes.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    auto content = source::read_file(file, max_import_bytes);
    if (!content) return fail_with(content.error());
    bytes = std::move(*content);
  }
  const Place place = find_place(common.store);
  auto store = open_store(place, true);
  if (!store) return fail_with(store.error());
  auto made = engine::import_run(**store, bytes, id);
  if (!made) return fail_with(made.error());
  std::printf("%s\n", made->id.c_str());
  return Exit::ok;
}

int store_info(const Common& common) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto info = (*store)->info();
  if (!info) return fail_with(info.error());
  auto owners = (*store)->owners();
  if (!owners) return fail_with(owners.error());
  if (common.json) {
    JsonWriter out;
    out.begin_object();
    out.key("folder"), out.string(place.store);
    out.key("format"), out.integer(info->format);
    out.key("durability"), out.string(store::to_string(info->durability));
    out.key("runs"), out.unsigned_integer(info->runs);
    out.key("bytes_used"), out.unsigned_integer(info->bytes_used);
    out.key("bytes_limit"), out.unsigned_integer(info->bytes_limit);
    out.key("pids");
    out.begin_array();
    for (const auto& owner : *owners) {
      if ((*store)->alive(owner.id)) out.integer(owner.pid);
    }
    out.end_array();
    out.end_object();
    std::printf("%s\n", out.text().c_str());
    return Exit::ok;
  }
  std::printf(
      "store       %s\nformat      %u\ndurability  %s\nruns        %lu\nused        %s of %s\n",
      place.store.c_str(), info->format, std::string(store::to_string(info->durability)).c_str(),
      static_cast<unsigned long>(info->runs), size_text(info->bytes_used).c_str(),
      size_text(info->bytes_limit).c_str());
  for (const auto& owner : *owners) {
    if ((*store)->alive(owner.id)) std::printf("process     %ld\n", static_cast<long>(owner.pid));
  }
  return Exit::ok;
}

// LMDB trusts the pages of its file: damaged ones can make it crash. That is an answer too.
static int isolated(const std::function<int()>& body) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child < 0) return body();
  if (child == 0) {
    const int code = body();
    std::fflush(stdout);
    ::_exit(code);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return fail_with({ErrorCode::corrupt,
                    "the store's data file is damaged: reading it ended by signal " +
                        std::to_string(WTERMSIG(status)) +
                        "; go back to a backup (`kflow store backup` makes one), or copy what can "
                        "still be read with `kflow export`"});
}

static int check_here(const Common& common) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto findings = (*store)->check();
  if (!findings) return fail_with(findings.error());
  for (const auto& f : *findings) std::printf("%s: %s\n", f.where.c_str(), f.what.c_str());
  if (findings->empty()) std::fprintf(stderr, "the store is sound\n");
  return findings->empty() ? Exit::ok : Exit::failed;
}

int store_check(const Common& common) {
  return isolated([&] { return check_here(common); });
}

int store_copy(const Common& common, const std::string& folder, bool compact) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  if (auto copied = (*store)->backup(folder, compact); !copied) return fail_with(copied.error());
  std::fprintf(stderr, "the store is copied to %s%s\n", folder.c_str(),
               compact ? "; put it in the old one's place when no kflow process runs" : "");
  return Exit::ok;
}

}  // namespace kflow::cli
