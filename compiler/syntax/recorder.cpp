// Trivia between the recorded leaves.
#include "compiler/syntax/recorder.hpp"

namespace kflow::syntax {
namespace {

// Cuts [begin, end), which holds no token, into whitespace, comments and (bytes no rule took) junk.
void trivia(std::string_view text, uint32_t begin, uint32_t end, std::vector<NodeData>& out) {
  const auto space = [&](uint32_t i) {
    return text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r' ||
           text[i] == '\f';
  };
  while (begin < end) {
    uint32_t at = begin;
    Node kind = Node::whitespace;
    if (at == 0 && text.starts_with("\xef\xbb\xbf")) {
      at += 3;  // a byte order mark
    } else if (space(at)) {
      while (at < end && space(at)) ++at;
    } else if (text.substr(at, 2) == "//") {
      while (at < end && text[at] != '\n') ++at;
      const std::string_view line = text.substr(begin, at - begin);
      kind =
          line.starts_with("///") && !line.starts_with("////") ? Node::doc_comment : Node::comment;
    } else {
      while (at < end && !space(at) && text.substr(at, 2) != "//") ++at;
      kind = Node::junk;
    }
    out.push_back({kind, begin, at, 1});
    begin = at;
  }
}

}  // namespace

std::vector<NodeData> Recorder::finish() {
  std::vector<NodeData> out;
  out.reserve(nodes_.size() * 2);
  // Open nodes: index in `out` and end index in `nodes_`.
  std::vector<std::pair<uint32_t, uint32_t>> stack;
  uint32_t covered = 0;
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    while (!stack.empty() && i >= stack.back().second) {
      NodeData& done = out[stack.back().first];
      done.size = static_cast<uint32_t>(out.size()) - stack.back().first;
      stack.pop_back();
    }
    NodeData node = nodes_[i];
    if (i == 0) node.begin = 0;  // the root holds also what stands before its first token
    if (node.begin > covered) {
      trivia(text_, covered, node.begin, out);
      covered = node.begin;
    }
    out.push_back(node);
    if (is_leaf(node.kind)) {
      covered = std::max(covered, node.end);
    } else {
      stack.emplace_back(static_cast<uint32_t>(out.size() - 1), i + node.size);
    }
  }
  const auto total = static_cast<uint32_t>(text_.size());
  // What is left belongs to the root, the last to be closed.
  while (stack.size() > 1) {
    out[stack.back().first].size = static_cast<uint32_t>(out.size()) - stack.back().first;
    stack.pop_back();
  }
  if (covered < total) trivia(text_, covered, total, out);
  if (!out.empty()) {
    out[0].size = static_cast<uint32_t>(out.size());
    out[0].begin = 0;
    out[0].end = total;
  }
  return out;
}

}  // namespace kflow::syntax
