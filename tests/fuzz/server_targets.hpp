// Fuzz targets of the server: bodies, and bytes on its sockets.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kflow::fuzz {

void fuzz_body(std::string_view bytes);
std::vector<std::string> body_corpus();
/// Bytes on a connection of a server that lives as long as the program.
void fuzz_http(std::string_view bytes);
std::vector<std::string> http_corpus();
/// Bytes after the handshake of a WebSocket.
void fuzz_socket(std::string_view bytes);
std::vector<std::string> socket_corpus();

}  // namespace kflow::fuzz
