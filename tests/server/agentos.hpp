// Requests as clients of AgentOS send them, and answers as they read them: a Python client that
// sends forms (httpx), a page that sends FormData (a browser). Written after their public sources;
// nothing of the server's own code.
#pragma once

#include <string>
#include <vector>

#include "tests/server/served.hpp"

namespace kflow::test::agentos {

using Fields = std::vector<std::pair<std::string, std::string>>;

/// What httpx sends beside what it is asked.
std::vector<std::pair<std::string, std::string>> python_headers();
/// `client.post(target, data=fields)`.
Ask form(const std::string& target, const Fields& fields);
/// `client.request(method, target)`: no body, no type.
Ask plain(const std::string& method, const std::string& target);
/// `fetch(target, {method: "POST", body: formData})`.
Ask multipart(const std::string& target, const Fields& fields);

/// The JSON of the `data: ` lines of a stream; its client reads nothing else of it.
std::vector<cel::Value> data_lines(const std::string& stream);

}  // namespace kflow::test::agentos
