// Workflows that the tests of the server run.
#pragma once

namespace kflow::test {

inline constexpr const char* flows = R"(type Plan { day: string @length(1, 20)  people: int = 2 }

/// Says hello.
workflow hello(name: string = "world", times: int = 1) -> string {
  tags: ["greeting"]
  step first = compose(name)
  return "hello ${first}"
}

tool compose(name: string) -> string {
  let text = name
  return text
}

workflow needs(title: string @length(1, 5), posts: Plan[] = []) -> string {
  return title
}

workflow ask(topic: string) -> string {
  step ok = human.confirm("publish ${topic}?")
  return ok ? "published" : "kept"
}

workflow form() -> string {
  step plan: Plan = human.ask("when?")
  return "${plan.day}"
}

workflow sleeper() -> string {
  step nap = sleep(1h)
  return "slept"
}

workflow waiter() -> any {
  step go = signal.wait("go")
  return go
}

workflow failing() {
  step ok = compose("x")
  fail "it is broken"
}

workflow count(n: int) -> int {
  for i in lists.range(n) {
    emit i
  }
  return n
}

workflow one_at_a_time() -> string {
  concurrency: { limit: 1, when_full: reject }
  step go = signal.wait("go")
  return "done"
}
)";

}  // namespace kflow::test
