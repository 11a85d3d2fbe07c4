// A host that ships a compiled program: it links kflow::runtime, which has no parser.
#include <cstdio>

#include "kflow/engine.hpp"

namespace kf = kflow::embed;

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto program = kf::Program::load(argv[1]);
  if (!program) return std::fprintf(stderr, "%s\n", program.error().message.c_str()), 1;
  auto engine = kf::Engine::open(kf::Store::in_memory());
  if (!engine) return std::fprintf(stderr, "%s\n", engine.error().message.c_str()), 1;
  const auto run = engine->start(*program, "greet", kf::Value::record({{"name", "Ada"}}));
  if (!run) return std::fprintf(stderr, "%s\n", run.error().message.c_str()), 1;
  const auto ended = engine->await(*run, 30'000);
  if (!ended || ended->status != kf::Status::completed) return 1;
  std::printf("%s\n", ended->value.as_text()->c_str());
  return 0;
}
