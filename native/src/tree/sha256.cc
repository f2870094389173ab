#include "tree/sha256.h"

#include <algorithm>
#include <bit>

#include "tree/sha256_x86.h"

namespace hullmark::tree {

namespace {

constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t LoadBig(const uint8_t* at) { return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3]; }

void CompressPortable(uint32_t state[8], const uint8_t* data, size_t blocks) {
  for (; blocks > 0; blocks--, data += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) w[i] = LoadBig(data + 4 * i);
    for (int i = 16; i < 64; i++) {
      const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
      const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }
}

}  // namespace

const Kernel& PortableKernel() {
  static constexpr Kernel kernel{"portable", CompressPortable, nullptr};
  return kernel;
}

const Kernel& BestKernel() {
  static const Kernel* const best = X86Kernel() ? X86Kernel() : &PortableKernel();
  return *best;
}

Digest StateToDigest(const uint32_t state[8]) {
  Digest digest;
  for (int i = 0; i < 8; i++) {
    for (int j = 0; j < 4; j++) digest[4 * i + j] = static_cast<uint8_t>(state[i] >> (24 - 8 * j));
  }
  return digest;
}

size_t Pad(uint8_t* buffer, size_t used, uint64_t message_bytes) {
  const size_t padded = (used + 9 + 63) / 64 * 64;
  buffer[used] = 0x80;
  std::memset(buffer + used + 1, 0, padded - used - 9);
  const uint64_t bits = message_bytes * 8;
  for (int i = 0; i < 8; i++) buffer[padded - 8 + i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  return padded;
}

Sha256& Sha256::Update(const void* data, size_t bytes) {
  const uint8_t* at = static_cast<const uint8_t*>(data);
  const size_t held = total_ % 64;
  total_ += bytes;
  if (held > 0) {
    const size_t taken = std::min(bytes, 64 - held);
    std::memcpy(buffer_ + held, at, taken);
    at += taken, bytes -= taken;
    if (held + taken < 64) return *this;
    one_(state_, buffer_, 1);
  }
  if (bytes >= 64) one_(state_, at, bytes / 64);
  if (bytes % 64 > 0) std::memcpy(buffer_, at + bytes / 64 * 64, bytes % 64);
  return *this;
}

Digest Sha256::Finish() {
  const size_t padded = Pad(buffer_, total_ % 64, total_);
  one_(state_, buffer_, padded / 64);
  return StateToDigest(state_);
}

}  // namespace hullmark::tree
