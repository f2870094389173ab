#include "tree/store.h"

#include <algorithm>

#include "tree/mix.h"

namespace hullmark::tree {

namespace {
// Grows by a quarter: most trees are measured once and then barely grow, and doubling would waste up to half.
template <typename Vector>
void ReserveOneMore(Vector& vector) {
  if (vector.size() == vector.capacity()) vector.reserve(vector.size() + vector.size() / 4 + 16);
}
}  // namespace

Store::Store() : index_seed_(RandomU64()), trie_(*this) {
  entries_.emplace_back();
  entries_[kRoot].flags = kInUse;
  arena_.push_back('\0');  // offset 0: no name, no tail
}

size_t Store::memory_bytes() const {
  return entries_.capacity() * sizeof(Entry) + arena_.capacity() + index_.capacity() * sizeof(uint32_t) + trie_.NodeBytes();
}

void Store::Shrink() {
  entries_.shrink_to_fit();
  arena_.shrink_to_fit();
  trie_.Shrink();
}

std::string_view Store::ArenaName(uint32_t offset) const { return {arena_.data() + offset + 1, static_cast<uint8_t>(arena_[offset])}; }

std::string_view Store::Tail(uint32_t id) const {
  const uint32_t offset = entries_[id].tail;
  if (offset == 0) return {};
  uint32_t length;
  std::memcpy(&length, arena_.data() + offset, sizeof length);
  return {arena_.data() + offset + sizeof length, length};
}

uint32_t Store::PutName(std::string_view name) {
  const size_t offset = arena_.size();
  if (offset + name.size() + 1 > 0xffffffff) throw Error("OUT_OF_RANGE", "more than 4 GiB of names and xattrs");
  if (arena_.capacity() < offset + name.size() + 1) arena_.reserve(offset + offset / 4 + 512);
  arena_.push_back(static_cast<char>(name.size()));
  arena_.append(name);
  return static_cast<uint32_t>(offset);
}

uint32_t Store::PutTail(std::string_view tail) {
  if (tail.empty()) return 0;
  const size_t offset = arena_.size();
  if (offset + tail.size() + 4 > 0xffffffff) throw Error("OUT_OF_RANGE", "more than 4 GiB of names and xattrs");
  const uint32_t length = static_cast<uint32_t>(tail.size());
  arena_.append(reinterpret_cast<const char*>(&length), sizeof length);
  arena_.append(tail);
  return static_cast<uint32_t>(offset);
}

void Store::CompactArena() {
  if (arena_garbage_ < 4096 || arena_garbage_ < arena_.size() / 2) return;
  std::string old;
  old.swap(arena_);
  arena_.reserve(old.size() - arena_garbage_ + 512);
  arena_.push_back('\0');
  for (uint32_t id = 1; id < entries_.size(); id++) {
    Entry& entry = entries_[id];
    if (!(entry.flags & kInUse)) continue;
    entry.name = PutName({old.data() + entry.name + 1, static_cast<uint8_t>(old[entry.name])});
    if (entry.tail == 0) continue;
    uint32_t length;
    std::memcpy(&length, old.data() + entry.tail, sizeof length);
    entry.tail = PutTail({old.data() + entry.tail + sizeof length, length});
  }
  arena_garbage_ = 0;
}

size_t Store::Slot(uint32_t parent, std::string_view name) const { return MixBytes(index_seed_ + parent, name) & (index_.size() - 1); }

uint32_t Store::Child(uint32_t parent, std::string_view name) const {
  if (index_.empty()) return kNone;
  for (size_t slot = Slot(parent, name);; slot = (slot + 1) & (index_.size() - 1)) {
    const uint32_t id = index_[slot];
    if (id == kNone) return kNone;
    if (entries_[id].parent == parent && Name(id) == name) return id;
  }
}

uint32_t Store::Find(std::string_view path) const {
  uint32_t id = kRoot;
  while (!path.empty() && id != kNone) {
    const size_t slash = path.find('/');
    id = Child(id, path.substr(0, slash));
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  return id;
}

std::string Store::Path(uint32_t id) const {
  size_t length = 0;
  for (uint32_t at = id; at != kRoot; at = entries_[at].parent) length += Name(at).size() + 1;
  std::string path(length > 0 ? length - 1 : 0, '/');
  size_t end = path.size();
  for (uint32_t at = id; at != kRoot; at = entries_[at].parent) {
    const std::string_view name = Name(at);
    end -= name.size();
    std::memcpy(path.data() + end, name.data(), name.size());
    if (end > 0) end--;
  }
  return path;
}

std::string Store::Encode(uint32_t id) const {
  const Entry& e = entries_[id];
  return EncodeRecord(e.type, e.flags & kOpaque, e.mode, e.uid, e.gid, e.size, e.content, Tail(id));
}

Digest Store::Key(uint32_t leaf) const {
  const std::string path = Path(leaf);
  return Sha256Of(path.data(), path.size());
}

Digest Store::RecordDigest(uint32_t leaf) const {
  const std::string record = Encode(leaf);
  return Sha256Of(record.data(), record.size());
}

void Store::GrowIndex() {
  if (index_.size() * 3 / 4 > indexed_ + 1) return;
  index_.assign(std::max<size_t>(16, index_.size() * 2), kNone);
  for (uint32_t id = 1; id < entries_.size(); id++) {
    if (!(entries_[id].flags & kInUse)) continue;
    size_t slot = Slot(entries_[id].parent, Name(id));
    while (index_[slot] != kNone) slot = (slot + 1) & (index_.size() - 1);
    index_[slot] = id;
  }
}

void Store::Assign(Entry& entry, const Record& record, const CacheKey& cache, uint8_t flags) {
  entry.cache = cache;
  entry.size = record.size;
  entry.content = record.content;
  entry.uid = record.uid;
  entry.gid = record.gid;
  entry.mode = record.mode;
  entry.type = record.type;
  entry.flags = flags | kInUse | (record.opaque ? kOpaque : 0);
  if (record.type == 'f') content_bytes_ += record.size;
}

uint32_t Store::Insert(uint32_t parent, std::string_view name, const Record& record, const CacheKey& cache, uint8_t flags) {
  GrowIndex();
  uint32_t id;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
    entries_[id] = Entry();
  } else {
    if (entries_.size() >= 0x7fffffff) throw Error("OUT_OF_RANGE", "too many entries");
    ReserveOneMore(entries_);
    id = static_cast<uint32_t>(entries_.size());
    entries_.emplace_back();
  }
  Entry& entry = entries_[id];
  entry.name = PutName(name);
  entry.tail = PutTail(record.tail);
  entry.parent = parent;
  entry.next = entries_[parent].first_child;
  entries_[parent].first_child = id;
  Assign(entry, record, cache, flags);
  size_t slot = Slot(parent, name);
  while (index_[slot] != kNone) slot = (slot + 1) & (index_.size() - 1);
  index_[slot] = id;
  indexed_++;
  if (IsLeaf(id)) {
    trie_.Insert(Key(id), id);
    leaves_++;
  }
  return id;
}

void Store::Update(uint32_t id, const Record& record, const CacheKey& cache, uint8_t flags) {
  Entry& entry = entries_[id];
  const bool was_leaf = IsLeaf(id);
  if (entry.type == 'f') content_bytes_ -= entry.size;
  if (Tail(id) != record.tail) {
    if (entry.tail != 0) arena_garbage_ += Tail(id).size() + 4;
    entry.tail = PutTail(record.tail);
  }
  Assign(entry, record, cache, flags);
  const bool is_leaf = IsLeaf(id);
  if (was_leaf || is_leaf) {
    const Digest key = Key(id);
    if (was_leaf && is_leaf) {
      trie_.Touch(key);
    } else if (is_leaf) {
      trie_.Insert(key, id);
      leaves_++;
    } else {
      trie_.Erase(key);
      leaves_--;
    }
  }
  CompactArena();
}

void Store::Remove(uint32_t id) {
  Entry& entry = entries_[id];
  if (IsLeaf(id)) {
    trie_.Erase(Key(id));
    leaves_--;
  }
  if (entry.type == 'f') content_bytes_ -= entry.size;
  uint32_t* link = &entries_[entry.parent].first_child;
  while (*link != id) link = &entries_[*link].next;
  *link = entry.next;
  // Deletion by moving later members of the probe run back, so that no tombstones pile up.
  const size_t mask = index_.size() - 1;
  size_t hole = Slot(entry.parent, Name(id));
  while (index_[hole] != id) hole = (hole + 1) & mask;
  for (size_t at = (hole + 1) & mask; index_[at] != kNone; at = (at + 1) & mask) {
    const size_t home = Slot(entries_[index_[at]].parent, Name(index_[at]));
    if (((at - home) & mask) >= ((at - hole) & mask)) {
      index_[hole] = index_[at];
      hole = at;
    }
  }
  index_[hole] = kNone;
  indexed_--;
  arena_garbage_ += Name(id).size() + 1 + (entry.tail != 0 ? Tail(id).size() + 4 : 0);
  entry.flags = 0;
  free_.push_back(id);
  CompactArena();
}

}  // namespace hullmark::tree
