// Router: one table of routes that finds them, checks what they are given, and says what there is
// (openapi.json).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/cel/value.hpp"
#include "runtime/server/body.hpp"
#include "runtime/server/guard.hpp"
#include "runtime/server/http.hpp"
#include "runtime/server/options.hpp"

namespace kflow::server {

/// Where a parameter stands.
enum class In : uint8_t { path, query, header, body };
/// What it must be. Of JSON bodies `text` takes a string, `integer` an integer (or its text), and
/// so on; `json` any value, of forms a text that is JSON.
enum class Type : uint8_t { text, integer, boolean, json, object, moment };

/// What every reader of JSON can hold (2⁵³ − 1).
inline constexpr int64_t largest_integer = 9'007'199'254'740'991;

struct Parameter {
  std::string_view name;
  In in = In::query;
  Type type = Type::text;
  std::string_view doc;
  bool required = false;
  int64_t min = 0;  ///< of integers
  int64_t max = largest_integer;
  std::vector<std::string_view> choices = {};  ///< of texts
  bool many = false;                           ///< may be given several times, or with commas
  size_t max_bytes = 65'536;                   ///< of texts
};

struct Answer {
  int status = 200;
  std::string_view doc;
  std::string_view schema = {};  ///< component of the OpenAPI document; "": none
  std::string_view media = "application/json";
};

struct Route;

/// A request with its checked parameters. One handler has it.
struct Call {
  Request request;
  Principal who;
  const Route* route = nullptr;
  Reply reply;
  std::map<std::string, std::vector<cel::Value>, std::less<>> values;
  std::vector<Field> files;  ///< of multipart bodies

  bool has(std::string_view name) const { return values.contains(name); }
  const cel::Value* value(std::string_view name) const;
  std::string text(std::string_view name, std::string_view otherwise = "") const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
  bool flag(std::string_view name, bool otherwise) const;
};
using CallPtr = std::shared_ptr<Call>;

struct Route {
  std::string_view method;
  std::string_view pattern;  ///< "/workflows/{id}/runs"
  std::string_view id;       ///< operationId
  std::string_view summary;
  Scope scope = Scope::read;
  std::vector<Parameter> parameters;
  std::vector<Answer> answers;
  std::function<void(CallPtr)> run;
  /// Answered on the network's thread: it never waits for anything.
  bool quick = false;
  bool files = false;  ///< takes files in multipart bodies
};

class Router {
 public:
  void add(Route route);

  struct Match {
    const Route* route = nullptr;
    std::vector<std::pair<std::string_view, std::string>> captured;
    std::optional<Problem> problem;  ///< 400, 404, 405
    std::string allow;               ///< with 405 and for OPTIONS: the methods there are
  };
  Match match(std::string_view method, std::string_view target) const;
  /// Fills the call's values out of path, query, headers and body; a problem names every one that
  /// is wrong.
  std::optional<Problem> fill(Call& call, const Match& match) const;
  /// The document of all routes (OpenAPI 3.1).
  std::string openapi(std::string_view version) const;

 private:
  struct Known {
    std::unique_ptr<Route> route;
    std::vector<std::string_view> parts;  // of its pattern
  };
  std::vector<Known> routes_;
};

}  // namespace kflow::server
