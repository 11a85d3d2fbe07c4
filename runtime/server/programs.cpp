// Loading, and loading again.
#include "runtime/server/programs.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "compiler/base/hash.hpp"
#include "compiler/base/utf8.hpp"

namespace kflow::server {
namespace {

namespace fs = std::filesystem;

// Editors write a file in several steps: it is read when it has been quiet for so long.
constexpr int quiet_ms = 60;

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return replace_invalid_utf8(std::string{std::istreambuf_iterator<char>(in), {}});
}

bool hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

bool same(const SourceFile& a, const SourceFile& b) {
  return a.text == b.text && a.version == b.version && a.diagnostics == b.diagnostics &&
         a.stale == b.stale;
}

}  // namespace

const Catalog::Entry* Catalog::find(std::string_view id) const {
  const auto it = workflows.find(id);
  return it == workflows.end() ? nullptr : &it->second;
}

Result<std::unique_ptr<Programs>> Programs::open(Settings settings) {
  std::unique_ptr<Programs> out(new Programs(std::move(settings)));
  for (std::string& path : out->settings_.paths) {
    std::error_code error;
    const fs::path found = fs::canonical(path, error);
    if (error) return fail(ErrorCode::not_found, "there is no file or folder `" + path + "`");
    path = found.string();
  }
  out->inotify_ = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  out->stop_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  KFLOW_TRY(out->load(true));
  return out;
}

Programs::~Programs() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_, &one, sizeof one);
  if (thread_.joinable()) thread_.join();
  if (inotify_ >= 0) ::close(inotify_);
  if (stop_ >= 0) ::close(stop_);
}

std::shared_ptr<const Catalog> Programs::catalog() const {
  const std::lock_guard guard(mutex_);
  return catalog_;
}

// The files there are, in order.
std::vector<std::string> Programs::list() const {
  std::set<std::string> out;
  for (const std::string& path : settings_.paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      out.insert(path);
      continue;
    }
    fs::recursive_directory_iterator it(path, fs::directory_options::skip_permission_denied, error);
    for (; !error && it != fs::recursive_directory_iterator() && out.size() < max_source_files;
         it.increment(error)) {
      std::error_code ignored;
      if (it->is_directory(ignored)) {
        if (hidden(it->path()) || it->path().filename() == "node_modules")
          it.disable_recursion_pending();
      } else if (it->path().extension() == ".kflow" && !hidden(it->path())) {
        out.insert(it->path().string());
      }
    }
  }
  return {out.begin(), out.end()};
}

std::shared_ptr<const SourceFile> Programs::load_file(
    const std::string& path, const std::shared_ptr<const SourceFile>& before, bool first) const {
  auto file = std::make_shared<SourceFile>();
  if (before) *file = *before;
  file->path = path;
  file->shown = fs::path(path).lexically_proximate(settings_.root).string();
  file->text = read_text(path);
  auto compiled = settings_.compile(path);
  if (!compiled) {
    file->diagnostics = "[]";
    file->errors = 1;
    file->stale = file->program != nullptr;
    settings_.say(file->shown + ": " + compiled.error().message);
    return file;
  }
  file->diagnostics = compiled->diagnostics;
  file->errors = compiled->errors;
  file->warnings = compiled->warnings;
  file->files = std::move(compiled->files);
  file->stale = compiled->program == nullptr && file->program != nullptr;
  if (compiled->program != nullptr) {
    const std::string version = to_hex(ir::hash(*compiled->program));
    if (version != file->version || file->program == nullptr) {
      file->program = compiled->program;
      file->version = version;
      file->loaded_at = settings_.now();
      if (!first) settings_.say(file->shown + ": loaded");
    } else if (before != nullptr && before->stale) {
      settings_.say(file->shown + ": mended");
    }
  }
  const bool news =
      before == nullptr || before->text != file->text || before->diagnostics != file->diagnostics;
  if (news && !compiled->rendered.empty()) settings_.say(compiled->rendered);
  if (news && file->stale) {
    settings_.say(file->shown +
                  ": has errors; the version loaded before is served until they are "
                  "mended");
  } else if (news && file->program == nullptr) {
    settings_.say(file->shown + ": has errors; it is not served until they are mended");
  }
  return file;
}

Result<void> Programs::load(bool first) {
  const auto before = catalog();
  std::vector<std::shared_ptr<const SourceFile>> files;
  bool changed = first;
  for (const std::string& path : list()) {
    const auto known =
        std::ranges::find(before->files, path, [](const auto& f) { return f->path; });
    const auto old = known == before->files.end() ? nullptr : *known;
    std::error_code error;
    if (!fs::exists(path, error)) {
      // A file that was named stays served while its editor writes it anew.
      if (old != nullptr) files.push_back(old);
      continue;
    }
    auto file = load_file(path, old, first);
    changed = changed || old == nullptr || !same(*old, *file);
    files.push_back(std::move(file));
  }
  changed = changed || files.size() != before->files.size();
  if (!changed) return {};
  set(std::move(files));
  if (!first && settings_.changed) settings_.changed(*catalog());
  return {};
}

void Programs::set(std::vector<std::shared_ptr<const SourceFile>> files) {
  auto next = std::make_shared<Catalog>();
  next->files = std::move(files);
  for (const auto& file : next->files) {
    if (file->program == nullptr) {
      next->complete = false;
      continue;
    }
    for (uint32_t i = 0; i < file->program->callables.size(); ++i) {
      const ir::Callable& c = file->program->callables[i];
      // Those with a dot are imported ones.
      if (c.kind != ir::CallableKind::workflow || c.name.find('.') != std::string::npos) continue;
      const auto [it, added] = next->workflows.try_emplace(c.name, file, ir::CallableId(i));
      if (!added)
        settings_.say(file->shown + ": the workflow `" + c.name + "` is also in " +
                      it->second.file->shown + ", which is served");
    }
  }
  const std::lock_guard guard(mutex_);
  catalog_ = std::move(next);
}

void Programs::add_watches() {
  constexpr uint32_t mask =
      IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
  std::set<std::string> folders;
  for (const std::string& path : settings_.paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      folders.insert(fs::path(path).parent_path().string());
      continue;
    }
    folders.insert(path);
    fs::recursive_directory_iterator it(path, fs::directory_options::skip_permission_denied, error);
    for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      std::error_code ignored;
      if (!it->is_directory(ignored)) continue;
      if (hidden(it->path()) || it->path().filename() == "node_modules") {
        it.disable_recursion_pending();
      } else if (folders.size() < max_source_files) {
        folders.insert(it->path().string());
      }
    }
  }
  // What is imported from elsewhere, and locks of MCP servers beside them.
  for (const auto& file : catalog()->files) {
    for (const std::string& part : file->files) {
      if (part.starts_with('/')) folders.insert(fs::path(part).parent_path().string());
    }
  }
  for (const std::string& folder : folders) {
    if (!watches_.contains(folder))
      watches_[folder] = ::inotify_add_watch(inotify_, folder.c_str(), mask);
  }
  std::erase_if(watches_, [&](const auto& w) {
    if (folders.contains(w.first) && w.second >= 0) return false;
    if (w.second >= 0) ::inotify_rm_watch(inotify_, w.second);
    return true;
  });
}

void Programs::watch() {
  add_watches();
  thread_ = std::thread([this] { wait_for_changes(); });
}

void Programs::wait_for_changes() {
  (void)load(false);  // what happened before the watches were there
  alignas(inotify_event) char buffer[16 << 10];
  bool dirty = false;
  for (;;) {
    pollfd fds[2] = {{stop_, POLLIN, 0}, {inotify_, POLLIN, 0}};
    const int n = ::poll(fds, 2, dirty ? quiet_ms : -1);
    if (fds[0].revents != 0) return;
    if (n == 0 && dirty) {
      dirty = false;
      (void)load(false);
      add_watches();
      continue;
    }
    for (ssize_t size; (size = ::read(inotify_, buffer, sizeof buffer)) > 0;) {
      for (char* at = buffer; at < buffer + size;) {
        const auto* event = reinterpret_cast<const inotify_event*>(at);
        at += sizeof(inotify_event) + event->len;
        const std::string_view name(event->len > 0 ? event->name : "");
        dirty = dirty || name.ends_with(".kflow") || name == "kflow.lock.json" ||
                (event->mask & (IN_ISDIR | IN_Q_OVERFLOW)) != 0;
      }
    }
  }
}

}  // namespace kflow::server
