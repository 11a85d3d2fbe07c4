// YAML nodes as values.
#include "runtime/config/yaml.hpp"

#include <yaml-cpp/yaml.h>

#include <charconv>

#include "compiler/base/utf8.hpp"

namespace kflow::config {
namespace {

using cel::Value;

Value scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!" || find_invalid_utf8(text) != std::string_view::npos)
    return Value::string(replace_invalid_utf8(text));
  if (text == "null" || text == "~" || text.empty() || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return Value::boolean(true);
  if (text == "false" || text == "False" || text == "FALSE") return Value::boolean(false);
  const char* end = text.data() + text.size();
  const char* begin = text.front() == '+' ? text.data() + 1 : text.data();
  int64_t i = 0;
  if (const auto r = std::from_chars(begin, end, i); r.ec == std::errc() && r.ptr == end)
    return Value::integer(i);
  double d = 0;
  const bool number_like = text.find_first_not_of("+-.0123456789eE") == std::string::npos &&
                           text.find_first_of("0123456789") != std::string::npos;
  if (const auto r = std::from_chars(begin, end, d);
      number_like && r.ec == std::errc() && r.ptr == end)
    return Value::number(d);
  return Value::string(text);
}

class Reader {
 public:
  Result<Value> read(const YAML::Node& node, int depth) {
    if (depth > max_yaml_depth)
      return fail(ErrorCode::limit,
                  "YAML nested deeper than " + std::to_string(max_yaml_depth) + " levels");
    if (++nodes_ > max_yaml_nodes)
      return fail(ErrorCode::limit,
                  "YAML with more than " + std::to_string(max_yaml_nodes) + " values");
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null:
        return Value();
      case YAML::NodeType::Scalar:
        return scalar(node);
      case YAML::NodeType::Sequence: {
        std::vector<Value> items;
        for (const YAML::Node& item : node) {
          auto v = read(item, depth + 1);
          if (!v) return v;
          items.push_back(std::move(*v));
        }
        return Value::list(std::move(items));
      }
      case YAML::NodeType::Map: {
        cel::MapBuilder map;
        for (const auto& entry : node) {
          auto v = read(entry.second, depth + 1);
          if (!v) return v;
          const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
          if (!map.add(replace_invalid_utf8(key), std::move(*v))) {
            return fail(ErrorCode::invalid_argument,
                        "line " + std::to_string(entry.first.Mark().line + 1) + ": the key `" +
                            key + "` stands twice");
          }
        }
        return std::move(map).take();
      }
    }
    return Value();
  }

 private:
  size_t nodes_ = 0;
};

}  // namespace

Result<Value> from_yaml(std::string_view text) {
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    return Reader().read(root, 0);
  } catch (const YAML::Exception& e) {
    return fail(ErrorCode::invalid_argument, "line " + std::to_string(e.mark.line + 1) +
                                                 ", column " + std::to_string(e.mark.column + 1) +
                                                 ": " + e.msg);
  }
}

}  // namespace kflow::config
