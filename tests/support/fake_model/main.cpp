// fake-model [SCRIPT.json] [--port N] [--port-file FILE]: the stand-in for providers of models, by
// hand.
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/fake_model/fake_model.hpp"

int main(int argc, char** argv) {
  std::string script;
  std::string port_file;
  int port = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--port" && i + 1 < argc) {
      port = std::atoi(argv[++i]);
    } else if (word == "--port-file" && i + 1 < argc) {
      port_file = argv[++i];
    } else if (!word.starts_with("--")) {
      std::ifstream in(word, std::ios::binary);
      script.assign(std::istreambuf_iterator<char>(in), {});
      if (!in && script.empty()) {
        std::fprintf(stderr, "fake-model: cannot read `%s`\n", word.c_str());
        return 2;
      }
    } else {
      std::fprintf(stderr, "usage: fake-model [SCRIPT.json] [--port N] [--port-file FILE]\n");
      return 2;
    }
  }
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  try {
    const kflow::test::FakeModel server(script, port);
    std::printf("listening on %s (OpenAI's dialects: %s/v1)\n", server.base_url().c_str(),
                server.base_url().c_str());
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
