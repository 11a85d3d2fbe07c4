// Bodies of HTTP that are files of the store: streamed out of it and into it.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/media_types.hpp"
#include "runtime/activities/store_error.hpp"
#include "runtime/activities/transfer.hpp"

namespace kflow::activities {

using cel::Value;

namespace {

struct Upload {
  Transfer* transfer = nullptr;
  BlobReader* reader = nullptr;
};

size_t read_upload(char* into, size_t size, size_t count, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  auto n = t.uploads[0]->read({into, size * count});
  if (n) return *n;
  t.trouble = std::move(n).error();
  return CURL_READFUNC_ABORT;
}

int seek_upload(void* user, curl_off_t offset, int origin) {
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  auto& t = *static_cast<Transfer*>(user);
  return t.uploads[0]->rewind() ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

// Of one field of several; owned by the mime structure.
size_t read_field(char* into, size_t size, size_t count, void* user) {
  auto& upload = *static_cast<Upload*>(user);
  auto n = upload.reader->read({into, size * count});
  if (n) return *n;
  upload.transfer->trouble = std::move(n).error();
  return CURL_READFUNC_ABORT;
}
int seek_field(void* user, curl_off_t offset, int origin) {
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  return static_cast<Upload*>(user)->reader->rewind() ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}
void free_field(void* user) { delete static_cast<Upload*>(user); }

std::variant<BlobReader*, ActivityError> open(Transfer& t, BlobStore* blobs,
                                              const cel::File& file) {
  if (blobs == nullptr)
    return ActivityError{
        .kind = "internal", .code = "no_store", .message = "there is no store for files here"};
  auto reader = blobs->open_blob(file.sha256);
  if (!reader) return store_error(reader.error(), file);
  t.uploads.push_back(std::move(*reader));
  return t.uploads.back().get();
}

std::optional<ActivityError> add_field(Transfer& t, BlobStore* blobs, const std::string& name,
                                       const Value& v) {
  if (v.kind() == cel::Kind::list) {
    for (const Value& item : v.as_list()) {
      if (auto error = add_field(t, blobs, name, item)) return error;
    }
    return std::nullopt;
  }
  curl_mimepart* part = curl_mime_addpart(t.mime);
  curl_mime_name(part, name.c_str());
  t.tape_body += name + "=";
  if (v.kind() == cel::Kind::file) {
    const cel::File& file = v.as_file();
    auto opened = open(t, blobs, file);
    if (auto* error = std::get_if<ActivityError>(&opened)) return std::move(*error);
    BlobReader* reader = std::get<BlobReader*>(opened);
    curl_mime_filename(part, file.name.empty() ? "file" : file.name.c_str());
    if (!file.media_type.empty()) curl_mime_type(part, file.media_type.c_str());
    curl_mime_data_cb(part, static_cast<curl_off_t>(reader->size()), read_field, seek_field,
                      free_field, new Upload{&t, reader});
    t.tape_body += "file:" + to_hex(file.sha256) + "\n";
    return std::nullopt;
  }
  std::string text;
  if (const auto plain = cel::interpolated_text(v)) {
    text = *plain;
  } else if (v.kind() == cel::Kind::bytes) {
    text = v.as_bytes();
  } else {
    text = cel::to_json(v);
    curl_mime_type(part, "application/json");
  }
  curl_mime_data(part, text.data(), text.size());
  t.tape_body += text + "\n";
  return std::nullopt;
}

// RFC 6266: `filename` of Content-Disposition, without its encodings for the whole world.
std::string disposition_name(const Transfer& t) {
  const auto it = t.answer_headers.find("content-disposition");
  if (it == t.answer_headers.end()) return "";
  const std::string& header = it->second;
  const size_t at = header.find("filename=");
  if (at == std::string::npos) return "";
  std::string_view rest = std::string_view(header).substr(at + 9);
  if (rest.starts_with('"')) return file_name_of(rest.substr(1, rest.find('"', 1) - 1));
  return file_name_of(rest.substr(0, rest.find_first_of("; ")));
}

std::string url_name(const Transfer& t) {
  if (!t.secret_url.empty()) return "";
  char* url = nullptr;
  curl_easy_getinfo(t.easy, CURLINFO_EFFECTIVE_URL, &url);
  std::string_view text = url != nullptr && *url != '\0' ? url : t.url.c_str();
  text = text.substr(0, text.find_first_of("?#"));
  const size_t scheme = text.find("://");
  const size_t path = scheme == std::string_view::npos ? 0 : text.find('/', scheme + 3);
  if (path == std::string_view::npos) return "";
  int length = 0;
  const size_t last = text.rfind('/') + 1;
  char* plain =
      curl_easy_unescape(t.easy, text.data() + last,
                         static_cast<int>(std::min<size_t>(text.size() - last, 4096)), &length);
  std::string out = plain == nullptr
                        ? std::string()
                        : file_name_of(std::string_view(plain, static_cast<size_t>(length)));
  curl_free(plain);
  return out;
}

}  // namespace

std::optional<ActivityError> set_file_body(Transfer& t, BlobStore* blobs, const cel::File& file) {
  auto opened = open(t, blobs, file);
  if (auto* error = std::get_if<ActivityError>(&opened)) return std::move(*error);
  t.tape_body = "file:" + to_hex(file.sha256);
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, nullptr);
  curl_easy_setopt(t.easy, CURLOPT_POST, 1L);
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(std::get<BlobReader*>(opened)->size()));
  curl_easy_setopt(t.easy, CURLOPT_READFUNCTION, read_upload);
  curl_easy_setopt(t.easy, CURLOPT_READDATA, &t);
  curl_easy_setopt(t.easy, CURLOPT_SEEKFUNCTION, seek_upload);
  curl_easy_setopt(t.easy, CURLOPT_SEEKDATA, &t);
  return std::nullopt;
}

std::optional<ActivityError> set_multipart(Transfer& t, BlobStore* blobs, const Value& fields) {
  t.mime = curl_mime_init(t.easy);
  for (const cel::MapEntry& e : fields.as_map()) {
    const std::string name(e.key.kind() == cel::Kind::string ? e.key.as_string() : "");
    if (name.empty() || !header_is_safe(name))
      return ActivityError{
          .kind = "type", .code = "multipart", .message = "a field of `multipart` has no name"};
    if (auto error = add_field(t, blobs, name, e.value)) return error;
  }
  curl_easy_setopt(t.easy, CURLOPT_MIMEPOST, t.mime);
  return std::nullopt;
}

bool save_piece(Transfer& t, std::string_view bytes) {
  SavedBody& saved = *t.saved;
  const auto most = static_cast<uint64_t>(t.max_bytes);
  const auto failed = [&](Error error) {
    t.trouble = std::move(error);
    saved.writer.reset();
    return false;
  };
  if (saved.writer == nullptr) {
    // What the answer says of its length is looked at before anything is written.
    curl_off_t length = -1;
    curl_easy_getinfo(t.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    const bool plain = !t.answer_headers.contains("content-encoding");
    const uint64_t expected = plain && length > 0 ? static_cast<uint64_t>(length) : 0;
    if (expected > most) {
      t.too_large = true;
      return false;
    }
    auto writer = saved.blobs->new_blob(expected);
    if (!writer) return failed(std::move(writer).error());
    saved.writer = std::move(*writer);
  }
  if (bytes.size() > most - std::min(most, saved.size)) {
    t.too_large = true;
    saved.writer.reset();
    return false;
  }
  saved.size += bytes.size();
  if (saved.copy) {
    if (t.answer.size() + bytes.size() > static_cast<size_t>(default_http_max_bytes))
      return failed(
          {ErrorCode::limit, fmt::format("a body of more than {} MiB does not go on a tape",
                                         default_http_max_bytes >> 20)});
    t.answer.append(bytes);
  }
  auto written = saved.writer->write(bytes);
  return written ? true : failed(std::move(written).error());
}

std::variant<Value, ActivityError> finish_saved(Transfer& t, std::vector<StageId>& stages) {
  SavedBody& saved = *t.saved;
  if (saved.writer == nullptr) {  // an empty body
    auto writer = saved.blobs->new_blob(0);
    if (!writer) return store_error(writer.error());
    saved.writer = std::move(*writer);
  }
  auto staged = saved.writer->finish();
  if (!staged) return store_error(staged.error());
  stages.push_back(staged->stage);
  std::string name = file_name_of(saved.name);
  if (name.empty()) name = disposition_name(t);
  if (name.empty()) name = url_name(t);
  if (name.empty()) name = "download";
  const auto header = t.answer_headers.find("content-type");
  std::string type = header == t.answer_headers.end() ? "" : bare_media_type(header->second);
  if (type.empty() || type == "application/octet-stream" || type == "binary/octet-stream")
    type = media_type_of(name);
  return Value::file({.name = std::move(name),
                      .media_type = std::move(type),
                      .size = staged->size,
                      .sha256 = staged->hash});
}

}  // namespace kflow::activities
