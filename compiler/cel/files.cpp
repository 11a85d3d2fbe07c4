// Walks values for their files.
#include "compiler/cel/files.hpp"

namespace kflow::cel {

void files_in(const Value& v, std::vector<File>& out) {
  switch (v.kind()) {
    case Kind::file:
      out.push_back(v.as_file());
      return;
    case Kind::list:
      for (const Value& item : v.as_list()) files_in(item, out);
      return;
    case Kind::map:
      for (const MapEntry& e : v.as_map()) files_in(e.value, out);
      return;
    case Kind::optional:
      if (v.as_optional() != nullptr) files_in(*v.as_optional(), out);
      return;
    default:
      return;
  }
}

std::vector<Sha256> file_hashes(const Value& v) {
  std::vector<File> files;
  files_in(v, files);
  std::vector<Sha256> out;
  out.reserve(files.size());
  for (const File& f : files) out.push_back(f.sha256);
  return out;
}

}  // namespace kflow::cel
