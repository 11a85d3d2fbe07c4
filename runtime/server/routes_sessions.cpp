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
#include "runtime/server/parameters.hpp"
#include "runtime/server/sessions.hpp"

namespace kflow::server {
namespace {

using store::RunHeader;
using store::RunKey;

constexpr size_t list_batch = 500;
constexpr size_t most_scanned = 20'000;  // runs that one answer looks at
constexpr uint64_t most_counted = 10'000;

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

void write_session(JsonWriter& out, store::Store& store, const KnownSession& known, bool state) {
  const auto text_or_null = [&](std::string_view key, const std::string& text) {
    out.key(key), text.empty() ? out.null() : out.string(text);
  };
  out.begin_object();
  out.key("session_id"), out.string(known.id);
  const auto name = read_state(store, name_row(known.id));
  // One that nobody has named goes by its id.
  const bool named = name && name->kind() == cel::Kind::string && !name->as_string().empty();
  out.key("session_name"), out.string(named ? std::string(name->as_string()) : known.id);
  text_or_null("workflow_id", known.workflow);
  text_or_null("workflow_name", known.workflow);
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

// Whose sessions are meant; none: another user's than the token acts for.
std::optional<std::string> user_of(const Call& call) {
  std::string user = call.text("user_id", call.who.user_id);
  if (!call.who.user_id.empty() && user != call.who.user_id) return std::nullopt;
  return user;
}

struct ListQuery {
  store::RunFilter filter;
  std::string user_id;
  std::string workflow;
  std::string name;  // a part of it, in lower case
  size_t limit = 0;
  size_t skip = 0;
  bool count = false;
};

struct Listed {
  std::vector<KnownSession> sessions;
  RunKey next = 0;  // cursor; 0: that was all
  uint64_t fitting = 0;
  bool capped = false;
};

bool fits(store::Store& store, const ListQuery& query, const RunHeader& latest) {
  if (!query.user_id.empty() && latest.user_id != query.user_id) return false;
  if (!query.workflow.empty() && latest.workflow != query.workflow) return false;
  if (query.name.empty()) return true;
  const auto name = read_state(store, name_row(latest.session_id));
  const bool named = name && name->kind() == cel::Kind::string;
  return lower(named ? name->as_string() : latest.session_id).find(query.name) != std::string::npos;
}

// Newest first by its latest run; a session stands where that is.
Result<Listed> list_sessions(store::Store& store, ListQuery query) {
  Listed out;
  size_t scanned = 0;
  query.filter.limit = list_batch;
  for (;;) {
    const auto batch = store.list(query.filter);
    if (!batch) return std::unexpected(batch.error());
    for (const RunHeader& h : *batch) {
      const bool full = out.sessions.size() == query.limit;
      if (full && out.next == 0) out.next = query.filter.before;
      out.capped = out.fitting >= most_counted || scanned >= most_scanned;
      if ((full && !query.count) || out.capped) {
        if (out.next == 0) out.next = query.filter.before;
        return out;
      }
      ++scanned;
      query.filter.before = h.key;
      if (h.parent != 0) continue;
      const auto newest = store.list({.session_id = h.session_id, .parent = 0, .limit = 1});
      if (!newest) return std::unexpected(newest.error());
      if (newest->empty() || newest->front().key != h.key || !fits(store, query, h)) continue;
      ++out.fitting;
      if (full || out.fitting <= query.skip) continue;
      auto known = look_at_session(store, query.user_id, h.session_id);
      if (!known) return std::unexpected(known.error());
      if (*known) out.sessions.push_back(std::move(**known));
    }
    if (batch->size() < list_batch) return out;
  }
}

void list(App& app, const CallPtr& call) {
  ListQuery query{.workflow = call->text("component_id"),
                  .name = lower(call->text("session_name")),
                  .limit = static_cast<size_t>(call->integer("limit", 50)),
                  .count = call->has("page")};
  query.skip = (static_cast<size_t>(call->integer("page", 1)) - 1) * query.limit;
  const auto user = user_of(*call);
  if (!user) return answer(call, Problem{403, "the token acts for another user"});
  query.user_id = *user;
  const std::string cursor = call->text("cursor");
  if (!cursor.empty()) {
    const auto parsed =
        std::from_chars(cursor.data(), cursor.data() + cursor.size(), query.filter.before, 16);
    if (parsed.ec != std::errc() || parsed.ptr != cursor.data() + cursor.size())
      return answer(call, Problem{422,
                                  "`cursor` is no `next_cursor` of this server",
                                  {{"cursor", "is no next_cursor of this server"}}});
  }
  const auto listed = list_sessions(app.store(), query);
  if (!listed) return answer(call, listed.error());
  JsonWriter out;
  out.begin_object();
  out.key("data");
  out.begin_array();
  for (const KnownSession& known : listed->sessions) write_session(out, app.store(), known, false);
  out.end_array();
  out.key("meta");
  out.begin_object();
  out.key("limit"), out.unsigned_integer(query.limit);
  if (query.count) {
    out.key("page"), out.integer(call->integer("page", 1));
    out.key("total_pages"), out.unsigned_integer((listed->fitting + query.limit - 1) / query.limit);
    out.key("total_count"), out.unsigned_integer(listed->fitting);
    out.key("total_capped"), out.boolean(listed->capped);
  }
  out.key("next_cursor");
  listed->next == 0 ? out.null() : out.string(fmt::format("{:x}", listed->next));
  out.end_object();
  out.end_object();
  call->reply(json_response(200, out.take()));
}

void with_session(App& app, const CallPtr& call,
                  const std::function<void(const KnownSession&)>& then) {
  const std::string id = call->text("session_id");
  if (id.size() > max_id_bytes) return answer(call, Problem{404, "there is no such session"});
  const auto user = user_of(*call);
  if (!user) return answer(call, Problem{404, "there is no such session"});
  const auto known = look_at_session(app.store(), *user, id);
  if (!known) return answer(call, known.error());
  if (!*known) return answer(call, Problem{404, "there is no such session"});
  then(**known);
}

void answer_with(App& app, const CallPtr& call, const KnownSession& known) {
  JsonWriter out;
  write_session(out, app.store(), known, true);
  call->reply(json_response(200, out.take()));
}

void get(App& app, const CallPtr& call) {
  with_session(app, call, [&](const KnownSession& known) { answer_with(app, call, known); });
}

void patch(App& app, const CallPtr& call) {
  with_session(app, call, [&](const KnownSession& known) {
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
  with_session(app, call, [&](const KnownSession& known) {
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
       .parameters = {session_type_row(),
                      {.name = "component_id",
                       .doc = "only those whose latest run is of this workflow",
                       .max_bytes = max_id_bytes},
                      {.name = "user_id",
                       .doc = "only those of this user",
                       .max_bytes = max_id_bytes},
                      {.name = "session_name",
                       .doc = "only those with this in their name",
                       .max_bytes = 1024},
                      {.name = "sort_by",
                       .doc = "the order is that of the latest run, whatever is said",
                       .choices = {"created_at", "updated_at"}},
                      {.name = "sort_order", .doc = "newest first", .choices = {"desc"}},
                      limit_row(),
                      cursor_row(),
                      page_row()},
       .answers = {{200, "a page of them", "SessionList"}},
       .run = bind(list)});
  app.router().add({.method = "GET",
                    .pattern = "/sessions/{session_id}",
                    .id = "get_session",
                    .summary = "A session with its state",
                    .parameters = {session_type_row(), of_user_row(In::query)},
                    .answers = {{200, "the session", "Session"}},
                    .run = bind(get)});
  const Answer moved = refusal(409, "a run has changed it at the same time");
  const auto name_row_of = [](bool required) {
    return Parameter{.name = "session_name",
                     .in = In::body,
                     .doc = "for people",
                     .required = required,
                     .max_bytes = 1024};
  };
  app.router().add({.method = "PATCH",
                    .pattern = "/sessions/{session_id}",
                    .id = "patch_session",
                    .summary = "Changes a session's name or state; runs see the state when they "
                               "start, or at their next `set`",
                    .scope = Scope::run,
                    .parameters = {{.name = "session_state",
                                    .in = In::body,
                                    .type = Type::object,
                                    .doc = "the whole state"},
                                   name_row_of(false),
                                   session_type_row(),
                                   of_user_row(In::query)},
                    .answers = {{200, "the session", "Session"}, moved},
                    .run = bind(patch)});
  app.router().add({.method = "POST",
                    .pattern = "/sessions/{session_id}/rename",
                    .id = "rename_session",
                    .summary = "Gives a session another name",
                    .scope = Scope::run,
                    .parameters = {name_row_of(true), session_type_row(), of_user_row(In::query)},
                    .answers = {{200, "the session", "Session"}, moved},
                    .run = bind(patch)});
  app.router().add({.method = "DELETE",
                    .pattern = "/sessions/{session_id}",
                    .id = "delete_session",
                    .summary = "Removes a session with its runs",
                    .scope = Scope::admin,
                    .parameters = {of_user_row(In::query)},
                    .answers = {{204, "it is gone"}, refusal(409, "a run of it goes on")},
                    .run = bind(remove)});
}

}  // namespace kflow::server
