#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace hullmark::tree {

// A glob over the raw bytes of a path: `?` one byte, `*` any bytes, neither matches `/`; `**` any bytes with `/`; `**/` also nothing, so
// `**/x` matches `x`; `\` takes the next byte literally. The whole path must match; a leading `/` of the pattern is ignored.
// Patterns come from policy, paths from the workload: matching takes O(pattern × path) time, whatever they are.
class Glob {
 public:
  static constexpr size_t kMaxPatternBytes = 4096;

  // Throws Error("BAD_PATTERN") when empty or longer than kMaxPatternBytes.
  explicit Glob(std::string_view pattern);
  bool Matches(std::string_view path) const;

 private:
  enum class Op : uint8_t { kByte, kAnyByte, kStar, kDoubleStar, kDirectories, kDirectoriesLoop };
  struct Token {
    Op op;
    char byte;
  };

  void AddState(std::vector<uint8_t>& states, size_t state) const;

  std::vector<Token> tokens_;
  size_t literal_prefix_ = 0;
};

}  // namespace hullmark::tree
