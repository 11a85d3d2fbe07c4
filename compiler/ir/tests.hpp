// Tests in the language (language.md §9), lowered: what `kflow test` runs. Never part of a program
// that is stored or hashed.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compiler/ir/program.hpp"

namespace kflow::ir {

/// Something that can be called, as tests know it.
struct TestTarget {
  std::string name;       ///< as it is written: "http.get", "research_team"
  CallableId callable;    ///< none: a built-in
  bool detached = false;  ///< `workflow.start`
  friend bool operator==(const TestTarget&, const TestTarget&) = default;
};

/// One of the results of a mock.
struct MockResult {
  ExprId value;
  bool fails = false;  ///< `value` is the error: a message or a record
};
struct MockStatement {
  TestTarget target;
  std::vector<std::pair<std::string, Slot>> params;  ///< names of arguments that the results read
  std::vector<MockResult> results;  ///< one after the other, then again the last
};
/// `run name = callee(args)`: starts it and waits until nothing more happens.
struct RunStatement {
  Slot slot = no_slot;
  CallableId callable;
  std::vector<Argument> arguments;
};
/// The next thing that waits for that signal, or the person asked at that step, gets the value.
struct SignalStatement {
  std::string name;
  ExprId value;
};
struct TestLet {
  Slot slot = no_slot;
  ExprId value;
};
struct ExpectStatement {
  ExprId condition;
  std::vector<ExprId> parts;  ///< shown when it does not hold
};
struct TestStatement {
  std::variant<MockStatement, RunStatement, SignalStatement, TestLet, ExpectStatement> data;
  Origin origin;
};
/// `for case in […]`, the last statement: each item is a test of its own, with what stands before
/// done anew.
struct TestCases {
  Slot key = no_slot;
  Slot value = no_slot;
  ExprId items;
  std::vector<TestStatement> body;
};
/// What a test asks about its runs: the slot is filled before an expression is evaluated.
struct TestFact {
  enum class Kind : uint8_t {
    calls,   ///< how often it was called
    inputs,  ///< the arguments of each call
    ran,     ///< whether the step of that name or path has begun
  } kind = Kind::calls;
  TestTarget target;
  std::string step;
  Slot slot = no_slot;
};
struct Test {
  std::string name;
  Origin origin;
  ScopeId scope;
  std::vector<TestStatement> statements;
  std::optional<TestCases> cases;
  std::vector<TestFact> facts;
};

/// The tests of a file, with its program: the expressions of tests are among the program's.
struct TestSuite {
  Program program;
  std::vector<Test> tests;
};

}  // namespace kflow::ir
