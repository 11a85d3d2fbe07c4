// The usual ends of names, as IANA and browsers have them.
#include "runtime/activities/media_types.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "compiler/base/utf8.hpp"

namespace kflow::activities {
namespace {

constexpr size_t longest_name = 255;
constexpr std::string_view unknown = "application/octet-stream";

constexpr std::array<std::pair<std::string_view, std::string_view>, 54> by_end{{
    {"aac", "audio/aac"},
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"bz2", "application/x-bzip2"},
    {"c", "text/x-c"},
    {"cpp", "text/x-c++"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"flac", "audio/flac"},
    {"gif", "image/gif"},
    {"go", "text/x-go"},
    {"gz", "application/gzip"},
    {"heic", "image/heic"},
    {"heif", "image/heif"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ics", "text/calendar"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jsonl", "application/jsonl"},
    {"kflow", "text/x-kflow"},
    {"log", "text/plain"},
    {"m4a", "audio/mp4"},
    {"md", "text/markdown"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"ogg", "audio/ogg"},
    {"opus", "audio/opus"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"py", "text/x-python"},
    {"rs", "text/x-rust"},
    {"sh", "text/x-sh"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"tsv", "text/tab-separated-values"},
    {"txt", "text/plain"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webp", "image/webp"},
    {"xml", "application/xml"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
}};

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

}  // namespace

std::string media_type_of(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::string(unknown);
  const std::string end = lower(name.substr(dot + 1));
  const auto it = std::ranges::find(by_end, std::string_view(end),
                                    &std::pair<std::string_view, std::string_view>::first);
  return std::string(it == by_end.end() ? unknown : it->second);
}

bool is_text_type(std::string_view type) {
  return type.starts_with("text/") || type == "application/json" || type == "application/jsonl" ||
         type == "application/xml" || type == "application/yaml" || type.ends_with("+json") ||
         type.ends_with("+xml");
}

std::string file_name_of(std::string_view path) {
  const size_t slash = path.find_last_of("/\\");
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  std::string out;
  for (const char c : replace_invalid_utf8(path)) {
    const auto b = static_cast<unsigned char>(c);
    if (b >= 0x20 && b != 0x7f && c != '"') out.push_back(c);
  }
  size_t end = std::min(out.size(), longest_name);
  while (end < out.size() && end > 0 && (static_cast<unsigned char>(out[end]) & 0xc0U) == 0x80U)
    --end;
  out.resize(end);
  return out == "." || out == ".." ? std::string() : out;
}

std::string bare_media_type(std::string_view header) {
  std::string out = lower(header.substr(0, header.find(';')));
  while (out.ends_with(' ')) out.pop_back();
  while (out.starts_with(' ')) out.erase(0, 1);
  const bool sound = out.find('/') != std::string::npos && out.size() < 128 &&
                     std::all_of(
                         out.begin(), out.end(),
                         [](char c) {
                           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                                  std::string_view("/.+-_!#$&^").find(c) != std::string_view::npos;
                         });
  return sound ? out : std::string();
}

}  // namespace kflow::activities
