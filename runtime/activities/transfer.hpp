// One HTTP exchange of the worker, and what a call of a model adds to it.
#pragma once

#include <curl/curl.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "runtime/activities/activity.hpp"
#include "runtime/activities/gates.hpp"
#include "runtime/models/dialect.hpp"

namespace kflow::activities {

inline constexpr size_t max_error_body = 1U << 20;  ///< of a refused call of a model
inline constexpr size_t max_header_bytes = 256U << 10;

/// The part that only calls of models have.
struct ModelCall {
  const models::Dialect* dialect = nullptr;
  ModelEndpoint endpoint;
  GateList gates;
  int64_t estimate = 0;  ///< tokens, as its limits are told before it begins
  std::unique_ptr<models::AnswerReader> reader;
  std::vector<models::Delta> deltas;  ///< not passed on yet
};

/// The part that only transfers have whose body goes into the store (http_files.cpp).
struct SavedBody {
  std::shared_ptr<BlobStore> blobs;
  std::unique_ptr<BlobWriter> writer;
  uint64_t size = 0;
  std::string name;    ///< as the step wants it; "": as the answer says
  bool alone = false;  ///< the step's value is the file itself
  bool copy = false;   ///< for a tape too
  bool taped = false;  ///< it comes from one
};

struct Transfer {
  Request request;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::string method;
  std::string url;
  std::string tape_url;    ///< how a tape knows it; "": `url`
  std::string secret_url;  ///< name of the secret that `url` is; "": it was written in the open
  std::string body;
  std::string answer;
  std::map<std::string, std::string> answer_headers;
  long status = 0;
  size_t header_bytes = 0;
  int64_t max_bytes = default_http_max_bytes;
  bool too_large = false;
  bool headers_too_large = false;
  char error[CURL_ERROR_SIZE] = "";
  std::unique_ptr<ModelCall> model;
  bool whole = false;  ///< the provider has forgotten the beginning: all of it is sent
  std::function<void(uint64_t token, bool reasoning, std::string text)> on_delta;

  std::unique_ptr<SavedBody> saved;
  bool wanted = true;                                ///< its status is one that was expected
  std::vector<std::unique_ptr<BlobReader>> uploads;  ///< files in the body
  curl_mime* mime = nullptr;
  std::string tape_body;         ///< how a tape knows a body with files; "": `body`
  std::optional<Error> trouble;  ///< of the store, while bytes went in or out

  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() {
    curl_mime_free(mime);
    if (easy != nullptr) curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
  }
  const std::string& body_for_tape() const { return tape_body.empty() ? body : tape_body; }
  /// Takes a piece of the body; false: it is too large.
  bool take(std::string_view bytes);
};

/// In small letters, as names of headers are looked up.
std::string lower(std::string_view text);
/// No character of it ends a header's line.
inline bool header_is_safe(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}
/// What all requests have in common.
void set_options(Transfer& transfer, const std::string& method, bool follow);
/// Url, headers and body of a step of `http.*`, or why it cannot be sent.
std::optional<ActivityError> prepare_http(Transfer& transfer, const Options& options);
/// Where a request goes, without credentials and query, for messages.
std::string shown_url(const Transfer& transfer);
/// Whether a status is one that the step takes for an answer.
bool expected_status(const cel::Value& input, long status);
/// What came of an exchange that curl has ended.
std::variant<cel::Value, ActivityError> http_outcome(Transfer& transfer, CURLcode code);
/// The value of a step of `http.*`.
cel::Value http_answer(const Transfer& transfer, cel::Value body);

/// Whether a request names files of the store; reads them, checked first; and the same request with
/// their hashes in their places, which is what a tape knows it by.
bool has_files(const conversation::ModelRequest& request);
std::optional<ActivityError> load_files(conversation::ModelRequest& request,
                                        const Options& options);
/// The same with the files that tools returned in messages of their own, as far as the model takes
/// them; the others have their records in the tools' results.
conversation::ModelRequest with_files_of_tools(const conversation::ModelRequest& request);
conversation::ModelRequest with_names_of_files(const conversation::ModelRequest& request);
/// The variable or secret that a model needs and that is not set; "": it can be called.
std::string wanted_key(const conversation::ModelSpec& spec, const Options& options);
/// Url, headers and body of a call of a model, or why it cannot be made.
std::optional<ActivityError> prepare_model(Transfer& transfer, const Options& options);
/// A body that is a file, or `multipart` fields; `multipart`: the latter.
std::optional<ActivityError> set_file_body(Transfer& transfer, BlobStore* blobs,
                                           const cel::File& file);
std::optional<ActivityError> set_multipart(Transfer& transfer, BlobStore* blobs,
                                           const cel::Value& fields);
/// Takes a piece of a body that goes into the store; false: it cannot.
bool save_piece(Transfer& transfer, std::string_view bytes);
/// The file of a body that has come whole. Waits for the disk.
std::variant<cel::Value, ActivityError> finish_saved(Transfer& transfer,
                                                     std::vector<StageId>& stages);
/// Whether a call is to be made again with the whole conversation.
bool is_forgotten(const Transfer& transfer);
/// What came of a call of a model whose answer has been read to its end.
std::variant<cel::Value, ActivityError> model_outcome(Transfer& transfer);
/// Milliseconds of a Retry-After header (RFC 9110 §10.2.3); 0: there is none.
int64_t retry_after_ms(const Transfer& transfer);
/// Nobody waits for years: what asks for longer than models::max_retry_after_ms is not tried again.
void bound_wait(ActivityError& error);

}  // namespace kflow::activities
