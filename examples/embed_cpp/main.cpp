// A shop that runs its orders durably: two functions of its own, a person's yes, a day of waiting.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

#include "kflow/kflow.hpp"

namespace kf = kflow::embed;

namespace {

template <typename T>
T or_die(kf::Result<T> result) {
  if (result) return std::move(*result);
  std::cerr << result.error().message << "\n";
  std::exit(1);
}
void or_die(const kf::Result<void>& result) {
  if (result) return;
  std::cerr << result.error().message << "\n";
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: embed_cpp WORKFLOWS.kflow STORE\n";
    return 2;
  }
  const kf::Program program = or_die(kf::compile_file(argv[1]));
  const kf::Store store = or_die(kf::Store::open(argv[2]));

  kf::EngineOptions options;
  // A function with C++ types: its parameters are those of the `extern tool`.
  options.functions.add_typed(
      "reserve", {"item", "pieces"}, [](const std::string&, int pieces) -> kf::FunctionResult {
        if (pieces > 100) return kf::Failure{"sold_out", "there are 100 pieces only", false, {}};
        return kf::Value::record({{"reserved", pieces}, {"left", 100 - pieces}});
      });
  // One that has its value later, from another thread.
  options.functions.add_async(
      "ship", [](const kf::Value& arguments, const kf::Call& call, kf::Completion done) {
        std::thread([item = *arguments.find("item").as_text(), key = call.idempotency_key(), done] {
          // A carrier that is told the same key twice sends one parcel.
          done.value("parcel of " + item + (key.empty() ? "?" : ""));
        }).detach();
      });
  kf::ManualClock clock;  // so that nobody has to wait for a day
  options.clock = clock;
  kf::Engine engine = or_die(kf::Engine::open(store, std::move(options)));

  const std::string run = or_die(engine.start(
      program, "order", kf::Value::record({{"item", "tea"}, {"pieces", 3}, {"to", "Ada"}})));

  // Everything that happens is an event; readers may begin anywhere, at any time.
  std::thread reader([&] {
    or_die(engine.follow(run, 0, [](const kf::Event& e) {
      const auto frame = or_die(kf::Value::from_json(e.json));
      std::cout << e.index << " " << frame.find("event").as_text().value_or("?") << std::endl;
      return true;
    }));
  });

  // The run is paused until somebody answers.
  for (;;) {
    const auto questions = or_die(engine.questions(run));
    if (!questions.empty()) {
      std::cout << "asked: " << questions[0].text << std::endl;
      or_die(engine.answer(run, questions[0].id, {}));
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  // A day later, at once.
  while (!kf::has_ended(or_die(engine.await(run, 20)).status)) clock.advance(3'600'000);
  reader.join();
  const kf::Run ended = or_die(engine.get(run));
  if (ended.status != kf::Status::completed) {
    std::cerr << ended.error.message << "\n";
    return 1;
  }
  std::cout << "value: " << ended.value.as_text().value_or("") << std::endl;
  return 0;
}
