// A fuzzer of its own: takes inputs of the corpus, changes them at random, joins them, and runs a
// target on them. An input that makes it crash or take too long is left in a file. Each input is
// made from the seed and a number, so `--seed S --only N` is that one again.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/targets.hpp"

using namespace kflow::fuzz;

namespace {

constexpr size_t max_input = 1U << 20;
constexpr unsigned slow_seconds = 20;  // an input that takes longer hangs

// What the handler of a crash writes out.
std::string input;
std::string kept_at;

void keep(int signal) {
  const int fd = ::open(kept_at.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd >= 0) {
    [[maybe_unused]] const ssize_t n = ::write(fd, input.data(), input.size());
    ::close(fd);
  }
  const char* why =
      signal == SIGALRM ? "an input takes too long; it is in " : "an input crashes; it is in ";
  for (const char* text : {why, kept_at.c_str(), "\n"}) [[maybe_unused]]
    const ssize_t n = ::write(2, text, std::strlen(text));
  ::signal(signal, SIG_DFL);
  if (signal == SIGALRM) ::_exit(1);
  ::raise(signal);
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& corpus) : corpus_(corpus) {}

  std::string make(uint64_t seed) {
    random_.seed(seed);
    std::string out = any();
    for (size_t n = 1 + pick(pick(4) == 0 ? 16 : 3); n > 0; --n) change(out);
    if (out.size() > max_input) out.resize(max_input);
    return out;
  }

 private:
  size_t pick(size_t n) { return random_() % n; }
  const std::string& any() { return corpus_[pick(corpus_.size())]; }
  // Small numbers, lengths and what is just beyond.
  char interesting() {
    static constexpr unsigned char bytes[] = {0, 1, 2, 3, 7, 0x7f, 0x80, 0x81, 0xfe, 0xff};
    return static_cast<char>(bytes[pick(sizeof bytes)]);
  }
  // The word at or after a place picked at random, or "".
  std::string word_at(const std::string& s) {
    const auto in_word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    size_t begin = pick(std::max<size_t>(s.size(), 1));
    while (begin > 0 && in_word(s[begin - 1])) --begin;
    while (begin < s.size() && !in_word(s[begin])) ++begin;
    size_t end = begin;
    while (end < s.size() && in_word(s[end])) ++end;
    return s.substr(begin, end - begin);
  }
  void change(std::string& s) {
    if (s.empty()) return s.push_back(interesting());
    const size_t at = pick(s.size());
    const size_t length = 1 + pick(std::min<size_t>(s.size() - at, pick(4) == 0 ? 200 : 8));
    switch (pick(11)) {
      case 0:
        s[at] = static_cast<char>(static_cast<unsigned char>(s[at]) ^ (1U << pick(8)));
        return;
      case 1:
        s[at] = static_cast<char>(random_());
        return;
      case 2:
        s[at] = interesting();
        return;
      case 3:
        s[at] = static_cast<char>(s[at] + static_cast<int>(pick(9)) - 4);
        return;
      case 4:
        s.erase(at, length);
        return;
      case 5:
        s.insert(at, s.substr(pick(s.size()), length));
        return;
      case 6: {
        const std::string& other = any();
        const size_t from = pick(std::max<size_t>(other.size(), 1));
        s.insert(at, other.substr(from, 1 + pick(200)));
        return;
      }
      case 7: {
        const std::string& other = any();
        s = s.substr(0, at) + other.substr(pick(std::max<size_t>(other.size(), 1)));
        return;
      }
      case 8:
      case 9: {
        // A word becomes another one: what is still a text of the language, but says something else.
        const std::string word = word_at(any());
        const std::string old = word_at(s);
        if (const size_t there = s.find(old, at); !old.empty() && there != std::string::npos)
          s.replace(there, old.size(), word);
        return;
      }
      default:
        // A large number, as a varint.
        for (size_t i = 1 + pick(9); i > 0; --i) s.insert(at, 1, '\xff');
        return;
    }
  }
  const std::vector<std::string>& corpus_;
  std::mt19937_64 random_;
};

std::string read_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

uint64_t number(std::string_view text) {
  uint64_t out = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), out).ptr !=
      text.data() + text.size()) {
    std::fprintf(stderr, "fuzz: `%.*s` is no number\n", static_cast<int>(text.size()), text.data());
    std::exit(2);
  }
  return out;
}

struct Settings {
  double seconds = 10;
  uint64_t runs = UINT64_MAX;
  uint64_t seed = 1;
  std::optional<uint64_t> only;
  std::string folder = ".";
};

void execute(const Target& target, std::string bytes) {
  input = std::move(bytes);
  ::alarm(slow_seconds);
  target.run(input);
  ::alarm(0);
}

int fuzz(const Target& target, const Settings& settings) {
  const auto corpus = target.corpus();
  for (const std::string& whole : corpus) {
    kept_at = settings.folder + "/" + target.name + "-corpus";
    execute(target, whole);
  }
  Mutator mutator(corpus);
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  uint64_t n = settings.only.value_or(0);
  for (; n < settings.runs && (n % 64 != 0 || passed() < settings.seconds); ++n) {
    kept_at = settings.folder + "/" + target.name + "-" + std::to_string(settings.seed) + "-" +
              std::to_string(n);
    execute(target, mutator.make(settings.seed * 0x9e3779b97f4a7c15ULL + n));
    if (settings.only) break;
  }
  std::printf(
      "{\"target\": \"%s\", \"corpus\": %zu, \"inputs\": %llu, \"seconds\": %.1f, \"seed\": "
      "%llu}\n",
      target.name, corpus.size(), static_cast<unsigned long long>(n), passed(),
      static_cast<unsigned long long>(settings.seed));
  return 0;
}

// FOLDER/TARGET/…: inputs that were wrong once.
int replay_found(const std::vector<const Target*>& chosen, const std::filesystem::path& folder) {
  size_t count = 0;
  for (const Target* target : chosen) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(folder / target->name, none)) {
      kept_at = "/dev/null";
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);
      execute(*target, read_file(entry.path().c_str()));
      ++count;
    }
  }
  std::printf("%zu inputs\n", count);
  return 0;
}

int usage() {
  std::fprintf(
      stderr,
      "usage: fuzz TARGET|all [--seconds N] [--runs N] [--seed N] [--only N] [--keep FOLDER]\n"
      "       fuzz TARGET --replay FILE…\n"
      "       fuzz TARGET|all --found FOLDER\n"
      "       fuzz --list\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return usage();
  const std::string_view name = argv[1];
  if (name == "--list") {
    for (const Target& t : targets()) std::printf("%s\n", t.name);
    return 0;
  }
  std::vector<const Target*> chosen;
  for (const Target& t : targets()) {
    if (name == "all" || name == t.name) chosen.push_back(&t);
  }
  if (chosen.empty()) {
    std::fprintf(stderr, "fuzz: there is no target `%s`; --list names them\n", argv[1]);
    return 2;
  }
  // A length that is believed before it is checked is found by this.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const rlimit memory{4UL << 30, 4UL << 30};
  ::setrlimit(RLIMIT_AS, &memory);
#endif
  // On a stack of its own: one that has run over is a finding too.
  static char stack[64U << 10];
  const stack_t other{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
  ::sigaltstack(&other, nullptr);
  struct sigaction action{};
  action.sa_handler = keep;
  action.sa_flags = SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM})
    ::sigaction(signal, &action, nullptr);
  if (argc > 3 && std::string_view(argv[2]) == "--replay") {
    kept_at = "/dev/null";
    for (int i = 3; i < argc; ++i) execute(*chosen.front(), read_file(argv[i]));
    return 0;
  }
  if (argc == 4 && std::string_view(argv[2]) == "--found") return replay_found(chosen, argv[3]);
  Settings settings;
  for (int i = 2; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (i + 1 == argc) return usage();
    if (option == "--seconds")
      settings.seconds = static_cast<double>(number(argv[i + 1]));
    else if (option == "--runs")
      settings.runs = number(argv[i + 1]);
    else if (option == "--seed")
      settings.seed = number(argv[i + 1]);
    else if (option == "--only")
      settings.only = number(argv[i + 1]);
    else if (option == "--keep")
      settings.folder = argv[i + 1];
    else
      return usage();
  }
  for (const Target* target : chosen) {
    if (const int code = fuzz(*target, settings); code != 0) return code;
  }
  return 0;
}
