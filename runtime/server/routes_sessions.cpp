// Sessions: what runs belong together, and the state that they share.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "compiler/base/bytes.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/server/app.hpp"
#include "runtime/server/documents.hpp"

namespace kflow::server {
namespace {

using store::RunHeader;
using store::RunKey;

constexpr size_t list_batch = 500;
constexpr size_t most_scanned = 20'000;
constexpr size_t most_runs_counted = 1'000;  // of one session

// The name that people gave it is kept as the state of a session of its own: no id holds a zero.
std::string name_row(const std::string& id) { return id + std::string("\0name", 5); }

Result<cel::Value> read_state(store::Store& store, const std::string& id) {
  const auto row = store.session(id);
  if (!row) return std::unexpected(row.error());
  if (row->version == 0) return cel::Value();
  ByteReader in(row->state);
  cel::Value state = cel::decode_value(in);
  if (in.failed()) return fail(ErrorCode::corrupt, "the state of the session is malformed");
  return state;
}

Result<void> write_state(store::Store& store, const std::string& id, const cel::Value& state) {
  const auto row = store.session(id);
  if (!row) return std::unexpected(row.error());
  ByteWriter out;
  cel::encode_value(state, out);
  if (out.size() > machine::max_session_bytes)
    return fail(ErrorCode::limit, fmt::format("the state of a session has at most {} bytes",
                                              machine::max_session_bytes));
  return store.put_session({.id = id,
                            .expected_version = row->version,
                            .state = out.take(),
                            .files = cel::file_hashes(state)});
}

struct Known {
  std::string id;
  std::string workflow;
  std::string user_id;
  size_t runs = 0;
  machine::Millis created_at = 0;
  machine::Millis updated_at = 0;
};

// What its runs say of a session; none: it has no run that the caller may see.
Result<std::optional<Known>> look_at(store::Store& store, const Principal& who,
                                     const std::string& id) {
  const auto runs = store.list({.session_id = id, .limit = most_runs_counted});
  if (!runs) return std::unexpected(runs.error());
  Known out{.id = id};
  for (const RunHeader& h : *runs) {
    if (!who.user_id.empty() && h.user_id != who.user_id) return std::nullopt;
    if (out.runs == 0) out.workflow = h.workflow, out.user_id = h.user_id;
    ++out.runs;
    out.created_at = h.created_at;
    out.updated_at = std::max({out.updated_at, h.created_at, h.ended_at});
  }
  if (out.runs == 0) {
    const auto state = store.session(id);
    if (!state) return std::unexpected(state.error());
    if (state->version == 0 || !who.user_id.empty()) return std::nullopt;
  }
  return out;
}

void write_session(JsonWriter& out, store::Store& store, const Known& known, bool state) {
  const auto text_or_null = [&](std::string_view key, const std::string& text) {
    out.key(key), text.empty() ? out.null() : out.string(text);
  };
  out.begin_object();
  out.key("session_id"), out.string(known.id);
  const auto name = read_state(store, name_row(known.id));
  text_or_null("session_name",
               name && name->kind() == cel::Kind::string ? std::string(name->as_string()) : "");
  text_or_null("workflow_id", known.workflow);
  text_or_null("user_id", known.user_id);
  out.key("runs"), out.unsigned_integer(known.runs);
  out.key("created_at");
  known.created_at == 0 ? out.null() : out.integer(known.created_at / 1000);
  out.key("updated_at");
  known.updated_at == 0 ? out.null() : out.integer(known.updated_at / 1000);
  if (state) {
    const auto value = read_state(store, known.id);
    out.key("session_state"), out.raw(value ? cel::to_json(*value) : "null");
  }
  out.end_object();
}

// Newest first by its latest run; a session stands where that is.
void list(App& app, const CallPtr& call) {
  const auto limit = static_cast<size_t>(call->integer("limit", 50));
  store::RunFilter filter{.limit = list_batch};
  const std::string cursor = call->text("cursor");
  if (!cursor.empty()) {
    const auto parsed =
        std::from_chars(cursor.data(), cursor.data() + cursor.size(), filter.before, 16);
    if (parsed.ec != std::errc() || parsed.ptr != cursor.data() + cursor.size())
      return answer(call, Problem{422,
                                  "`cursor` is no `next_cursor` of this server",
                                  {{"cursor", "is no next_cursor of this server"}}});
  }
  std::vector<Known> found;
  RunKey next = 0;
  for (size_t scanned = 0; next == 0;) {
    const auto batch = app.store().list(filter);
    if (!batch) return answer(call, batch.error());
    for (const RunHeader& h : *batch) {
      if (found.size() == limit || ++scanned > most_scanned) {
        next = filter.before;
        break;
      }
      filter.before = h.key;
      if (h.parent != 0) continue;
      const auto newest = app.store().list({.session_id = h.session_id, .parent = 0, .limit = 1});
      if (!newest) return answer(call, newest.error());
      if (newest->empty() || newest->front().key != h.key) continue;
      auto known = look_at(app.store(), call->who, h.session_id);
      if (!known) return answer(call, known.error());
      if (*known) found.push_back(std::move(**known));
    }
    if (batch->size() < list_batch) break;
  }
  JsonWriter out;
  out.begin_object();
  out.key("data");
  out.begin_array();
  for (const Known& known : found) write_session(out, app.store(), known, false);
  out.end_array();
  out.key("meta");
  out.begin_object();
  out.key("limit"), out.unsigned_integer(limit);
  out.key("next_cursor");
  next == 0 ? out.null() : out.string(fmt::format("{:x}", next));
  out.end_object();
  out.end_object();
  call->reply(json_response(200, out.take()));
}

void with_session(App& app, const CallPtr& call, const std::function<void(const Known&)>& then) {
  const std::string id = call->text("session_id");
  if (id.size() > max_id_bytes) return answer(call, Problem{404, "there is no such session"});
  const auto known = look_at(app.store(), call->who, id);
  if (!known) return answer(call, known.error());
  if (!*known) return answer(call, Problem{404, "there is no such session"});
  then(**known);
}

void answer_with(App& app, const CallPtr& call, const Known& known) {
  JsonWriter out;
  write_session(out, app.store(), known, true);
  call->reply(json_response(200, out.take()));
}

void get(App& app, const CallPtr& call) {
  with_session(app, call, [&](const Known& known) { answer_with(app, call, known); });
}

void patch(App& app, const CallPtr& call) {
  with_session(app, call, [&](const Known& known) {
    if (const cel::Value* state = call->value("session_state")) {
      if (auto put = write_state(app.store(), known.id, *state); !put)
        return answer(call, put.error());
    }
    if (const cel::Value* name = call->value("session_name")) {
      if (auto put = write_state(app.store(), name_row(known.id), *name); !put)
        return answer(call, put.error());
    }
    answer_with(app, call, known);
  });
}

// Its runs go too; refused while one goes on.
void remove(App& app, const CallPtr& call) {
  with_session(app, call, [&](const Known& known) {
    for (;;) {
      const auto runs = app.store().list({.session_id = known.id, .limit = list_batch});
      if (!runs) return answer(call, runs.error());
      if (runs->empty()) break;
      for (const RunHeader& h : *runs) {
        if (!is_final(h.status))
          return answer(call, Problem{409, "the run " + h.id +
                                               " of the session goes on; cancel it "
                                               "first"});
      }
      for (const RunHeader& h : *runs) {
        auto removed = app.store().remove(h.key);
        // A child goes with its parent.
        if (!removed && removed.error().code != ErrorCode::not_found)
          return answer(call, removed.error());
      }
    }
    for (const std::string& id : {known.id, name_row(known.id)}) {
      if (auto removed = app.store().remove_session(id); !removed)
        return answer(call, removed.error());
    }
    call->reply({.status = 204});
  });
}

}  // namespace

void add_session_routes(App& app) {
  const auto bind = [&app](void (*handler)(App&, const CallPtr&)) {
    return [&app, handler](const CallPtr& call) { handler(app, call); };
  };
  app.router().add(
      {.method = "GET",
       .pattern = "/sessions",
       .id = "list_sessions",
       .summary = "Sessions, by their latest run",
       .parameters = {{.name = "type", .doc = "only `workflow` there is", .choices = {"workflow"}},
                      {.name = "limit",
                       .type = Type::integer,
                       .doc = "at most so many",
                       .min = 1,
                       .max = 1000},
                      {.name = "cursor",
                       .doc = "`next_cursor` of the answer before",
                       .max_bytes = 32}},
       .answers = {{200, "a page of them", "SessionList"}},
       .run = bind(list)});
  app.router().add(
      {.method = "GET",
       .pattern = "/sessions/{session_id}",
       .id = "get_session",
       .summary = "A session with its state",
       .parameters = {{.name = "type", .doc = "only `workflow` there is", .choices = {"workflow"}}},
       .answers = {{200, "the session", "Session"}},
       .run = bind(get)});
  const Answer moved{409, "a run has changed it at the same time", "Problem",
                     "application/problem+json"};
  app.router().add(
      {.method = "PATCH",
       .pattern = "/sessions/{session_id}",
       .id = "patch_session",
       .summary = "Changes a session's name or state; runs see the state when they "
                  "start, or at their next `set`",
       .scope = Scope::run,
       .parameters =
           {{.name = "session_state",
             .in = In::body,
             .type = Type::object,
             .doc = "the whole state"},
            {.name = "session_name", .in = In::body, .doc = "for people", .max_bytes = 1024}},
       .answers = {{200, "the session", "Session"}, moved},
       .run = bind(patch)});
  app.router().add({.method = "POST",
                    .pattern = "/sessions/{session_id}/rename",
                    .id = "rename_session",
                    .summary = "Gives a session another name",
                    .scope = Scope::run,
                    .parameters = {{.name = "session_name",
                                    .in = In::body,
                                    .doc = "for people",
                                    .required = true,
                                    .max_bytes = 1024}},
                    .answers = {{200, "the session", "Session"}, moved},
                    .run = bind(patch)});
  app.router().add(
      {.method = "DELETE",
       .pattern = "/sessions/{session_id}",
       .id = "delete_session",
       .summary = "Removes a session with its runs",
       .scope = Scope::admin,
       .answers = {{204, "it is gone"},
                   {409, "a run of it goes on", "Problem", "application/problem+json"}},
       .run = bind(remove)});
}

}  // namespace kflow::server
