#include "tree/glob.h"

#include "support/error.h"

namespace hullmark::tree {

Glob::Glob(std::string_view pattern) {
  if (!pattern.empty() && pattern.front() == '/') pattern.remove_prefix(1);
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) throw Error("BAD_PATTERN", "a pattern is 1 to 4096 bytes");
  for (size_t i = 0; i < pattern.size(); i++) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      tokens_.push_back({Op::kByte, pattern[++i]});
    } else if (c == '?') {
      tokens_.push_back({Op::kAnyByte, 0});
    } else if (c != '*') {
      tokens_.push_back({Op::kByte, c});
    } else if (i + 1 == pattern.size() || pattern[i + 1] != '*') {
      tokens_.push_back({Op::kStar, 0});
    } else {
      const bool at_component = i == 0 || pattern[i - 1] == '/';
      i++;
      if (at_component && i + 1 < pattern.size() && pattern[i + 1] == '/') {
        i++;
        tokens_.push_back({Op::kDirectories, 0});
        tokens_.push_back({Op::kDirectoriesLoop, 0});
      } else {
        tokens_.push_back({Op::kDoubleStar, 0});
      }
    }
  }
  while (literal_prefix_ < tokens_.size() && tokens_[literal_prefix_].op == Op::kByte) literal_prefix_++;
}

// Marks `state` and every state reachable from it without consuming a byte.
void Glob::AddState(std::vector<uint8_t>& states, size_t state) const {
  while (true) {
    if (states[state]) return;
    states[state] = 1;
    if (state == tokens_.size()) return;
    const Op op = tokens_[state].op;
    if (op == Op::kDirectories) {
      AddState(states, state + 2);
      state += 1;
    } else if (op == Op::kStar || op == Op::kDoubleStar) {
      state += 1;
    } else {
      return;
    }
  }
}

bool Glob::Matches(std::string_view path) const {
  if (path.size() < literal_prefix_) return false;
  for (size_t i = 0; i < literal_prefix_; i++) {
    if (path[i] != tokens_[i].byte) return false;
  }
  const size_t count = tokens_.size();
  std::vector<uint8_t> now(count + 1), next(count + 1);
  AddState(now, literal_prefix_);
  for (const char c : path.substr(literal_prefix_)) {
    std::fill(next.begin(), next.end(), 0);
    bool alive = false;
    for (size_t s = literal_prefix_; s < count; s++) {
      if (!now[s]) continue;
      const auto [op, byte] = tokens_[s];
      const bool stays = op == Op::kDoubleStar || op == Op::kDirectoriesLoop || (op == Op::kStar && c != '/');
      const bool steps = (op == Op::kByte && c == byte) || (op == Op::kAnyByte && c != '/') || (op == Op::kDirectoriesLoop && c == '/');
      if (stays) AddState(next, s);
      if (steps) AddState(next, s + 1);
      alive |= stays || steps;
    }
    if (!alive) return false;
    now.swap(next);
  }
  return now[count];
}

}  // namespace hullmark::tree
