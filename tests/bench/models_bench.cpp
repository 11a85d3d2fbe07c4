// Megabytes a second of streamed answers as providers send them, per dialect: many small pieces,
// cut where the network cuts. Prints JSON Lines.
#include <memory>

#include "runtime/models/dialect.hpp"
#include "tests/bench/bench.hpp"
#include "tests/support/fake_model/fake_model.hpp"

namespace kflow::bench {
namespace {

constexpr size_t network_read = 16'384;
constexpr int rounds = 9;

void measure(std::string_view provider, size_t characters, size_t piece) {
  std::string text;
  while (text.size() < characters) text += "The quick brown fox \"jumps\" over the lazy dog.\n";
  const cel::Value answer =
      cel::make_record({{"text", cel::Value::string(text)},
                        {"piece", cel::Value::integer(static_cast<int64_t>(piece))}});
  const std::string body = test::model_body(provider, answer, true);
  const models::Dialect* dialect = models::find_dialect(provider);
  std::vector<double> rates;
  std::vector<models::Delta> deltas;
  for (int i = 0; i < rounds; ++i) {
    const auto reader = dialect->reader(true);
    size_t got = 0;
    const double begin = thread_seconds();
    for (size_t at = 0; at < body.size(); at += network_read) {
      reader->feed(std::string_view(body).substr(at, network_read), deltas);
      for (const models::Delta& d : deltas) got += d.text.size();
      deltas.clear();
    }
    const auto whole = reader->finish();
    const double seconds = thread_seconds() - begin;
    if (!whole || got != text.size()) die("the answer is not what was sent");
    rates.push_back(static_cast<double>(body.size()) / 1e6 / seconds);
  }
  const double rate = median(rates);
  Line("parse_stream")
      .text("dialect", provider)
      .count("characters_a_piece", piece)
      .count("bytes", body.size())
      .number("mb_per_s", rate, 1)
      .count("goal", 100)
      .met(rate >= 100);
}

}  // namespace
}  // namespace kflow::bench

int main() {
  for (const char* provider : {"openai", "openai_chat", "anthropic", "gemini"}) {
    kflow::bench::measure(provider, 200'000, 5);
    kflow::bench::measure(provider, 2'000'000, 200);
  }
}
