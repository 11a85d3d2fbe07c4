// The providers' documents on images, files and audio, as of 2026.
#include "runtime/models/media.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace kflow::models {
namespace {

struct Support {
  std::string_view provider;
  std::span<const std::string_view> types;
  std::string_view shown;
};

// POST /responses: `input_image`, `input_file`.
constexpr std::array<std::string_view, 8> openai{
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation"};
// POST /chat/completions: `image_url`, `file` (PDF alone), `input_audio`.
constexpr std::array<std::string_view, 9> openai_chat{
    "image/png", "image/jpeg",  "image/gif",  "image/webp", "application/pdf",
    "audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3"};
// POST /v1/messages: `image`, `document`.
constexpr std::array<std::string_view, 5> anthropic{"image/png", "image/jpeg", "image/gif",
                                                    "image/webp", "application/pdf"};
// generateContent: `inlineData`.
constexpr std::array<std::string_view, 23> gemini{
    "image/png",   "image/jpeg", "image/webp", "image/heic", "image/heif",      "application/pdf",
    "audio/wav",   "audio/mp3",  "audio/mpeg", "audio/aiff", "audio/aac",       "audio/ogg",
    "audio/flac",  "video/mp4",  "video/mpeg", "video/mov",  "video/quicktime", "video/avi",
    "video/x-flv", "video/mpg",  "video/webm", "video/wmv",  "video/3gpp"};

constexpr std::array<Support, 4> all{{
    {"openai", openai, "images (PNG, JPEG, GIF, WebP), PDF, documents of Office and text"},
    {"openai_chat", openai_chat, "images (PNG, JPEG, GIF, WebP), PDF, audio (WAV, MP3) and text"},
    {"anthropic", anthropic, "images (PNG, JPEG, GIF, WebP), PDF and text"},
    {"gemini", gemini, "images (PNG, JPEG, WebP, HEIC), PDF, audio, video and text"},
}};

const Support* find(std::string_view provider) {
  const auto it = std::ranges::find(all, provider, &Support::provider);
  return it == all.end() ? nullptr : &*it;
}

}  // namespace

bool takes_media(std::string_view provider, std::string_view media_type) {
  const Support* s = find(provider);
  return s != nullptr && std::ranges::find(s->types, media_type) != s->types.end();
}

std::string_view media_taken(std::string_view provider) {
  const Support* s = find(provider);
  return s == nullptr ? "text" : s->shown;
}

}  // namespace kflow::models
