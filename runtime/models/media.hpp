// Media: which files each provider's models can be told, beside text.
#pragma once

#include <string_view>

namespace kflow::models {

/// Whether a file of this type can be part of a message. Text files can always: as text.
bool takes_media(std::string_view provider, std::string_view media_type);
/// What it takes, for people: "images (PNG, JPEG, GIF, WebP), PDF and text".
std::string_view media_taken(std::string_view provider);

}  // namespace kflow::models
