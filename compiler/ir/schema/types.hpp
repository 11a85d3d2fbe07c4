// Types of the language as data: what sema checks against, what the machine validates with, what
// JSON Schema is made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/bytes.hpp"
#include "compiler/base/ids.hpp"
#include "compiler/base/result.hpp"
#include "compiler/cel/program.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::schema {

struct TypeTag;
using TypeId = Id<TypeTag>;

enum class TypeKind : uint8_t {
  any,
  null,
  boolean,
  int_,
  uint_,
  double_,
  string,
  bytes,
  timestamp,
  duration,
  file,
  secret,
  poison,    ///< of an expression with an error already reported; assignable to and from everything
  list,      ///< element
  map,       ///< string keys → element
  nullable,  ///< element or null; never nested
  literal_union,  ///< one of `literals`, all of one kind (string, int or bool)
  record,         ///< fields, in order
  record_union,   ///< arms: records told apart by the literal field `discriminator`
};

/// A rule on a value besides its type. Ranges are inclusive.
struct Constraint {
  enum class Kind : uint8_t { range, length, pattern, format, check };
  Kind kind = Kind::range;
  cel::Value min;  ///< range (number) and length (int); null: none
  cel::Value max;
  std::string text;      ///< the pattern (RE2), the format's name, or the source of the check
  cel::Program program;  ///< check: variable 0 is `this`
};

void encode_constraints(const std::vector<Constraint>& constraints, ByteWriter& out);
std::vector<Constraint> decode_constraints(ByteReader& in);

struct Field {
  std::string name;
  TypeId type;
  std::optional<cel::Value>
      fallback;  ///< the default; a field without one is required unless its type is nullable
  std::vector<Constraint> constraints;
  std::string doc;
  std::vector<std::string> was;  ///< @was: the field's earlier names, the latest first
  std::string alias;             ///< @alias: the name a model sees
};

struct Type {
  TypeKind kind = TypeKind::any;
  TypeId element;
  std::vector<cel::Value> literals;
  std::vector<std::string> literal_docs;  ///< as long as `literals`, or empty
  std::vector<Field> fields;
  std::vector<TypeId> arms;
  std::string discriminator;
  std::string name;  ///< of a declared record or alias; "" where the type is anonymous
  std::string doc;
};

/// Owns types; ids stay valid. Anonymous types are interned by structure (equal ids ⇔ equal types);
/// named ones are distinct. Not thread-safe while it grows; const use is.
class TypeTable {
 public:
  TypeTable();  ///< holds one type of each simple kind, so that `simple` costs nothing

  static TypeId simple(TypeKind kind);  ///< any … poison
  TypeId list_of(TypeId element);
  TypeId map_of(TypeId element);
  /// `T?`: any and null stay what they are, a nullable stays itself.
  TypeId nullable(TypeId element);
  TypeId literals(std::vector<cel::Value> values);
  TypeId record(std::vector<Field> fields);  ///< anonymous
  /// A declared type whose content is set later, so that records can refer to themselves.
  TypeId declare(std::string name, std::string doc);
  void define(TypeId id, Type content);  ///< keeps the name and doc given to `declare`

  const Type& operator[](TypeId id) const { return types_[id.value]; }
  size_t size() const { return types_.size(); }

  /// `string?`, `Post[]`, `"blog" | "x"`, `{title: string}` as the language writes it.
  std::string display(TypeId id) const;
  /// T of `T?`, else the type itself.
  TypeId without_null(TypeId id) const;
  bool accepts_null(TypeId id) const;
  /// Whether a field says what it was called before.
  bool has_former_names() const { return has_former_names_; }
  void add_former_names(TypeId record, size_t field, const std::vector<std::string>& names);
  /// `secret` or `secret?`.
  bool is_secret(TypeId id) const;
  /// Whether every value of `from` is a value of `to` without a run-time check. `any` on the right
  /// of either: true, see `needs_check`. int and uint are not interchangeable; literals are
  /// assignable to their base type.
  bool assignable(TypeId from, TypeId to) const;
  /// Assigning `from` to `to` is legal only with a run-time check (an `any` inside `from` meets a
  /// declared type).
  bool needs_check(TypeId from, TypeId to) const;
  /// The least type both are assignable to (`T` and null: `T?`; different literals: their union;
  /// else any).
  TypeId join(TypeId a, TypeId b);

  /// Ids below this are the same types in every table.
  static constexpr uint32_t simple_types = static_cast<uint32_t>(TypeKind::poison) + 1;
  /// Adds the types of another table as they are; those from `simple_types` on get the returned
  /// number added to their ids. Types equal to ones that are here are added again.
  uint32_t append(const TypeTable& other);

  void encode(ByteWriter& out) const;
  static Result<TypeTable> decode(ByteReader& in);

 private:
  TypeId intern(Type type);
  void note_former_names(const Type& type);
  std::vector<Type> types_;
  bool has_former_names_ = false;
  std::vector<std::pair<uint64_t, TypeId>> by_hash_;
};

/// One rule that a value breaks: `path` as `posts[2].title`, "" for the value itself.
struct Violation {
  std::string path;
  std::string rule;   ///< "expected string", "length must be 1 to 80", "no field `titel` (did you
                      ///< mean `title`?)"
  std::string value;  ///< the offending value, clipped for display
};

struct Validation {
  cel::Value value;  ///< with defaults filled in, fields in declared order, JSON forms converted;
                     ///< only if ok
  std::vector<Violation> violations;
  bool ok() const { return violations.empty(); }
};

/// How strict `validate` is about forms that JSON cannot keep apart.
enum class Source : uint8_t {
  json,      ///< from outside: "2026-01-01T00:00:00Z" becomes a timestamp, "1h" a duration, base64
             ///< bytes, 3.0 an int …
  internal,  ///< a value of ours: kinds must match; only defaults are filled in and int promotes to
             ///< double
};

/// Checks `value` against `type`; collects at most `max_violations`.
inline constexpr size_t max_violations = 20;
Validation validate(const TypeTable& types, TypeId type, const cel::Value& value, Source source);
/// Checks `constraints` of a parameter or field whose value is `value`, at `path`.
void check_constraints(const std::vector<Constraint>& constraints, const cel::Value& value,
                       const std::string& path, std::vector<Violation>& out);

/// A value that was recorded when fields of its type had their former names (`@was`), with the
/// present ones.
cel::Value with_present_names(const TypeTable& types, TypeId type, cel::Value value);

/// Whether `@format("name")` is a format that is checked.
bool is_known_format(std::string_view name);

}  // namespace kflow::schema
