// Recorder: what the grammar rules report to while they match: nodes, missing parts, junk. Knows
// nothing of PEGTL.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/syntax/tree.hpp"

namespace kflow::syntax {

struct SyntaxError {
  bool unexpected = false;  ///< junk stands here; otherwise something is missing
  uint32_t begin = 0;
  uint32_t end = 0;
  std::string message;
  std::string note;
  uint32_t related = UINT32_MAX;  ///< the bracket that was not closed
  std::string related_text;
  std::string near;  ///< a misspelled word
  std::vector<std::string> candidates;
};

class Recorder {
 public:
  explicit Recorder(std::string_view text) : text_(text) {}

  // ---- nodes. Positions only grow, so what a failed alternative left behind is found by its place
  // and dropped.
  uint32_t open(Node kind, uint32_t at) {
    drop_stale(at);
    nodes_.push_back({kind, at, at, 1});
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  void close(uint32_t index, uint32_t at) {
    drop_stale(at);
    nodes_[index].end = at;
    nodes_[index].size = static_cast<uint32_t>(nodes_.size()) - index;
  }
  /// Closes, but leaves the node out if it has just one child.
  void close_or_dissolve(uint32_t index, uint32_t at) {
    close(index, at);
    if (index + 1 < nodes_.size() && nodes_[index + 1].size + 1 == nodes_[index].size) {
      nodes_.erase(nodes_.begin() + index);
    }
  }
  void abandon(uint32_t index) { nodes_.resize(index); }
  void leaf(Node kind, uint32_t begin, uint32_t end) {
    drop_stale(begin);
    nodes_.push_back({kind, begin, end, 1});
  }

  // ---- errors. One a place: after an error nothing more is reported until a token has been taken.
  SyntaxError* error(uint32_t begin, uint32_t end) {
    if (begin == last_error_ || begin == quiet_until_) return nullptr;
    last_error_ = begin;
    errors_.push_back({});
    errors_.back().begin = begin;
    errors_.back().end = end;
    return &errors_.back();
  }
  /// Nothing is reported at this place: what came before it was skipped as junk.
  void quiet_at(uint32_t at) { quiet_until_ = at; }
  bool reported_at(uint32_t at) const { return last_error_ == at || quiet_until_ == at; }
  void missing(uint32_t at) { leaf(Node::missing, at, at); }

  // ---- nesting
  bool enter() { return ++depth_ <= max_depth; }
  void leave() { --depth_; }
  int depth() const { return depth_; }
  std::vector<uint32_t> openers;  ///< places of brackets not yet closed

  std::string_view text() const { return text_; }
  std::vector<NodeData>& nodes() { return nodes_; }
  std::vector<SyntaxError>& errors() { return errors_; }

  /// Fills the gaps between leaves with whitespace and comments, so that every byte is in a leaf.
  std::vector<NodeData> finish();

 private:
  void drop_stale(uint32_t at) {
    while (!nodes_.empty() && nodes_.back().end > at) nodes_.pop_back();
  }
  std::string_view text_;
  std::vector<NodeData> nodes_;
  std::vector<SyntaxError> errors_;
  uint32_t last_error_ = UINT32_MAX;
  uint32_t quiet_until_ = UINT32_MAX;
  int depth_ = 0;
};

}  // namespace kflow::syntax
