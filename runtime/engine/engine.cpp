// The engine's surface.
#include "runtime/engine/engine.hpp"

#include <random>

#include "runtime/engine/impl.hpp"

namespace kflow::engine {

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(std::shared_ptr<store::Store> store,
                                             EngineOptions options) {
  auto impl = std::make_unique<Impl>(std::move(store), std::move(options));
  if (auto ok = impl->open(); !ok) return std::unexpected(std::move(ok).error());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Result<StartedRun> Engine::start(std::shared_ptr<const ir::Program> program,
                                 ir::CallableId workflow, const cel::Value& input,
                                 const StartOptions& options) {
  return impl_->start(std::move(program), workflow, input, options);
}
void Engine::start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
                   const cel::Value& input, const StartOptions& options, Then then) {
  impl_->start(std::move(program), workflow, input, options, std::move(then));
}
Result<void> Engine::resume(RunKey run) { return impl_->resume(run, nullptr); }
Result<void> Engine::move(RunKey run, std::shared_ptr<const ir::Program> program) {
  return impl_->resume(run, std::move(program));
}
Result<RunHeader> Engine::wait(RunKey run, int timeout_ms) { return impl_->wait(run, timeout_ms); }
bool Engine::wait_for_events(RunKey run, uint64_t seq, int timeout_ms) {
  return impl_->wait_for_events(run, seq, timeout_ms);
}
bool Engine::wait_for_stream(RunKey run, uint64_t size, int timeout_ms) {
  return impl_->wait_for_stream(run, size, timeout_ms);
}
size_t Engine::active() const { return impl_->active(); }

std::string new_run_id(Millis now) {
  thread_local std::mt19937_64 engine{std::random_device{}()};
  const uint64_t a = (static_cast<uint64_t>(now) << 16) | 0x7000 | (engine() & 0xfff);
  const uint64_t b = (engine() >> 2) | (1ULL << 63);
  const std::string hex = to_hex(store_key(a) + store_key(b));
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
         hex.substr(16, 4) + "-" + hex.substr(20);
}

}  // namespace kflow::engine
