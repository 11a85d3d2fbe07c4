// Checking whole files: one of 10 000 lines in the process, and two hundred files by `kflowc` on
// all cores. Prints JSON Lines; times of the processor beside those of the clock.
#include <ctime>
#include <fstream>

#include "compiler/driver/driver.hpp"
#include "tests/bench/bench.hpp"

namespace kflow::bench {
namespace {

namespace fs = std::filesystem;

// A workflow with what workflows have, about fifty lines; `n` makes its names its own.
std::string workflow(size_t n) {
  std::string text = R"(
/// One order of shop N.
type OrderN {
  id: string @length(1, 40)
  lines: LineN[] @length(1, 100)
  country: string @pattern("^[A-Z]{2}$")
  express: bool = false
}

/// What is ordered.
type LineN { sku: string, count: int @range(1, 1000), price: double }

/// Prices by weight.
fn shippingN(order: OrderN) -> double =
  order.express ? 9.5 : order.lines.size() > 10 ? 0.0 : 4.5

/// Charges a card.
tool chargeN(order: string, amount: double) -> string {
  step paid = http.post("https://shop.example.org/charges", body: {order: order, amount: amount}) {
    retry: { max: 3, backoff: exponential(1s, cap: 10s) }
    timeout: 2m
  }
  return "charged ${paid.status}"
}

/// From the order to the parcel.
workflow fulfilN(order: OrderN, note: string = "none") -> string {
  timeout: 3d
  let weight = order.lines.map(l, l.count).filter(c, c > 1).size()
  let amount = shippingN(order) + 1.5
  step receipt = chargeN(order.id, amount)
  for line in order.lines {
    limit: 4
    step picked = http.post("https://shop.example.org/picks", body: {sku: line.sku, count: line.count})
    let label = "${line.sku}: ${picked.status}"
  }
  loop wait {
    max: 12
    until: ready.status == 200
    step ready = http.get("https://shop.example.org/orders/${order.id}", expect_status: [200, 404])
    step sleep(5m)
  }
  match order.country {
    "DE", "AT" { step log("near: ${note}") }
    else { step log("far: ${weight}") }
  }
  try {
    step sent = http.post("https://shop.example.org/labels", body: {order: order.id})
    return "shipped ${order.id} after ${receipt} with ${label.join(", ")} and ${sent.status}"
  } catch err if err.kind == "http" {
    fail {code: "no_label", message: err.message}
  }
}
)";
  const std::string number = std::to_string(n);
  for (size_t at = 0; (at = text.find('N', at)) != std::string::npos; at += number.size()) {
    // At the end of a word of small letters, or alone.
    const bool own = std::islower(static_cast<unsigned char>(text[at - 1])) != 0;
    if (own || text.compare(at - 5, 5, "shop ") == 0) {
      text.replace(at, 1, number);
    } else {
      ++at;
    }
  }
  return text;
}

double processor_ms() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

size_t lines_of(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

void one_file() {
  std::string text = "kflow 1\n";
  size_t n = 0;
  while (lines_of(text) < 10'000) text += workflow(n++);
  std::vector<double> clock;
  std::vector<double> processor;
  for (int i = 0; i < 7; ++i) {
    const double before = processor_ms();
    const auto start = std::chrono::steady_clock::now();
    const auto compiled = driver::compile_text("large.kflow", text);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    clock.push_back(took.count());
    processor.push_back(processor_ms() - before);
    if (!compiled->program) die("the large file does not check");
  }
  Line("check_10000_lines")
      .count("lines", lines_of(text))
      .number("ms", median(clock))
      .number("cpu_ms", median(processor))
      .count("goal_ms", 300)
      .met(median(processor) < 300);
}

void many_files() {
  const Scratch scratch("check_bench");
  const fs::path folder = scratch / "";
  size_t lines = 0;
  for (size_t i = 0; i < 200; ++i) {
    const std::string text = "kflow 1\n" + workflow(i);
    lines += lines_of(text);
    std::ofstream(folder / ("f" + std::to_string(i) + ".kflow")) << text;
  }
  std::vector<double> clock;
  std::vector<double> processor;
  std::vector<double> waits;
  for (int i = 0; i < 7; ++i) {
    const Spent spent = run_program({KFLOWC_PROGRAM, "check", "."}, folder);
    clock.push_back(spent.wall_ms);
    processor.push_back(spent.cpu_ms);
    waits.push_back(static_cast<double>(spent.waits));
  }
  // Where others use the processor too, fewer cores are busy; a lock would show as waits.
  Line("check_200_files")
      .count("lines", lines)
      .number("ms", median(clock))
      .number("cpu_ms", median(processor))
      .number("cores_busy", median(processor) / median(clock))
      .number("waits", median(waits), 0)
      .count("goal_waits", 20)
      .met(median(waits) <= 20);
}

}  // namespace
}  // namespace kflow::bench

int main() {
  kflow::bench::one_file();
  kflow::bench::many_files();
}
