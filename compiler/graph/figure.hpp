// Figure: what a picture of a workflow shows, before it is drawn: items one below the other, with
// lanes of further items where the workflow has branches, loops and attempts.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/program.hpp"

namespace kflow::graph {

/// What an item is about; its colour.
enum class Tone : uint8_t {
  agent,
  tool,
  effect,  ///< http, files, programs, databases
  person,
  time,  ///< timers and signals
  workflow,
  pure,  ///< let, set, emit
  good,  ///< return
  bad,   ///< fail
  jump,  ///< break, continue
  none,
};

enum class Shape : uint8_t {
  box,       ///< a step
  line,      ///< a pure statement: one small line
  end,       ///< return, fail, break, continue: nothing follows
  choice,    ///< if, match: one of its lanes
  together,  ///< parallel: its lanes at the same time
  repeated,  ///< for, loop: its one lane, again and again
  attempt,   ///< try: the first lane, then what catches
};

struct Lane;
struct Item {
  Shape shape = Shape::box;
  Tone tone = Tone::none;
  std::string title;
  std::string detail;
  std::vector<std::string> notes;  ///< options that change what one sees: retry, timeout, undo …
  std::string doc;
  std::vector<Lane> lanes;
};
struct Lane {
  std::string label;  ///< "": none
  std::vector<Item> items;
  /// Whether control leaves it other than at its end.
  bool leaves() const;
};

struct Figure {
  std::string title;  ///< `name(topic: string) -> string`
  std::string doc;    ///< first paragraph
  std::vector<Item> items;
};

/// The figure of a workflow or tool; of an agent or team what it consists of.
Figure figure_of(const ir::Program& program, ir::CallableId callable);

/// Mermaid's flowchart, for Markdown.
std::string mermaid(const Figure& figure);
/// Graphviz.
std::string dot(const Figure& figure);
/// A picture that stands for itself.
std::string svg(const Figure& figure);

}  // namespace kflow::graph
