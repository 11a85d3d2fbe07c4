// The table of built-in callables.
#include "compiler/ir/builtins.hpp"

namespace kflow::ir {
namespace {

constexpr std::string_view http_answer =
    "{status: int, headers: map<string, string>, body: any, url: string}";

#define KFLOW_HTTP_COMMON                                                                      \
  {"headers", "map<string, string>", false, "{}"}, {"query", "map<string, any>", false, "{}"}, \
      {"expect_status", "any", false, "200 to 299"}, {"max_bytes", "int", false, "67108864"},  \
      {"follow", "bool", false, "true"}, {"bearer", "secret?", false, "none"},                 \
      {"save", "bool", false, "false: `body` is a file"}

constexpr BuiltinParam http_get[] = {{"url", "string | secret"}, KFLOW_HTTP_COMMON};
constexpr BuiltinParam http_download[] = {{"url", "string | secret"},
                                          {"name", "string", false, "what the answer says"},
                                          {"headers", "map<string, string>", false, "{}"},
                                          {"query", "map<string, any>", false, "{}"},
                                          {"expect_status", "any", false, "200 to 299"},
                                          {"max_bytes", "int", false, "17179869184"},
                                          {"follow", "bool", false, "true"},
                                          {"bearer", "secret?", false, "none"}};
constexpr BuiltinParam http_body[] = {{"url", "string | secret"},
                                      {"body", "any", false, "none"},
                                      {"json", "any", false, "none"},
                                      {"form", "map<string, any>", false, "none"},
                                      {"multipart", "map<string, any>", false, "none"},
                                      KFLOW_HTTP_COMMON};
constexpr BuiltinParam http_request[] = {{"method", "string"},
                                         {"url", "string | secret"},
                                         {"body", "any", false, "none"},
                                         {"json", "any", false, "none"},
                                         {"form", "map<string, any>", false, "none"},
                                         {"multipart", "map<string, any>", false, "none"},
                                         KFLOW_HTTP_COMMON};
#undef KFLOW_HTTP_COMMON
constexpr BuiltinParam exec_run[] = {{"argv", "string[]"},
                                     {"stdin", "string", false, "empty"},
                                     {"env", "map<string, string>", false, "{}"},
                                     {"cwd", "string", false, "the project's folder"},
                                     {"check", "bool", false, "true"},
                                     {"max_output", "int", false, "16777216"}};
constexpr BuiltinParam path_only[] = {{"path", "string"}};
constexpr BuiltinParam file_write[] = {{"path", "string"}, {"content", "any"}};
constexpr BuiltinParam file_read[] = {{"path", "string"}, {"binary", "bool", false, "false"}};
constexpr BuiltinParam file_open[] = {{"path", "string"},
                                      {"media_type", "string", false, "by the name"}};
constexpr BuiltinParam file_save[] = {{"file", "file"}, {"path", "string"}};
constexpr BuiltinParam file_only[] = {{"file", "file"}};
constexpr BuiltinParam file_make[] = {
    {"content", "any"}, {"name", "string"}, {"media_type", "string", false, "by the name"}};
constexpr BuiltinParam glob[] = {{"pattern", "string"}};
constexpr BuiltinParam sql[] = {{"database", "string | secret"},
                                {"statement", "string"},
                                {"params", "any", false, "[]"},
                                {"write", "bool", false, "false"}};
constexpr BuiltinParam email[] = {
    {"server", "string"},
    {"from", "string"},
    {"to", "string[]"},
    {"subject", "string"},
    {"text", "string", false, "empty"},
    {"html", "string", false, "none"},
    {"cc", "string[]", false, "[]"},
    {"bcc", "string[]", false, "[]"},
    {"reply_to", "string", false, "none"},
    {"attachments", "{name: string, content: any, type: string?}[]", false, "[]"},
    {"user", "string", false, "no login"},
    {"password", "secret?", false, "none"}};
constexpr BuiltinParam sleep[] = {{"duration", "duration"}};
constexpr BuiltinParam sleep_until[] = {{"time", "timestamp"}};
constexpr BuiltinParam log[] = {{"value", "any"}};
constexpr BuiltinParam confirm[] = {{"question", "string"},
                                    {"show", "any", false, "none"},
                                    {"expires", "duration", false, "never"},
                                    {"default", "any", false, "none: an error when it expires"}};
constexpr BuiltinParam wait[] = {{"name", "string"}};
constexpr BuiltinParam send[] = {
    {"run_id", "string"}, {"name", "string"}, {"value", "any", false, "null"}};
constexpr BuiltinParam run_id[] = {{"id", "string"}};
constexpr BuiltinParam key[] = {{"key", "string"}};
constexpr BuiltinParam key_value[] = {{"key", "string"}, {"value", "any"}};

constexpr Builtin table[] = {
    {"sleep", sleep, "null", true, "waits for a length of time"},
    {"sleep_until", sleep_until, "null", true, "waits until a moment"},
    {"now", {}, "timestamp", true, "the present moment, recorded"},
    {"uuid", {}, "string", true, "a random UUID (version 4), recorded"},
    {"random", {}, "double", true, "a random number in [0, 1), recorded"},
    {"log", log, "null", true, "writes a value to the log of the process"},
    {"http.get", http_get, http_answer, true, "GET; a JSON body is decoded"},
    {"http.download", http_download, "file", true,
     "GET; the body goes into the store as it comes, however long it is"},
    {"http.head", http_get, http_answer, true, "HEAD"},
    {"http.delete", http_get, http_answer, true, "DELETE"},
    {"http.put", http_body, http_answer, true, "PUT"},
    {"http.post", http_body, http_answer, false, "POST; sent with an Idempotency-Key header"},
    {"http.patch", http_body, http_answer, false, "PATCH; sent with an Idempotency-Key header"},
    {"http.request", http_request, http_answer, false, "a request with any method"},
    {"exec.run", exec_run, "{exit_code: int, stdout: string, stderr: string}", false,
     "runs a program without a shell; an exit status other than 0 is an error unless `check: "
     "false`"},
    {"file.read", file_read, "any", true,
     "the content of a file: string, or bytes with `binary: true`"},
    {"file.write", file_write, "null", true, "writes a file atomically"},
    {"file.append", file_write, "null", false, "appends to a file"},
    {"file.open", file_open, "file", true,
     "takes a file into the store: what it holds now is kept"},
    {"file.save", file_save, "null", true, "writes a file of the store to a path, atomically"},
    {"file.make", file_make, "file", true,
     "a file of a text, of bytes, or of another value as JSON"},
    {"file.text", file_only, "string", true, "the content of a file of the store as text"},
    {"file.bytes", file_only, "bytes", true, "the content of a file of the store"},
    {"file.glob", glob, "string[]", true, "paths that match a pattern (`*`, `?`, `**`), sorted"},
    {"file.exists", path_only, "bool", true, "whether a file or folder exists"},
    {"sql.query", sql, "{columns: string[], rows: any[], affected: int, dialect: string}", false,
     "one statement on a database: the path of a SQLite file within the project's folder, or the "
     "URL of a PostgreSQL database, as a secret where it holds a password; `write: true` lets it "
     "change the database, and makes a file that is not there"},
    {"email.send", email, "{message_id: string}", false,
     "sends a message over SMTP: `smtps://host:465`, or `smtp://host:587` with STARTTLS"},
    {"human.confirm", confirm, "bool", false, "asks a person for yes or no"},
    {"human.ask", confirm, "any", false, "asks a person to fill in a form"},
    {"signal.wait", wait, "any", false, "waits for a signal"},
    {"signal.send", send, "null", true, "sends a signal to a run"},
    {"runs.wait", run_id, "any", false, "waits for a run to end"},
    {"runs.cancel", run_id, "null", true, "cancels a run"},
    {"kv.get", key, "any", true, "reads a shared value"},
    {"kv.put", key_value, "null", true, "writes a shared value"},
    {"kv.delete", key, "null", true, "deletes a shared value"},
};

}  // namespace

const Builtin* find_builtin(std::string_view name) {
  for (const Builtin& row : table) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::span<const Builtin> all_builtins() { return table; }

}  // namespace kflow::ir
