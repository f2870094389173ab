#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tree/patricia.h"
#include "tree/record.h"

namespace hullmark::tree {

// What tells, without reading a file, that it is the one that was measured. Size, mode and owner are compared too (they are in the record).
struct CacheKey {
  uint64_t ino = 0;
  int64_t ctime_ns = 0;
  uint64_t stamp = 0;  // keyed mix of device, mtime and birth time; the birth time stands for the inode's generation
};

enum EntryFlag : uint8_t {
  kRacy = 1,       // changed within a clock tick of being measured: the cache key does not vouch for it
  kExcluded = 2,   // mutable by policy and harmless: known, but no leaf of the tree
  kHardLinked = 4, // had more than one name
  kOpaque = 8,
  kInUse = 128,
};

// Longest path in bytes (proto/codec/path.ts).
inline constexpr size_t kMaxPathBytes = 65536;

// The measured entries of one tree, about 160 bytes each with name and trie node: the directory structure, what records need, cache keys.
// Not synchronised: one writer at a time, readers only while there is none.
class Store final : private LeafSource {
 public:
  static constexpr uint32_t kNone = 0xffffffff;
  static constexpr uint32_t kRoot = 0;  // the root directory: no leaf, no record

  struct Entry {
    CacheKey cache;
    uint64_t size = 0;
    Digest content{};
    uint32_t uid = 0, gid = 0;
    uint32_t parent = kNone, first_child = kNone, next = kNone;
    uint32_t name = 0, tail = 0;  // offsets into the arena
    uint16_t mode = 0;
    char type = 'd';
    uint8_t flags = 0;
  };

  Store();

  const Entry& at(uint32_t id) const { return entries_[id]; }
  // One past the largest id ever used: ids index side tables of this size.
  uint32_t id_limit() const { return static_cast<uint32_t>(entries_.size()); }
  size_t leaves() const { return leaves_; }
  uint64_t content_bytes() const { return content_bytes_; }
  size_t memory_bytes() const;

  uint32_t Child(uint32_t parent, std::string_view name) const;
  // The entry of a path, excluded ones too; kNone when unknown.
  uint32_t Find(std::string_view path) const;
  std::string_view Name(uint32_t id) const { return ArenaName(entries_[id].name); }
  std::string Path(uint32_t id) const;
  std::string_view Tail(uint32_t id) const;
  std::string Encode(uint32_t id) const;
  bool IsLeaf(uint32_t id) const { return id != kRoot && !(entries_[id].flags & kExcluded); }

  // Adds an entry below `parent`, which must hold no entry of that name. Returns its id.
  uint32_t Insert(uint32_t parent, std::string_view name, const Record& record, const CacheKey& cache, uint8_t flags);
  void Update(uint32_t id, const Record& record, const CacheKey& cache, uint8_t flags);
  // Removes an entry without children.
  void Remove(uint32_t id);

  // Gives back what growing reserved; for after many insertions.
  void Shrink();

  Patricia& trie() { return trie_; }
  const Patricia& trie() const { return trie_; }

 private:
  Digest Key(uint32_t leaf) const override;
  Digest RecordDigest(uint32_t leaf) const override;
  std::string_view ArenaName(uint32_t offset) const;
  uint32_t PutName(std::string_view name);
  uint32_t PutTail(std::string_view tail);
  void CompactArena();
  void GrowIndex();
  size_t Slot(uint32_t parent, std::string_view name) const;
  void Assign(Entry& entry, const Record& record, const CacheKey& cache, uint8_t flags);

  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  std::string arena_;
  size_t arena_garbage_ = 0;
  // Open-addressed index of (parent, name); linear probing; kNone is empty.
  std::vector<uint32_t> index_;
  size_t indexed_ = 0;
  uint64_t index_seed_;
  size_t leaves_ = 0;
  uint64_t content_bytes_ = 0;
  Patricia trie_;
};

}  // namespace hullmark::tree
