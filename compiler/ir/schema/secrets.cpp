// Looks into lists, maps, records and unions.
#include "compiler/ir/schema/secrets.hpp"

#include <algorithm>
#include <vector>

namespace kflow::schema {
namespace {

// Records and unions that refer to themselves are looked into once.
bool look(const TypeTable& types, TypeId id, std::vector<TypeId>& seen) {
  const Type& t = types[id];
  if (t.kind == TypeKind::record || t.kind == TypeKind::record_union) {
    if (std::find(seen.begin(), seen.end(), id) != seen.end()) return false;
    seen.push_back(id);
  }
  switch (t.kind) {
    case TypeKind::secret:
      return true;
    case TypeKind::list:
    case TypeKind::map:
    case TypeKind::nullable:
      return t.element && look(types, t.element, seen);
    case TypeKind::record:
      return std::any_of(t.fields.begin(), t.fields.end(),
                         [&](const Field& f) { return look(types, f.type, seen); });
    case TypeKind::record_union:
      return std::any_of(t.arms.begin(), t.arms.end(),
                         [&](TypeId arm) { return look(types, arm, seen); });
    default:
      return false;
  }
}

}  // namespace

bool holds_secret(const TypeTable& types, TypeId type) {
  std::vector<TypeId> seen;
  return look(types, type, seen);
}

}  // namespace kflow::schema
