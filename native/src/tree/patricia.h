#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "tree/sha256.h"

namespace hullmark::tree {

// Number of leading bits that two keys share: 0..256.
int CommonBits(const Digest& a, const Digest& b);
Digest LeafHash(const Digest& key, const Digest& record_digest);
Digest NodeHash(int bitlen, const Digest& key, const Digest& left, const Digest& right);
Digest EmptyRoot();

// What the trie asks of the owner of the leaves. Keys are not kept in the trie (32 bytes an entry would be a sixth of its memory):
// they are computed again from the path where needed, some 0.3 µs each.
class LeafSource {
 public:
  virtual ~LeafSource() = default;
  virtual Digest Key(uint32_t leaf) const = 0;
  virtual Digest RecordDigest(uint32_t leaf) const = 0;
};

// The compressed binary trie of proto/codec/tree.ts over leaves named by 31-bit ids. After changes, Rehash() before anything that
// returns a hash. Not synchronised.
class Patricia {
 public:
  static constexpr uint32_t kNone = 0xffffffff;

  struct Position {
    enum class Kind { kEmpty, kLeaf, kNode } kind = Kind::kEmpty;
    uint32_t leaf = kNone;  // of a leaf
    int bitlen = 0;         // of a node
    Digest key{};           // a leaf's key, or any key below a node
    Digest hash{}, left{}, right{};
  };

  explicit Patricia(const LeafSource& leaves) : leaves_(leaves), root_hash_(EmptyRoot()) {}

  // `key` must be absent.
  void Insert(const Digest& key, uint32_t leaf);
  // `key` must be present.
  void Erase(const Digest& key);
  // The record of a present key changed.
  void Touch(const Digest& key);
  void Rehash();

  const Digest& Root() const { return root_hash_; }
  Position Descend(const Digest& key, int bits) const;
  // The leaf with the smallest key greater than `after` (or the smallest of all); kNone at the end.
  uint32_t Next(const Digest* after) const;
  void Shrink() { nodes_.shrink_to_fit(); }
  size_t NodeBytes() const { return nodes_.capacity() * sizeof(Node); }

 private:
  static constexpr uint32_t kLeafBit = 0x80000000;
  struct Node {
    Digest hash;
    uint32_t left, right;
    uint16_t bitlen;
    bool dirty;
  };

  static bool IsLeaf(uint32_t ref) { return ref & kLeafBit; }
  uint32_t Nearest(const Digest& key) const;
  uint32_t Leftmost(uint32_t ref) const;
  uint32_t NewNode();
  Digest HashOf(uint32_t ref) const;
  Digest RehashBelow(uint32_t ref, std::optional<Digest>& key);
  void Replace(uint32_t parent, uint32_t old, uint32_t next);

  const LeafSource& leaves_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> free_;
  uint32_t root_ = kNone;
  Digest root_hash_;
};

}  // namespace hullmark::tree
