// `kflowc schema`: types as JSON Schema, and JSON Schema as types.
#pragma once

#include <string>

namespace kflow::cli {

struct SchemaVerb {
  std::string file;    ///< a .kflow file, or with `from` a JSON Schema
  std::string name;    ///< of a type or callable; "": all of the file. Of an import: its new name
  bool from = false;   ///< the other way round
  bool model = false;  ///< field names as models see them (@alias)
};

/// Exit status of the verb.
int run_schema(const SchemaVerb& options);

}  // namespace kflow::cli
