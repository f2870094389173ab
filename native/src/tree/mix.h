#pragma once
#include <sys/random.h>

#include <cstdint>
#include <cstring>
#include <string_view>

#include "support/error.h"

namespace hullmark::tree {

// A fast keyed hash of short input for in-memory tables and cache stamps; with a secret seed, names cannot be chosen to collide.
inline uint64_t Mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xe7037ed1a0b428dbull);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t MixBytes(uint64_t seed, std::string_view bytes) {
  uint64_t hash = Mix(seed, bytes.size() + 1);
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t taken = bytes.size() < 8 ? bytes.size() : 8;
    std::memcpy(&word, bytes.data(), taken);
    hash = Mix(hash ^ seed, word + taken);
    bytes.remove_prefix(taken);
  }
  return hash;
}

inline uint64_t RandomU64() {
  uint64_t value;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) throw Error::System("getrandom");
  return value;
}

}  // namespace hullmark::tree
