// Projects: kflow.yaml for an embedding program.
#include "runtime/engine/project.hpp"

#include <cstdlib>
#include <filesystem>

#include "runtime/config/settings.hpp"
#include "runtime/embed/data.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"

namespace kflow::embed {

namespace fs = std::filesystem;
using detail::ProjectData;

Result<Project> Project::open(const std::string& path) {
  std::error_code error;
  fs::path folder = fs::absolute(path, error).lexically_normal();
  if (!fs::exists(folder, error))
    return Error{ErrorCode::not_found, "there is no folder or file `" + path + "`"};
  if (!fs::is_directory(folder, error)) {
    if (folder.filename() != "kflow.yaml")
      return Error{ErrorCode::invalid_argument,
                   "`" + path + "` is neither a folder nor a file `kflow.yaml`"};
    folder = folder.parent_path();
  }
  if (!folder.has_filename() && folder.has_relative_path()) folder = folder.parent_path();  // a/b/
  auto settings = config::load_settings(folder.string());
  if (!settings) return to_error(std::move(settings).error());
  auto data = std::make_shared<ProjectData>();
  data->root = folder.string();
  data->store_max_bytes = settings->store_max_mib << 20;
  engine::EngineOptions taken;
  taken.project_root = data->root;
  engine::take_settings(*settings, taken);
  data->activities = std::move(taken.activities);
  return Project(std::move(data));
}

const std::string& Project::root() const { return data_->root; }

Result<Store> Project::open_store(Durability durability) const {
  const char* from_environment = std::getenv("KFLOW_STORE");
  const bool named = from_environment != nullptr && *from_environment != '\0';
  return detail::StoreData::open_folder(
      named ? std::string(from_environment) : (fs::path(data_->root) / ".kflow").string(),
      durability, data_->store_max_bytes);
}

}  // namespace kflow::embed
