// Files that are said to a model: read from the store when the call is made, and never before.
#include <fmt/format.h>

#include "compiler/base/utf8.hpp"
#include "runtime/activities/media_types.hpp"
#include "runtime/activities/store_error.hpp"
#include "runtime/activities/transfer.hpp"
#include "runtime/models/media.hpp"

namespace kflow::activities {

using conversation::ModelRequest;
using conversation::Part;
using conversation::PartKind;

namespace {

std::optional<ActivityError> load(Part& p, const Options& options, uint64_t& all) {
  const cel::File& file = *p.file;
  if (options.blobs == nullptr)
    return ActivityError{
        .kind = "internal", .code = "no_store", .message = "there is no store for files here"};
  if (file.size > max_media_bytes || (all += file.size) > max_request_media_bytes) {
    return ActivityError{
        .kind = "limit",
        .code = "media_size",
        .message = fmt::format(
            "a model is told files of at most {} MiB, {} MiB in all; `{}` has {}",
            max_media_bytes >> 20, max_request_media_bytes >> 20, file.name, file.size)};
  }
  auto bytes = read_blob(*options.blobs, file.sha256, max_media_bytes);
  if (!bytes) return store_error(bytes.error(), file);
  if (is_text_type(file.media_type)) {
    p.kind = PartKind::text;
    p.text = fmt::format("File `{}`:\n\n{}", file.name, replace_invalid_utf8(*bytes));
  } else {
    p.data = std::move(*bytes);
    p.media_type = file.media_type;
    p.filename = file.name.empty() ? "file" : file.name;
  }
  return std::nullopt;
}

}  // namespace

bool has_files(const ModelRequest& request) {
  for (const auto& m : request.messages) {
    for (const Part& p : m.parts) {
      if (p.file) return true;
    }
  }
  return false;
}

ModelRequest with_files_of_tools(const ModelRequest& request) {
  ModelRequest out = request;
  out.messages.clear();
  uint64_t room = max_request_media_bytes;
  for (const auto& m : request.messages) {
    if (m.role == conversation::Role::tool) continue;
    for (const Part& p : m.parts) room -= std::min(room, p.file ? p.file->size : 0);
  }
  for (conversation::Message m : request.messages) {
    conversation::Message files{.role = conversation::Role::user, .parts = {}};
    const auto say = [&](std::string text) {
      files.parts.push_back({.kind = PartKind::text, .text = std::move(text)});
    };
    const std::string* of = nullptr;
    for (const Part& p : m.parts) {
      if (m.role != conversation::Role::tool || !p.file) continue;
      if (!models::takes_media(request.model.provider, p.file->media_type)) continue;
      if (of == nullptr || *of != p.id) say(fmt::format("What `{}` returned:", p.name));
      of = &p.id;
      if (p.file->size > std::min(max_media_bytes, room)) {
        say(fmt::format("(the file `{}` is too large to be shown)", p.file->name));
        continue;
      }
      room -= p.file->size;
      files.parts.push_back(p);
    }
    if (m.role == conversation::Role::tool)
      std::erase_if(m.parts, [](const Part& p) { return p.kind == PartKind::media; });
    out.messages.push_back(std::move(m));
    if (!files.parts.empty()) out.messages.push_back(std::move(files));
  }
  return out;
}

std::optional<ActivityError> load_files(ModelRequest& request, const Options& options) {
  const conversation::ModelSpec& model = request.model;
  uint64_t all = 0;
  for (auto& m : request.messages) {
    for (Part& p : m.parts) {
      if (!p.file) continue;
      const std::string& type = p.file->media_type;
      if (!is_text_type(type) && !models::takes_media(model.provider, type)) {
        return ActivityError{
            .kind = "model",
            .code = "unsupported_media",
            .message = fmt::format("{}/{} cannot be told `{}`, a file of the type {}: it takes {}",
                                   model.provider, model.id, p.file->name, type,
                                   models::media_taken(model.provider))};
      }
      if (auto error = load(p, options, all)) return error;
      p.file.reset();
    }
  }
  return std::nullopt;
}

ModelRequest with_names_of_files(const ModelRequest& request) {
  ModelRequest out = request;
  for (auto& m : out.messages) {
    for (Part& p : m.parts) {
      if (!p.file) continue;
      p.url = "sha256:" + to_hex(p.file->sha256);
      p.filename = p.file->name;
      p.file.reset();
    }
  }
  return out;
}

}  // namespace kflow::activities
