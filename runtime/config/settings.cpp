// kflow.yaml → Settings.
#include "runtime/config/settings.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "compiler/cel/time.hpp"

namespace kflow::config {
namespace {

constexpr std::string_view providers[] = {"openai", "openai_chat", "anthropic", "gemini"};
constexpr uintmax_t max_settings_bytes = 1U << 20;

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}
  Settings out;
  std::string problems;

  void root(const YAML::Node& node) {
    each(node, "kflow.yaml", {"retention", "files", "store", "models", "secrets", "server"},
         [&](const std::string& key, const YAML::Node& value) {
           if (key == "retention") retention(value);
           if (key == "files") files(value);
           if (key == "store") store(value);
           if (key == "models") models(value);
           if (key == "secrets") secrets(value);
           if (key == "server") server(value);
         });
  }
  void problem(const YAML::Mark& mark, const std::string& what) {
    problems +=
        (problems.empty() ? "" : "\n") + name_ + ":" + std::to_string(mark.line + 1) + ": " + what;
  }

 private:
  template <typename Visit>
  void each(const YAML::Node& node, const std::string& what, const std::vector<std::string>& known,
            Visit visit) {
    if (node.IsNull()) return;
    if (!node.IsMap()) return problem(node.Mark(), "`" + what + "` is a record of keys and values");
    std::string list;
    for (const std::string& k : known) list += (list.empty() ? "" : ", ") + k;
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      if (!seen.insert(key).second) {
        problem(entry.first.Mark(), "`" + key + "` is said twice");
      } else if (std::find(known.begin(), known.end(), key) == known.end()) {
        problem(entry.first.Mark(), "`" + what + "` has no key `" + key + "`; it takes " + list);
      } else {
        visit(key, entry.second);
      }
    }
  }

  int64_t duration(const YAML::Node& node, const std::string& key) {
    const auto d = node.IsScalar() ? cel::parse_duration_literal(node.Scalar()) : std::nullopt;
    if (d && d->nanos >= 1'000'000) return d->nanos / 1'000'000;
    problem(node.Mark(), "`" + key + "` is a duration such as 12h or 30d");
    return 0;
  }
  uint64_t number(const YAML::Node& node, const std::string& key) {
    uint64_t n = 0;
    const std::string text = node.IsScalar() ? node.Scalar() : "";
    const auto r = std::from_chars(text.data(), text.data() + text.size(), n);
    if (r.ec == std::errc() && r.ptr == text.data() + text.size() && n > 0) return n;
    problem(node.Mark(), "`" + key + "` is a number of at least 1");
    return 0;
  }

  void retention(const YAML::Node& node) {
    each(node, "retention", {"age", "completed", "error", "cancelled", "keep", "deltas"},
         [&](const std::string& key, const YAML::Node& value) {
           if (key == "age") {
             out.retention.age_ms = duration(value, key);
           } else if (key == "keep") {
             out.retention.keep = number(value, key);
           } else if (key == "deltas") {
             out.retention.deltas_ms = duration(value, key);
           } else {
             out.retention.by_status.emplace_back(key == "completed" ? "COMPLETED"
                                                  : key == "error"   ? "ERROR"
                                                                     : "CANCELLED",
                                                  duration(value, key));
           }
         });
  }
  void files(const YAML::Node& node) {
    each(node, "files", {"roots"}, [&](const std::string&, const YAML::Node& value) {
      if (!value.IsSequence() || value.size() == 0)
        return problem(value.Mark(), "`roots` is a list of folders");
      for (const YAML::Node& item : value) {
        if (item.IsScalar() && !item.Scalar().empty()) {
          out.file_roots.push_back(item.Scalar());
        } else {
          problem(item.Mark(), "a root is the path of a folder");
        }
      }
    });
  }
  void store(const YAML::Node& node) {
    each(node, "store", {"max_mib"}, [&](const std::string& key, const YAML::Node& value) {
      out.store_max_mib = number(value, key);
    });
  }

  std::string text(const YAML::Node& node, const std::string& key) {
    if (node.IsScalar() && !node.Scalar().empty()) return node.Scalar();
    problem(node.Mark(), "`" + key + "` is a text");
    return "";
  }
  double money(const YAML::Node& node, const std::string& key) {
    double v = 0;
    const std::string text = node.IsScalar() ? node.Scalar() : "";
    const auto r = std::from_chars(text.data(), text.data() + text.size(), v);
    if (r.ec == std::errc() && r.ptr == text.data() + text.size() && v >= 0) return v;
    problem(node.Mark(), "`" + key + "` is a number: US dollars for a million tokens");
    return 0;
  }
  // Any name that the program may use: no list to check against.
  template <typename Visit>
  void named(const YAML::Node& node, const std::string& what, Visit visit) {
    if (node.IsNull()) return;
    if (!node.IsMap()) return problem(node.Mark(), "`" + what + "` is a record of names");
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar() || entry.first.Scalar().empty()) {
        problem(entry.first.Mark(), "a key of `" + what + "` is a name");
      } else if (!seen.insert(entry.first.Scalar()).second) {
        problem(entry.first.Mark(), "`" + entry.first.Scalar() + "` is said twice");
      } else {
        visit(entry.first.Scalar(), entry.second);
      }
    }
  }
  std::string url(const YAML::Node& node, const std::string& key,
                  std::initializer_list<std::string_view> schemes) {
    const std::string out = text(node, key);
    std::string list;
    for (const std::string_view scheme : schemes) {
      if (out.starts_with(scheme) && out.size() > scheme.size()) return out;
      list += (list.empty() ? "" : ", ") + std::string(scheme);
    }
    if (!out.empty())
      problem(node.Mark(), "`" + key + "` is a URL that begins with one of " + list);
    return "";
  }

  void models(const YAML::Node& node) {
    named(node, "models", [&](const std::string& name, const YAML::Node& value) {
      // A name with a slash is of a provider; any other may be declared in a program.
      const std::string provider = name.substr(0, name.find('/'));
      if (name.contains('/') && std::ranges::find(providers, provider) == std::end(providers)) {
        std::string list;
        for (const std::string_view p : providers)
          list += (list.empty() ? "" : ", ") + std::string(p);
        problem(value.Mark(), "there is no provider `" + provider + "`; there are " + list);
      }
      ModelSettings& m = out.models[name];
      each(value, "models: " + name,
           {"base_url", "api_key", "headers", "proxy", "timeout", "idle_timeout", "stream",
            "previous_response_id", "structured_output", "limits", "price"},
           [&](const std::string& key, const YAML::Node& v) { model(m, key, v); });
      const std::string who = name.substr(0, name.find('/'));
      if (m.previous_response_id && who != "openai" &&
          std::ranges::find(providers, who) != std::end(providers))
        problem(value.Mark(), "`previous_response_id` is for models of `openai`");
    });
  }
  std::optional<bool> yes_or_no(const YAML::Node& v, const std::string& key) {
    bool yes = true;
    if (YAML::convert<bool>::decode(v, yes)) return yes;
    problem(v.Mark(), "`" + key + "` is true or false");
    return std::nullopt;
  }
  void model(ModelSettings& m, const std::string& key, const YAML::Node& v) {
    if (key == "base_url") m.base_url = url(v, key, {"https://", "http://"});
    if (key == "api_key") api_key(m, v);
    if (key == "proxy")
      m.proxy = url(v, key, {"http://", "https://", "socks5://", "socks5h://", "socks4://"});
    if (key == "timeout") m.timeout_ms = duration(v, key);
    if (key == "idle_timeout") m.idle_timeout_ms = duration(v, key);
    if (key == "structured_output") {
      m.structured_output = text(v, key);
      if (m.structured_output != "schema" && m.structured_output != "json" &&
          m.structured_output != "prompt")
        problem(v.Mark(), "`structured_output` is schema, json or prompt");
    }
    if (key == "stream") m.stream = yes_or_no(v, key);
    if (key == "previous_response_id") m.previous_response_id = yes_or_no(v, key);
    if (key == "headers") {
      named(v, key, [&](const std::string& name, const YAML::Node& value) {
        m.headers.emplace_back(name, text(value, name));
      });
    }
    if (key == "limits") {
      each(v, key, {"requests_per_minute", "tokens_per_minute", "concurrent"},
           [&](const std::string& limit, const YAML::Node& value) {
             (limit == "concurrent"          ? m.concurrent
              : limit == "tokens_per_minute" ? m.tokens_per_minute
                                             : m.requests_per_minute) = number(value, limit);
           });
    }
    if (key == "price") price(m, v);
  }
  // The file is shared and kept: a key itself has no place in it.
  void api_key(ModelSettings& m, const YAML::Node& v) {
    m.api_key = text(v, "api_key");
    const bool variable = std::ranges::all_of(m.api_key, [](char c) {
      return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    });
    if (!variable)
      problem(v.Mark(), "`api_key` is the name of an environment variable, not the key itself");
  }
  void price(ModelSettings& m, const YAML::Node& v) {
    Price p;
    each(v, "price", {"input", "output", "cached_input", "cache_write"},
         [&](const std::string& key, const YAML::Node& value) {
           (key == "input"          ? p.input
            : key == "output"       ? p.output
            : key == "cached_input" ? p.cached_input
                                    : p.cache_write) = money(value, key);
         });
    if (p.input < 0 || p.output < 0) return problem(v.Mark(), "`price` needs `input` and `output`");
    m.price = p;
  }
  void secrets(const YAML::Node& node) {
    named(node, "secrets", [&](const std::string& name, const YAML::Node& value) {
      SecretSource& source = out.secrets[name];
      each(value, "secrets: " + name, {"env", "file"},
           [&](const std::string& key, const YAML::Node& v) {
             (key == "env" ? source.variable : source.file) = text(v, key);
           });
      if (source.variable.empty() == source.file.empty())
        problem(value.Mark(), "`secrets: " + name + "` says either `env` or `file`");
    });
  }

  // One text, or a list of them.
  std::vector<std::string> texts(const YAML::Node& node, const std::string& key) {
    std::vector<std::string> list;
    if (node.IsScalar()) {
      list.push_back(text(node, key));
    } else if (node.IsSequence()) {
      for (const YAML::Node& item : node) list.push_back(text(item, key));
    } else {
      problem(node.Mark(), "`" + key + "` is a list of texts");
    }
    return list;
  }
  void server(const YAML::Node& node) {
    each(node, "server", {"listen", "hosts", "cors", "tls", "tokens", "limits"},
         [&](const std::string& key, const YAML::Node& v) {
           if (key == "listen") out.server.listen = texts(v, key);
           if (key == "hosts") out.server.hosts = texts(v, key);
           if (key == "cors") {
             out.server.cors = texts(v, key);
             for (const std::string& origin : out.server.cors) {
               const bool good =
                   (origin.starts_with("https://") || origin.starts_with("http://")) &&
                   origin.find('/', origin.find("//") + 2) == std::string::npos;
               if (!good)
                 problem(v.Mark(), "`cors` is a list of origins such as https://app.example.org");
             }
           }
           if (key == "tls") {
             each(v, "server: tls", {"certificate", "key"},
                  [&](const std::string& part, const YAML::Node& file) {
                    (part == "key" ? out.server.key : out.server.certificate) = text(file, part);
                  });
           }
           if (key == "tokens") server_tokens(v);
           if (key == "limits") server_limits(v);
         });
    if (out.server.certificate.empty() != out.server.key.empty())
      problem(node.Mark(), "`server: tls` says both `certificate` and `key`");
  }
  void server_tokens(const YAML::Node& node) {
    if (!node.IsSequence()) return problem(node.Mark(), "`tokens` is a list of records");
    std::set<std::string> names;
    for (const YAML::Node& item : node) {
      ServerToken token;
      each(item, "server: tokens", {"name", "env", "file", "scopes", "user"},
           [&](const std::string& key, const YAML::Node& v) {
             if (key == "name") token.name = text(v, key);
             if (key == "env") token.variable = text(v, key);
             if (key == "file") token.file = text(v, key);
             if (key == "user") token.user = text(v, key);
             if (key == "scopes") scopes(token, v);
           });
      if (token.name.empty() || !names.insert(token.name).second)
        problem(item.Mark(), "a token has a `name` of its own");
      if (token.variable.empty() == token.file.empty())
        problem(item.Mark(), "a token says either `env` or `file`, where its text is");
      out.server.tokens.push_back(std::move(token));
    }
  }
  void scopes(ServerToken& token, const YAML::Node& node) {
    token.read = token.run = token.admin = false;
    for (const std::string& scope : texts(node, "scopes")) {
      if (scope == "read") {
        token.read = true;
      } else if (scope == "run") {
        token.run = true;
      } else if (scope == "admin") {
        token.admin = true;
      } else if (!scope.empty()) {
        problem(node.Mark(), "there is no scope `" + scope + "`; there are read, run, admin");
      }
    }
  }
  void server_limits(const YAML::Node& node) {
    ServerLimits& l = out.server.limits;
    each(node, "server: limits",
         {"header_kib", "body_mib", "connections", "starts", "header_time", "body_time",
          "idle_time", "send_time", "shutdown_time"},
         [&](const std::string& key, const YAML::Node& v) {
           if (key == "header_kib") l.header_kib = number(v, key);
           if (key == "body_mib") l.body_mib = number(v, key);
           if (key == "connections") l.connections = number(v, key);
           if (key == "starts") l.starts = number(v, key);
           if (key == "header_time") l.header_ms = duration(v, key);
           if (key == "body_time") l.body_ms = duration(v, key);
           if (key == "idle_time") l.idle_ms = duration(v, key);
           if (key == "send_time") l.send_ms = duration(v, key);
           if (key == "shutdown_time") l.shutdown_ms = duration(v, key);
         });
  }

  std::string name_;
};

}  // namespace

Result<Settings> read_settings(std::string_view text, const std::string& name) {
  Reader reader(name);
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    reader.root(root);
  } catch (const YAML::Exception& e) {
    reader.problem(e.mark, e.msg);
  }
  if (!reader.problems.empty()) return fail(ErrorCode::invalid_argument, reader.problems);
  return std::move(reader.out);
}

Result<Settings> load_settings(const std::string& folder) {
  const std::string path = folder + "/kflow.yaml";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Settings();
  if (std::filesystem::file_size(path, error) > max_settings_bytes || error) {
    return fail(ErrorCode::limit, "`" + path + "` is no readable file of at most " +
                                      std::to_string(max_settings_bytes >> 10) + " KiB");
  }
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) return fail(ErrorCode::io, "cannot read `" + path + "`");
  return read_settings(text, path);
}

}  // namespace kflow::config
