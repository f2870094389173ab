#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hullmark::fanotify {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

// The watched directories, by absolute path (as one mount of their filesystem shows them). Several roots may lie on one path, and
// one within another. Looking up costs one hash a component, whatever the number of roots.
class Roots {
 public:
  struct Match {
    uint32_t root;
    size_t prefix;  // bytes of the path up to and including the slash after the root; the path's length for the root itself
  };

  void Add(uint32_t id, std::string path);
  // False: no such root.
  bool Remove(uint32_t id);
  bool empty() const { return paths_.empty(); }
  size_t size() const { return paths_.size(); }
  std::vector<Match> Find(std::string_view path) const;
  // Every root's id.
  std::vector<uint32_t> All() const;

 private:
  std::unordered_map<std::string, std::vector<uint32_t>, StringHash, std::equal_to<>> by_path_;
  std::unordered_map<uint32_t, std::string> paths_;
};

}  // namespace hullmark::fanotify
