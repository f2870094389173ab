#include "tree/patricia.h"

#include <bit>

namespace hullmark::tree {

namespace {
int BitAt(const Digest& key, int index) { return (key[index >> 3] >> (7 - (index & 7))) & 1; }
}  // namespace

int CommonBits(const Digest& a, const Digest& b) {
  for (int i = 0; i < 32; i++) {
    const uint8_t difference = a[i] ^ b[i];
    if (difference != 0) return i * 8 + std::countl_zero(difference);
  }
  return 256;
}

Digest LeafHash(const Digest& key, const Digest& record_digest) {
  uint8_t input[65] = {0};
  std::memcpy(input + 1, key.data(), 32);
  std::memcpy(input + 33, record_digest.data(), 32);
  return Sha256Of(input, sizeof input);
}

Digest NodeHash(int bitlen, const Digest& key, const Digest& left, const Digest& right) {
  uint8_t input[3 + 32 + 64];
  const size_t prefix = (bitlen + 7) / 8;
  input[0] = 1;
  input[1] = static_cast<uint8_t>(bitlen >> 8);
  input[2] = static_cast<uint8_t>(bitlen);
  std::memcpy(input + 3, key.data(), prefix);
  const int spare = static_cast<int>(prefix) * 8 - bitlen;
  if (spare > 0) input[2 + prefix] &= static_cast<uint8_t>(0xff << spare);
  std::memcpy(input + 3 + prefix, left.data(), 32);
  std::memcpy(input + 3 + prefix + 32, right.data(), 32);
  return Sha256Of(input, 3 + prefix + 64);
}

Digest EmptyRoot() {
  const uint8_t two = 2;
  return Sha256Of(&two, 1);
}

uint32_t Patricia::Nearest(const Digest& key) const {
  uint32_t at = root_;
  while (!IsLeaf(at)) at = BitAt(key, nodes_[at].bitlen) ? nodes_[at].right : nodes_[at].left;
  return at & ~kLeafBit;
}

uint32_t Patricia::Leftmost(uint32_t ref) const {
  while (!IsLeaf(ref)) ref = nodes_[ref].left;
  return ref & ~kLeafBit;
}

uint32_t Patricia::NewNode() {
  if (!free_.empty()) {
    const uint32_t node = free_.back();
    free_.pop_back();
    return node;
  }
  // A quarter more at a time: doubling would leave half of a large tree's node memory unused.
  if (nodes_.size() == nodes_.capacity()) nodes_.reserve(nodes_.size() + nodes_.size() / 4 + 16);
  nodes_.emplace_back();
  return static_cast<uint32_t>(nodes_.size() - 1);
}

void Patricia::Replace(uint32_t parent, uint32_t old, uint32_t next) {
  if (parent == kNone) {
    root_ = next;
  } else if (nodes_[parent].left == old) {
    nodes_[parent].left = next;
  } else {
    nodes_[parent].right = next;
  }
}

void Patricia::Insert(const Digest& key, uint32_t leaf) {
  if (root_ == kNone) {
    root_ = leaf | kLeafBit;
    return;
  }
  const int shared = CommonBits(leaves_.Key(Nearest(key)), key);
  uint32_t parent = kNone, at = root_;
  while (!IsLeaf(at) && nodes_[at].bitlen < shared) {
    nodes_[at].dirty = true;
    parent = at;
    at = BitAt(key, nodes_[at].bitlen) ? nodes_[at].right : nodes_[at].left;
  }
  const uint32_t node = NewNode();
  const bool right = BitAt(key, shared);
  nodes_[node] = {.hash = {}, .left = right ? at : leaf | kLeafBit, .right = right ? leaf | kLeafBit : at, .bitlen = static_cast<uint16_t>(shared), .dirty = true};
  Replace(parent, at, node);
}

void Patricia::Touch(const Digest& key) {
  for (uint32_t at = root_; !IsLeaf(at); at = BitAt(key, nodes_[at].bitlen) ? nodes_[at].right : nodes_[at].left) nodes_[at].dirty = true;
}

void Patricia::Erase(const Digest& key) {
  uint32_t grandparent = kNone, parent = kNone, at = root_;
  while (!IsLeaf(at)) {
    nodes_[at].dirty = true;
    grandparent = parent;
    parent = at;
    at = BitAt(key, nodes_[at].bitlen) ? nodes_[at].right : nodes_[at].left;
  }
  if (parent == kNone) {
    root_ = kNone;
    return;
  }
  Replace(grandparent, parent, nodes_[parent].left == at ? nodes_[parent].right : nodes_[parent].left);
  free_.push_back(parent);
}

Digest Patricia::HashOf(uint32_t ref) const {
  if (!IsLeaf(ref)) return nodes_[ref].hash;
  const uint32_t leaf = ref & ~kLeafBit;
  return LeafHash(leaves_.Key(leaf), leaves_.RecordDigest(leaf));
}

// Returns the hash below `ref`; puts a key from below it into `key` when it came across one. Recursion is at most 256 deep: a bit length
// grows by at least one a level.
Digest Patricia::RehashBelow(uint32_t ref, std::optional<Digest>& key) {
  if (IsLeaf(ref)) {
    const uint32_t leaf = ref & ~kLeafBit;
    key = leaves_.Key(leaf);
    return LeafHash(*key, leaves_.RecordDigest(leaf));
  }
  if (!nodes_[ref].dirty) return nodes_[ref].hash;
  std::optional<Digest> below_left, below_right;
  const Digest left = RehashBelow(nodes_[ref].left, below_left);
  const Digest right = RehashBelow(nodes_[ref].right, below_right);
  // Both sides may be clean: something between them and here was erased.
  key = below_left ? below_left : below_right ? below_right : leaves_.Key(Leftmost(ref));
  nodes_[ref].hash = NodeHash(nodes_[ref].bitlen, *key, left, right);
  nodes_[ref].dirty = false;
  return nodes_[ref].hash;
}

void Patricia::Rehash() {
  std::optional<Digest> key;
  root_hash_ = root_ == kNone ? EmptyRoot() : RehashBelow(root_, key);
}

Patricia::Position Patricia::Descend(const Digest& key, int bits) const {
  Position position;
  uint32_t at = root_;
  while (at != kNone && !IsLeaf(at) && nodes_[at].bitlen < bits) at = BitAt(key, nodes_[at].bitlen) ? nodes_[at].right : nodes_[at].left;
  if (at == kNone) return position;
  const Digest below = leaves_.Key(Leftmost(at));
  if (CommonBits(below, key) < bits) return position;
  position.key = below;
  position.hash = HashOf(at);
  if (IsLeaf(at)) {
    position.kind = Position::Kind::kLeaf;
    position.leaf = at & ~kLeafBit;
    return position;
  }
  position.kind = Position::Kind::kNode;
  position.bitlen = nodes_[at].bitlen;
  position.left = HashOf(nodes_[at].left);
  position.right = HashOf(nodes_[at].right);
  return position;
}

uint32_t Patricia::Next(const Digest* after) const {
  if (root_ == kNone) return kNone;
  if (!after) return Leftmost(root_);
  const int shared = CommonBits(leaves_.Key(Nearest(*after)), *after);
  uint32_t larger = kNone, at = root_;
  while (!IsLeaf(at) && nodes_[at].bitlen < shared) {
    const bool right = BitAt(*after, nodes_[at].bitlen);
    if (!right) larger = nodes_[at].right;
    at = right ? nodes_[at].right : nodes_[at].left;
  }
  // Everything below `at` shares these bits and then differs from `after` in the same direction.
  if (shared < 256 && BitAt(*after, shared) == 0) return Leftmost(at);
  return larger == kNone ? kNone : Leftmost(larger);
}

}  // namespace hullmark::tree
