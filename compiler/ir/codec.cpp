// Binary form, hash and JSON form of programs, all from the field lists of fields.hpp.
#include <algorithm>

#include "compiler/base/bytes.hpp"
#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/fields.hpp"
#include "compiler/ir/program.hpp"

namespace kflow::ir {
namespace {

constexpr std::string_view magic = "KIR";

class Writer {
 public:
  /// `meaning`: leaves out what does not change what a program does.
  Writer(ByteWriter& out, bool meaning) : out_(out), meaning_(meaning) {}

  template <typename T>
  void operator()(const char*, T& x) {
    put(x);
  }
  void origin(const char*, Origin& x) {
    if (!meaning_) fields(*this, x);
  }
  void doc(const char*, std::string& x) {
    if (!meaning_) put(x);
  }
  void files(const char*, std::vector<std::string>& x) {
    if (!meaning_) put(x);
  }
  void constraint(schema::Constraint&) {}

 private:
  void put(bool& x) { out_.boolean(x); }
  void put(uint32_t& x) { out_.varint(x); }
  void put(int32_t& x) { out_.svarint(x); }
  void put(int64_t& x) { out_.svarint(x); }
  void put(double& x) { out_.f64(x); }
  void put(std::string& x) { out_.string(x); }
  void put(cel::Value& x) { cel::encode_value(x, out_); }
  void put(cel::Program& x) {
    out_.boolean(!x.empty());
    if (!x.empty()) cel::encode_program(x, out_, !meaning_);
  }
  void put(schema::TypeTable& x) { x.encode(out_); }
  void put(std::vector<schema::Constraint>& x) { schema::encode_constraints(x, out_); }
  template <typename Tag>
  void put(Id<Tag>& x) {
    out_.varint(x ? static_cast<uint64_t>(x.value) + 1 : 0);
  }
  template <typename E>
    requires std::is_enum_v<E>
  void put(E& x) {
    out_.u8(static_cast<uint8_t>(x));
  }
  template <typename T>
  void put(std::optional<T>& x) {
    out_.boolean(x.has_value());
    if (x) put(*x);
  }
  template <typename T>
  void put(std::vector<T>& x) {
    out_.varint(x.size());
    for (T& item : x) put(item);
  }
  template <typename... Ts>
  void put(std::variant<Ts...>& x) {
    out_.u8(static_cast<uint8_t>(x.index()));
    std::visit([&](auto& alternative) { fields(*this, alternative); }, x);
  }
  template <typename T>
    requires std::is_class_v<T>
  void put(T& x) {
    fields(*this, x);
  }

  ByteWriter& out_;
  bool meaning_;
};

class Reader {
 public:
  explicit Reader(ByteReader& in) : in_(in) {}

  template <typename T>
  void operator()(const char*, T& x) {
    get(x);
  }
  void origin(const char*, Origin& x) { fields(*this, x); }
  void doc(const char*, std::string& x) { get(x); }
  void files(const char*, std::vector<std::string>& x) { get(x); }
  void constraint(schema::Constraint&) {}

 private:
  void get(bool& x) { x = in_.boolean(); }
  void get(uint32_t& x) { x = in_.varint32(); }
  void get(int32_t& x) { x = static_cast<int32_t>(in_.svarint()); }
  void get(int64_t& x) { x = in_.svarint(); }
  void get(double& x) { x = in_.f64(); }
  void get(std::string& x) { x = in_.string(); }
  void get(cel::Value& x) { x = cel::decode_value(in_); }
  void get(cel::Program& x) {
    if (in_.boolean()) x = cel::decode_program(in_);
  }
  void get(schema::TypeTable& x) {
    auto table = schema::TypeTable::decode(in_);
    if (!table) return in_.fail();
    x = std::move(*table);
  }
  void get(std::vector<schema::Constraint>& x) { x = schema::decode_constraints(in_); }
  template <typename Tag>
  void get(Id<Tag>& x) {
    const uint64_t v = in_.varint();
    if (v > Id<Tag>::none_value) in_.fail();
    x = v == 0 ? Id<Tag>() : Id<Tag>(static_cast<uint32_t>(v - 1));
  }
  template <typename E>
    requires std::is_enum_v<E>
  void get(E& x) {
    const uint8_t v = in_.u8();
    if (v > static_cast<uint8_t>(last_of<E>::value)) return in_.fail();
    x = static_cast<E>(v);
  }
  template <typename T>
  void get(std::optional<T>& x) {
    if (in_.boolean()) get(x.emplace());
  }
  template <typename T>
  void get(std::vector<T>& x) {
    for (size_t n = in_.count(); n > 0 && !in_.failed(); --n) get(x.emplace_back());
  }
  template <size_t I = 0, typename... Ts>
  void alternative(size_t index, std::variant<Ts...>& x) {
    if constexpr (I < sizeof...(Ts)) {
      if (index == I) return fields(*this, x.template emplace<I>());
      return alternative<I + 1>(index, x);
    } else {
      in_.fail();
    }
  }
  template <typename... Ts>
  void get(std::variant<Ts...>& x) {
    alternative(in_.u8(), x);
  }
  template <typename T>
    requires std::is_class_v<T>
  void get(T& x) {
    fields(*this, x);
  }

  ByteReader& in_;
};

class Json {
 public:
  explicit Json(JsonWriter& out) : out_(out) {}
  template <typename T>
  void operator()(const char* name, T& x) {
    out_.key(name);
    put(x);
  }
  void origin(const char* name, Origin& x) { (*this)(name, x); }
  void doc(const char* name, std::string& x) { (*this)(name, x); }
  void files(const char* name, std::vector<std::string>& x) { (*this)(name, x); }
  void constraint(schema::Constraint& x) { (*this)("rule", x.text); }

 private:
  void put(bool& x) { out_.boolean(x); }
  void put(uint32_t& x) { x == no_slot ? out_.null() : out_.integer(x); }
  void put(int32_t& x) { out_.integer(x); }
  void put(int64_t& x) { out_.integer(x); }
  void put(double& x) { out_.number(x); }
  void put(std::string& x) { out_.string(x); }
  void put(cel::Value& x) { out_.raw(cel::to_json(x)); }
  void put(cel::Program& x) { out_.integer(static_cast<int64_t>(x.ops.size())); }
  void put(schema::TypeTable& x) {
    out_.begin_array();
    for (uint32_t i = 0; i < x.size(); ++i) out_.string(x.display(TypeId(i)));
    out_.end_array();
  }
  template <typename Tag>
  void put(Id<Tag>& x) {
    x ? out_.integer(x.value) : out_.null();
  }
  template <typename E>
    requires std::is_enum_v<E>
  void put(E& x) {
    out_.integer(static_cast<int>(x));
  }
  template <typename T>
  void put(std::optional<T>& x) {
    x ? put(*x) : out_.null();
  }
  template <typename T>
  void put(std::vector<T>& x) {
    out_.begin_array();
    for (T& item : x) put(item);
    out_.end_array();
  }
  template <typename... Ts>
  void put(std::variant<Ts...>& x) {
    static constexpr const char* kinds[] = {"step",     "let",  "set",   "if",      "match",
                                            "parallel", "for",  "loop",  "try",     "return",
                                            "fail",     "emit", "break", "continue"};
    out_.begin_object();
    out_.key("kind"), out_.string(kinds[x.index()]);
    std::visit([&](auto& alternative) { fields(*this, alternative); }, x);
    out_.end_object();
  }
  template <typename T>
    requires std::is_class_v<T>
  void put(T& x) {
    out_.begin_object();
    fields(*this, x);
    out_.end_object();
  }
  JsonWriter& out_;
};

std::string content(const Program& program, bool meaning) {
  ByteWriter out;
  Writer writer(out, meaning);
  // The lists take references that are not const; a writer does not change them.
  fields(writer, const_cast<Program&>(program));
  return out.take();
}

}  // namespace

CallableId Program::find(std::string_view wanted) const {
  for (uint32_t i = 0; i < callables.size(); ++i) {
    if (callables[i].name == wanted) return CallableId(i);
  }
  return {};
}

CallableId Program::find_or_was(std::string_view wanted) const {
  if (const CallableId id = find(wanted)) return id;
  for (uint32_t i = 0; i < callables.size(); ++i) {
    const auto& was = callables[i].was;
    if (std::find(was.begin(), was.end(), wanted) != was.end()) return CallableId(i);
  }
  return {};
}

std::string encode(const Program& program) {
  const std::string body = content(program, false);
  ByteWriter out;
  out.raw(magic);
  out.u8(program_format);
  out.u64(xxh3(body));
  out.raw(body);
  return out.take();
}

Result<Program> decode(std::string_view bytes) {
  if (!bytes.starts_with(magic)) return fail(ErrorCode::incompatible, "not a compiled program");
  ByteReader in(bytes.substr(magic.size()));
  const uint8_t format = in.u8();
  if (format < oldest_program_format) {
    return fail(ErrorCode::incompatible,
                "the program was compiled by a version before the first release; compile it again");
  }
  if (format > program_format) {
    return fail(ErrorCode::incompatible, "the program was compiled by a newer version (format " +
                                             std::to_string(format) + ")");
  }
  const uint64_t checksum = in.u64();
  const std::string_view body = in.raw(in.remaining());
  if (in.failed() || xxh3(body) != checksum)
    return fail(ErrorCode::corrupt, "the compiled program is damaged");
  ByteReader body_in(body);
  Program program;
  Reader reader(body_in);
  fields(reader, program);
  if (!body_in.done()) return fail(ErrorCode::corrupt, "the compiled program is malformed");
  if (auto ok = verify(program); !ok)
    return std::unexpected(std::move(ok).error().with_context("the compiled program is malformed"));
  return program;
}

Sha256 hash(const Program& program) { return sha256(content(program, true)); }

std::string to_json(const Program& program) {
  JsonWriter out(2);
  Json json(out);
  out.begin_object();
  fields(json, const_cast<Program&>(program));
  out.end_object();
  return out.take() + "\n";
}

}  // namespace kflow::ir
