// Putting the server together, and taking it apart.
#include "runtime/server/server.hpp"

#include "runtime/server/app.hpp"
#include "runtime/server/schedules.hpp"

namespace kflow::server {

struct Server::Impl {
  // In this order: what comes later is gone first.
  std::shared_ptr<store::Store> store;
  std::unique_ptr<Network> network;
  std::shared_ptr<App> app;
  std::unique_ptr<engine::Engine> engine;
  bool stopped = false;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { stop(); }

Result<std::unique_ptr<Server>> Server::open(std::shared_ptr<store::Store> store,
                                             ServerSetup setup) {
  KFLOW_TRY(check(setup.options));
  auto impl = std::make_unique<Impl>();
  impl->store = store;
  auto network = Network::open(setup.options);
  if (!network) return std::unexpected(std::move(network).error());
  impl->network = std::move(*network);
  if (!setup.engine.clock) setup.engine.clock = std::make_shared<engine::SystemClock>();
  const auto clock = setup.engine.clock;
  const auto follow_schedules = [store, clock, say = setup.say,
                                 root = setup.project_root](const Catalog& catalog) {
    if (auto put = put_file_schedules(*store, catalog, root, clock->now()); !put)
      say("schedules: " + put.error().message);
  };
  auto programs = Programs::open({.paths = setup.paths,
                                  .root = setup.project_root,
                                  .compile = setup.compile,
                                  .say = setup.say,
                                  .now = [clock] { return clock->now(); },
                                  .changed = follow_schedules});
  if (!programs) return std::unexpected(std::move(programs).error());
  follow_schedules(*(*programs)->catalog());
  Programs& watched = **programs;
  impl->app = std::make_shared<App>(App::Parts{.store = store,
                                               .clock = clock,
                                               .programs = std::move(*programs),
                                               .network = impl->network.get(),
                                               .project_root = setup.project_root,
                                               .version = setup.version,
                                               .registry = setup.registry,
                                               .say = setup.say},
                                    setup.options);
  setup.engine.adopt = true;
  setup.engine.schedules = true;
  setup.engine.park = true;
  setup.engine.on_events = [app = impl->app.get()](std::span<const store::RunKey> runs) {
    app->feeds().changed(runs);
  };
  auto engine = engine::Engine::open(store, std::move(setup.engine));
  if (!engine) return std::unexpected(std::move(engine).error());
  impl->engine = std::move(*engine);
  impl->app->set_engine(impl->engine.get());
  watched.watch();
  impl->network->start(impl->app);
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::vector<std::string> Server::urls() const {
  std::vector<std::string> out;
  for (const std::string& address : impl_->network->addresses())
    out.push_back((impl_->network->tls() ? "https://" : "http://") + address);
  return out;
}

size_t Server::workflows() const { return impl_->app->programs().catalog()->workflows.size(); }

void Server::stop() {
  if (impl_->stopped) return;
  impl_->stopped = true;
  impl_->app->stop();
  impl_->network->stop();
  impl_->app->workers().stop();
  impl_->engine.reset();
  impl_->app.reset();
  impl_->network.reset();
}

}  // namespace kflow::server
