#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace hullmark::tree {

using Digest = std::array<uint8_t, 32>;

// SHA-256 compression (FIPS 180-4, section 6.2) of `blocks` blocks of 64 bytes.
using Compress = void (*)(uint32_t state[8], const uint8_t* data, size_t blocks);
// The same of two independent messages at once: the latency of one hides behind the other.
using CompressPair = void (*)(uint32_t a[8], const uint8_t* a_data, uint32_t b[8], const uint8_t* b_data, size_t blocks);

struct Kernel {
  const char* name;
  Compress one;
  CompressPair two;  // null where interleaving gains nothing
};

// Portable C++, for every processor.
const Kernel& PortableKernel();
// The fastest of this processor (CPUID at first use); PortableKernel() where there is no better.
const Kernel& BestKernel();

inline constexpr uint32_t kInitialState[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

Digest StateToDigest(const uint32_t state[8]);
// Appends 0x80, zeros and the bit length behind `used` bytes (of the message's end, in `buffer`). Returns the padded length, a multiple
// of 64, at most used + 72.
size_t Pad(uint8_t* buffer, size_t used, uint64_t message_bytes);

// Streaming SHA-256 of small things: paths, records, tree nodes. File content goes through ContentHasher.
class Sha256 {
 public:
  explicit Sha256(const Kernel& kernel = BestKernel()) : one_(kernel.one) { std::memcpy(state_, kInitialState, sizeof state_); }
  Sha256& Update(const void* data, size_t bytes);
  Sha256& Update(std::string_view text) { return Update(text.data(), text.size()); }
  Digest Finish();

 private:
  Compress one_;
  uint32_t state_[8];
  uint64_t total_ = 0;
  uint8_t buffer_[136];
};

inline Digest Sha256Of(const void* data, size_t bytes) { return Sha256().Update(data, bytes).Finish(); }

}  // namespace hullmark::tree
