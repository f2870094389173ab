#include "tree/sha256_x86.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

namespace hullmark::tree {

namespace {

#define HULLMARK_SHA_NI __attribute__((target("sha,sse4.1,ssse3")))

alignas(16) constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// N messages in lockstep: with N = 2 the processor overlaps two dependency chains of SHA256RNDS2.
template <int N>
HULLMARK_SHA_NI inline __attribute__((always_inline)) void CompressLanes(uint32_t* const* state, const uint8_t** data, size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i abef[N], cdgh[N];
  for (int l = 0; l < N; l++) {
    const __m128i low = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(state[l])), 0xb1);
    const __m128i high = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(state[l] + 4)), 0x1b);
    abef[l] = _mm_alignr_epi8(low, high, 8);
    cdgh[l] = _mm_blend_epi16(high, low, 0xf0);
  }
  for (; blocks > 0; blocks--) {
    __m128i message[N][4], saved_abef[N], saved_cdgh[N];
    for (int l = 0; l < N; l++) saved_abef[l] = abef[l], saved_cdgh[l] = cdgh[l];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
#pragma GCC unroll 2
      for (int l = 0; l < N; l++) {
        __m128i* const m = message[l];
        if (i < 4) m[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data[l] + 16 * i)), swap);
        const __m128i sum = _mm_add_epi32(m[i & 3], _mm_load_si128(reinterpret_cast<const __m128i*>(kRound + 4 * i)));
        cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], sum);
        if (i >= 3 && i < 15) {
          __m128i next = _mm_add_epi32(m[(i + 1) & 3], _mm_alignr_epi8(m[i & 3], m[(i + 3) & 3], 4));
          m[(i + 1) & 3] = _mm_sha256msg2_epu32(next, m[i & 3]);
        }
        abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], _mm_shuffle_epi32(sum, 0x0e));
        if (i >= 1 && i < 13) m[(i + 3) & 3] = _mm_sha256msg1_epu32(m[(i + 3) & 3], m[i & 3]);
      }
    }
    for (int l = 0; l < N; l++) {
      abef[l] = _mm_add_epi32(abef[l], saved_abef[l]);
      cdgh[l] = _mm_add_epi32(cdgh[l], saved_cdgh[l]);
      data[l] += 64;
    }
  }
  for (int l = 0; l < N; l++) {
    const __m128i low = _mm_shuffle_epi32(abef[l], 0x1b);
    const __m128i high = _mm_shuffle_epi32(cdgh[l], 0xb1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state[l]), _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state[l] + 4), _mm_alignr_epi8(high, low, 8));
  }
}

HULLMARK_SHA_NI void CompressOne(uint32_t state[8], const uint8_t* data, size_t blocks) {
  uint32_t* states[1] = {state};
  const uint8_t* inputs[1] = {data};
  CompressLanes<1>(states, inputs, blocks);
}

HULLMARK_SHA_NI void CompressTwo(uint32_t a[8], const uint8_t* a_data, uint32_t b[8], const uint8_t* b_data, size_t blocks) {
  uint32_t* states[2] = {a, b};
  const uint8_t* inputs[2] = {a_data, b_data};
  CompressLanes<2>(states, inputs, blocks);
}

bool HasShaExtensions() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));
}

}  // namespace

const Kernel* X86Kernel() {
  static constexpr Kernel kernel{"sha-ni", CompressOne, CompressTwo};
  static const bool present = HasShaExtensions();
  return present ? &kernel : nullptr;
}

}  // namespace hullmark::tree

#else

namespace hullmark::tree {
const Kernel* X86Kernel() { return nullptr; }
}  // namespace hullmark::tree

#endif
