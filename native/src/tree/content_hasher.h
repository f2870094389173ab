#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "tree/evp.h"
#include "tree/sha256.h"

namespace hullmark::tree {

// Which SHA-256 reads files: the two-stream kernel where the processor has one, else OpenSSL, else portable code.
enum class Engine { kAuto, kEvp, kPortable };

// A file to hash: an open fd, positioned reads from 0.
struct Content {
  int fd = -1;
  uint64_t size = 0;     // exactly so many bytes are hashed, or fewer when the file ends before
  bool uncached = false; // the page cache must not answer: O_DIRECT is on the fd, or pages are dropped before reading
  void* tag = nullptr;   // the caller's
};

struct Hashed {
  Digest digest{};
  uint64_t bytes = 0;  // hashed; less than asked for when the file was shorter
  int errnum = 0;      // of a failed read; the digest is then meaningless
};

// Hashes files two at a time on the calling thread. One a thread; its buffers (2 × 128 KiB) stay in the second-level cache.
class ContentHasher {
 public:
  // The next file, or nothing when there is none: called again only after `done` calls for the running ones.
  using Next = std::function<std::optional<Content>()>;
  // A file is through. Returning true hashes the same file again (it changed meanwhile; `size` may have been adjusted).
  using Done = std::function<bool(Content&, const Hashed&)>;
  // True ends hashing as soon as possible: running files then get no `done`; asked at least each 128 KiB.
  using Halted = std::function<bool()>;
  // Called once a file when its content was not in the page cache, so that more threads may be put to waiting for the disk.
  using Blocked = std::function<void()>;

  explicit ContentHasher(Engine engine);

  void Run(const Next& next, const Done& done, const Halted& halted, const Blocked& blocked);

 private:
  static constexpr size_t kChunkBytes = 128 * 1024;
  // O_DIRECT wants addresses, offsets and lengths in multiples of the logical block: 4096 serves all common devices.
  static constexpr size_t kAlignment = 4096;

  struct Lane {
    std::optional<Content> content;
    uint8_t* buffer = nullptr;
    uint32_t state[8];
    uint64_t read = 0;      // bytes read from the file
    size_t ready = 0, at = 0;  // whole blocks [at, ready) wait to be compressed
    size_t carried = 0;     // bytes of an unfinished block behind `ready`
    bool ended = false;     // padding is in the buffer
    bool told_blocked = false;
    int errnum = 0;
  };
  struct Free {
    void operator()(uint8_t* p) const { ::free(p); }
  };

  void Begin(Lane& lane);
  void Fill(Lane& lane, const Blocked& blocked);
  ssize_t Read(Lane& lane, uint8_t* at, size_t bytes, const Blocked& blocked);
  bool Ready(Lane& lane, const Next& next, const Done& done, const Blocked& blocked, bool& exhausted);
  void Compress(Lane& lane);
  Digest Finish(Lane& lane);

  const Kernel* kernel_;
  std::unique_ptr<Evp::Stream> evp_;  // set: one lane, hashed by OpenSSL
  std::unique_ptr<uint8_t, Free> arena_;
  Lane lanes_[2];
};

}  // namespace hullmark::tree
