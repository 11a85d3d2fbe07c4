// fake-model [SCRIPT.json] [--port N] [--port-file FILE]: the stand-in for providers of models, by
// hand.
#include <pthread.h>
#include <signal.h>

#include <charconv>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "tests/support/fake_model/fake_model.hpp"

namespace {

constexpr const char* help =
    "usage: fake-model [SCRIPT.json] [--port N] [--port-file FILE]\n"
    "\n"
    "Stands in for the providers of models on 127.0.0.1: OpenAI Responses (/v1/responses), Chat\n"
    "Completions (/v1/chat/completions), Anthropic Messages (/v1/messages) and Gemini\n"
    "(/v1beta/models/…), streaming and not. Without a script it says back what it is told.\n"
    "\n"
    "  --port N          listen there; a free port if not given\n"
    "  --port-file FILE  write the port there once it listens\n"
    "\n"
    "A script is a list of rules, each with the answers it gives one after another, the last\n"
    "again; the first rule whose `contains` stands in the request's body answers:\n"
    "\n"
    "  [{\"contains\": \"weather\", \"answers\": [\n"
    "     {\"error\": {\"status\": 429, \"code\": \"rate_limit\", \"message\": \"slow\", "
    "\"retry_after\": "
    "1}},\n"
    "     {\"calls\": [{\"name\": \"look\", \"arguments\": {\"city\": \"Rome\"}}], \"reasoning\": "
    "\"hm\"},\n"
    "     {\"text\": \"Sunny.\", \"chunk\": 7, \"delay_ms\": 20}]}]\n"
    "\n"
    "More in docs/models.md: stop, raw, break, hang. A workflow is run against it with\n"
    "\n"
    "  KFLOW_MODELS_URL=http://127.0.0.1:PORT kflow run FILE\n";

int usage(const std::string& what) {
  std::fprintf(stderr, "fake-model: %s; --help shows how it is used\n", what.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::string script;
  std::string port_file;
  int port = 0;
  bool has_script = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--help" || word == "-h") {
      std::fputs(help, stdout);
      return 0;
    }
    if (word == "--port" || word == "--port-file") {
      if (++i == argc) return usage("`" + std::string(word) + "` needs a value");
      const std::string_view value = argv[i];
      if (word == "--port-file") {
        port_file = value;
        continue;
      }
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), port);
      if (error != std::errc() || end != value.data() + value.size() || port < 0 || port > 65535)
        return usage("`" + std::string(value) + "` is no port");
    } else if (word.starts_with("-")) {
      return usage("there is no option `" + std::string(word) + "`");
    } else if (has_script) {
      return usage("one script at most");
    } else {
      has_script = true;
      std::ifstream in(argv[i], std::ios::binary);
      script.assign(std::istreambuf_iterator<char>(in), {});
      if (script.empty()) return usage("cannot read `" + std::string(word) + "`, or it is empty");
    }
  }
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  try {
    const kflow::test::FakeModel server(script, port);
    std::printf("listening on %s (OpenAI's dialects: %s/v1)\nKFLOW_MODELS_URL=%s\n",
                server.base_url().c_str(), server.base_url().c_str(), server.base_url().c_str());
    std::fflush(stdout);
    if (!port_file.empty()) std::ofstream(port_file) << server.port() << "\n";
    int signal = 0;
    sigwait(&stop, &signal);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fake-model: %s\n", e.what());
    return 1;
  }
  return 0;
}
