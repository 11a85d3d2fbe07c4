// The overloads of CEL's operators, standard functions and extension libraries.
#include "compiler/cel/front/declarations.hpp"

#include <algorithm>
#include <array>

#include "compiler/base/check.hpp"

namespace kflow::cel {
namespace {

struct Row {
  const char* name;
  std::vector<const char*> signatures;
};

// As operators are named in CEL's abstract syntax.
const std::vector<Row>& operator_rows() {
  static const std::vector<Row> rows = {
      {"_?_:_", {"(bool,A,A)A"}},
      {"_==_", {"(A,A)bool"}},
      {"_!=_", {"(A,A)bool"}},
      {"_in_", {"(A,list(A))bool", "(A,map(A,B))bool"}},
      {"!_", {"(bool)bool"}},
      {"-_", {"(int)int", "(double)double"}},
      {"_+_",
       {"(int,int)int", "(uint,uint)uint", "(double,double)double", "(string,string)string",
        "(bytes,bytes)bytes", "(list(A),list(A))list(A)", "(duration,duration)duration",
        "(timestamp,duration)timestamp", "(duration,timestamp)timestamp"}},
      {"_-_",
       {"(int,int)int", "(uint,uint)uint", "(double,double)double", "(duration,duration)duration",
        "(timestamp,duration)timestamp", "(timestamp,timestamp)duration"}},
      {"_*_", {"(int,int)int", "(uint,uint)uint", "(double,double)double"}},
      {"_/_", {"(int,int)int", "(uint,uint)uint", "(double,double)double"}},
      {"_%_", {"(int,int)int", "(uint,uint)uint"}},
      {"_<_",
       {"(bool,bool)bool", "(int,int)bool", "(uint,uint)bool", "(double,double)bool",
        "(string,string)bool", "(bytes,bytes)bool", "(timestamp,timestamp)bool",
        "(duration,duration)bool"}},
      {"_[_]",
       {"(list(A),int)A", "(map(A,B),A)B", "(optional_type(list(A)),int)optional_type(A)",
        "(optional_type(map(A,B)),A)optional_type(B)"}},
      {"_[?_]",
       {"(list(A),int)optional_type(A)", "(map(A,B),A)optional_type(B)",
        "(optional_type(list(A)),int)optional_type(A)",
        "(optional_type(map(A,B)),A)optional_type(B)"}},
  };
  return rows;
}

const std::vector<Row>& standard_rows() {
  static const std::vector<Row> rows = {
      {"size",
       {"(string)int", "(bytes)int", "(list(A))int", "(map(A,B))int", ".(string)int", ".(bytes)int",
        ".(list(A))int", ".(map(A,B))int"}},
      {"contains", {".(string,string)bool"}},
      {"startsWith", {".(string,string)bool"}},
      {"endsWith", {".(string,string)bool"}},
      {"matches", {"(string,string)bool", ".(string,string)bool"}},
      {"type", {"(A)type(A)"}},
      {"dyn", {"(A)dyn"}},
      {"bool", {"(bool)bool", "(string)bool"}},
      {"int", {"(int)int", "(uint)int", "(double)int", "(string)int", "(timestamp)int"}},
      {"uint", {"(uint)uint", "(int)uint", "(double)uint", "(string)uint"}},
      {"double", {"(double)double", "(int)double", "(uint)double", "(string)double"}},
      {"string",
       {"(string)string", "(bool)string", "(int)string", "(uint)string", "(double)string",
        "(bytes)string", "(timestamp)string", "(duration)string", "(net.IP)string",
        "(net.CIDR)string"}},
      {"bytes", {"(bytes)bytes", "(string)bytes"}},
      {"timestamp", {"(timestamp)timestamp", "(string)timestamp", "(int)timestamp"}},
      {"duration", {"(duration)duration", "(string)duration"}},
      {"getFullYear", {".(timestamp)int", ".(timestamp,string)int"}},
      {"getMonth", {".(timestamp)int", ".(timestamp,string)int"}},
      {"getDate", {".(timestamp)int", ".(timestamp,string)int"}},
      {"getDayOfMonth", {".(timestamp)int", ".(timestamp,string)int"}},
      {"getDayOfWeek", {".(timestamp)int", ".(timestamp,string)int"}},
      {"getDayOfYear", {".(timestamp)int", ".(timestamp,string)int"}},
      {"getHours", {".(timestamp)int", ".(timestamp,string)int", ".(duration)int"}},
      {"getMinutes", {".(timestamp)int", ".(timestamp,string)int", ".(duration)int"}},
      {"getSeconds", {".(timestamp)int", ".(timestamp,string)int", ".(duration)int"}},
      {"getMilliseconds", {".(timestamp)int", ".(timestamp,string)int", ".(duration)int"}},
  };
  return rows;
}

const std::vector<Row>& text_rows() {
  static const std::vector<Row> rows = {
      {"charAt", {".(string,int)string"}},
      {"indexOf", {".(string,string)int", ".(string,string,int)int"}},
      {"lastIndexOf", {".(string,string)int", ".(string,string,int)int"}},
      {"lowerAscii", {".(string)string"}},
      {"upperAscii", {".(string)string"}},
      {"replace", {".(string,string,string)string", ".(string,string,string,int)string"}},
      {"split", {".(string,string)list(string)", ".(string,string,int)list(string)"}},
      {"substring", {".(string,int)string", ".(string,int,int)string"}},
      {"trim", {".(string)string"}},
      {"join", {".(list(string))string", ".(list(string),string)string"}},
      {"reverse", {".(string)string", ".(list(A))list(A)"}},
      {"strings.quote", {"(string)string"}},
      {"format", {".(string,list(dyn))string"}},
      {"base64.encode", {"(bytes)string"}},
      {"base64.decode", {"(string)bytes"}},
      {"regex.extract", {"(string,string)optional_type(string)"}},
      {"regex.extractAll", {"(string,string)list(string)"}},
      {"regex.replace", {"(string,string,string)string", "(string,string,string,int)string"}},
  };
  return rows;
}

const std::vector<Row>& math_rows() {
  static const std::vector<const char*> extremes = {
      "(int)int",        "(uint)uint",       "(double)double",
      "(int,int)int",    "(uint,uint)uint",  "(double,double)double",
      "(int,uint)dyn",   "(uint,int)dyn",    "(int,double)dyn",
      "(double,int)dyn", "(uint,double)dyn", "(double,uint)dyn",
      "(list(int))int",  "(list(uint))uint", "(list(double))double"};
  static const std::vector<Row> rows = {
      {"math.greatest", extremes},
      {"math.least", extremes},
      {"math.ceil", {"(double)double"}},
      {"math.floor", {"(double)double"}},
      {"math.round", {"(double)double"}},
      {"math.trunc", {"(double)double"}},
      {"math.isNaN", {"(double)bool"}},
      {"math.isInf", {"(double)bool"}},
      {"math.isFinite", {"(double)bool"}},
      {"math.sqrt", {"(double)double", "(int)double", "(uint)double"}},
      {"math.abs", {"(int)int", "(uint)uint", "(double)double"}},
      {"math.sign", {"(int)int", "(uint)uint", "(double)double"}},
      {"math.bitAnd", {"(int,int)int", "(uint,uint)uint"}},
      {"math.bitOr", {"(int,int)int", "(uint,uint)uint"}},
      {"math.bitXor", {"(int,int)int", "(uint,uint)uint"}},
      {"math.bitNot", {"(int)int", "(uint)uint"}},
      {"math.bitShiftLeft", {"(int,int)int", "(uint,int)uint"}},
      {"math.bitShiftRight", {"(int,int)int", "(uint,int)uint"}},
  };
  return rows;
}

const std::vector<Row>& collection_rows() {
  static const std::vector<Row> rows = {
      {"slice", {".(list(A),int,int)list(A)"}},
      {"distinct", {".(list(A))list(A)"}},
      {"flatten", {".(list(list(A)))list(A)", ".(list(dyn),int)list(dyn)"}},
      {"sort",
       {".(list(int))list(int)", ".(list(uint))list(uint)", ".(list(double))list(double)",
        ".(list(bool))list(bool)", ".(list(string))list(string)", ".(list(bytes))list(bytes)",
        ".(list(timestamp))list(timestamp)", ".(list(duration))list(duration)"}},
      {"lists.range", {"(int)list(int)"}},
      {"first", {".(list(A))optional_type(A)"}},
      {"last", {".(list(A))optional_type(A)"}},
      {"sets.contains", {"(list(A),list(A))bool"}},
      {"sets.equivalent", {"(list(A),list(A))bool"}},
      {"sets.intersects", {"(list(A),list(A))bool"}},
      {"optional.of", {"(A)optional_type(A)"}},
      {"optional.none", {"()optional_type(A)"}},
      {"optional.ofNonZeroValue", {"(A)optional_type(A)"}},
      {"hasValue", {".(optional_type(A))bool"}},
      {"value", {".(optional_type(A))A"}},
      {"or", {".(optional_type(A),optional_type(A))optional_type(A)"}},
      {"orValue", {".(optional_type(A),A)A"}},
      {"isIP", {"(string)bool"}},
      {"isCIDR", {"(string)bool"}},
      {"ip", {"(string)net.IP", "(net.IP)net.IP", ".(net.CIDR)net.IP"}},
      {"cidr", {"(string)net.CIDR", "(net.CIDR)net.CIDR"}},
      {"ip.isCanonical", {"(string)bool"}},
      {"family", {".(net.IP)int"}},
      {"isUnspecified", {".(net.IP)bool"}},
      {"isLoopback", {".(net.IP)bool"}},
      {"isGlobalUnicast", {".(net.IP)bool"}},
      {"isLinkLocalMulticast", {".(net.IP)bool"}},
      {"isLinkLocalUnicast", {".(net.IP)bool"}},
      {"masked", {".(net.CIDR)net.CIDR"}},
      {"prefixLength", {".(net.CIDR)int"}},
      {"containsIP", {".(net.CIDR,net.IP)bool", ".(net.CIDR,string)bool"}},
      {"containsCIDR", {".(net.CIDR,net.CIDR)bool", ".(net.CIDR,string)bool"}},
  };
  return rows;
}

// Name of an operator's overloads; comparisons share one.
std::string_view operator_name(OpCode code, bool optional) {
  switch (code) {
    case OpCode::conditional:
      return "_?_:_";
    case OpCode::equal:
      return "_==_";
    case OpCode::not_equal:
      return "_!=_";
    case OpCode::in:
      return "_in_";
    case OpCode::not_:
      return "!_";
    case OpCode::negate:
      return "-_";
    case OpCode::add:
      return "_+_";
    case OpCode::subtract:
      return "_-_";
    case OpCode::multiply:
      return "_*_";
    case OpCode::divide:
      return "_/_";
    case OpCode::modulo:
      return "_%_";
    case OpCode::less:
    case OpCode::less_equal:
    case OpCode::greater:
    case OpCode::greater_equal:
      return "_<_";
    default:
      return optional ? "_[?_]" : "_[_]";
  }
}

bool has_parameters(const TypeStore& types, StaticType t) {
  if (types.kind(t) == StaticKind::variable) return true;
  for (uint32_t i = 0; i < types.arg_count(t); ++i) {
    if (has_parameters(types, types.arg(t, i))) return true;
  }
  return false;
}

std::vector<std::string_view> split_params(std::string_view text) {
  std::vector<std::string_view> out;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      if (i > begin) out.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    }
  }
  return out;
}

Declarations make_standard() {
  Declarations out;
  for (const auto* rows :
       {&operator_rows(), &standard_rows(), &text_rows(), &math_rows(), &collection_rows()}) {
    for (const Row& row : *rows) {
      for (const char* signature : row.signatures)
        KFLOW_CHECK(out.add_function(row.name, signature), "a signature of the table");
    }
  }
  for (uint8_t k = 0; k <= static_cast<uint8_t>(last_kind); ++k) {
    const auto kind = static_cast<Kind>(k);
    if (kind == Kind::file) continue;
    const auto t = parse_type(out.types(), type_name(kind));
    KFLOW_CHECK(t.has_value(), "a type of its name");
    out.add_variable(std::string(type_name(kind)), out.types().type_of(*t));
  }
  return out;
}

}  // namespace

Declarations::Declarations(const Declarations* base)
    : base_(base), types_(base == nullptr ? nullptr : &base->types_) {}

bool Declarations::add_function(const std::string& name, std::string_view signature) {
  Overload o;
  o.member = signature.starts_with('.');
  if (o.member) signature.remove_prefix(1);
  if (!signature.starts_with('(')) return false;
  size_t close = 0;
  int depth = 0;
  for (size_t i = 0; i < signature.size() && close == 0; ++i) {
    depth += signature[i] == '(' ? 1 : signature[i] == ')' ? -1 : 0;
    if (depth == 0) close = i;
  }
  if (close == 0) return false;
  for (const std::string_view param : split_params(signature.substr(1, close - 1))) {
    const auto t = parse_type(types_, param, true);
    if (!t) return false;
    o.params.push_back(*t);
  }
  const auto result = parse_type(types_, signature.substr(close + 1), true);
  if (!result) return false;
  o.result = *result;
  add_function(name, std::move(o));
  return true;
}

void Declarations::add_function(const std::string& name, Overload overload) {
  overload.generic = has_parameters(types_, overload.result);
  for (const StaticType p : overload.params) overload.generic |= has_parameters(types_, p);
  functions_[name].push_back(std::move(overload));
}

std::optional<StaticType> Declarations::variable(std::string_view name) const {
  if (const auto it = variables_.find(name); it != variables_.end()) return it->second;
  return base_ == nullptr ? std::nullopt : base_->variable(name);
}

const Overloads* Declarations::find(std::string_view name) const {
  const auto it = functions_.find(name);
  return it == functions_.end() ? nullptr : &it->second;
}

std::vector<std::string> Declarations::function_names() const {
  std::vector<std::string> out;
  for (const auto& [name, overloads] : functions_) out.push_back(name);
  return out;
}

const Declarations& standard_declarations() {
  static const Declarations all = make_standard();
  return all;
}

const Overloads& operator_overloads(OpCode code, bool optional) {
  static const auto table = [] {
    std::array<std::array<const Overloads*, 2>, last_op_code + 1> out{};
    for (size_t i = 0; i <= last_op_code; ++i) {
      for (const bool o : {false, true})
        out[i][o] = standard_declarations().find(operator_name(static_cast<OpCode>(i), o));
    }
    return out;
  }();
  return *table[static_cast<size_t>(code)][optional];
}

}  // namespace kflow::cel
