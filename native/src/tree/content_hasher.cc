#include "tree/content_hasher.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <new>

namespace hullmark::tree {

ContentHasher::ContentHasher(Engine engine) : kernel_(engine == Engine::kPortable ? &PortableKernel() : &BestKernel()) {
  const Evp* evp = engine == Engine::kPortable ? nullptr : Evp::Get();
  if (evp && (engine == Engine::kEvp || kernel_ == &PortableKernel())) evp_ = std::make_unique<Evp::Stream>(*evp);
  // Behind each chunk is room for an unfinished block and the padding.
  constexpr size_t kLaneBytes = kChunkBytes + kAlignment;
  arena_.reset(static_cast<uint8_t*>(std::aligned_alloc(kAlignment, 2 * kLaneBytes)));
  if (!arena_) throw std::bad_alloc();
  lanes_[0].buffer = arena_.get();
  lanes_[1].buffer = arena_.get() + kLaneBytes;
}

void ContentHasher::Begin(Lane& lane) {
  std::memcpy(lane.state, kInitialState, sizeof lane.state);
  if (evp_) evp_->Begin();
  lane.read = lane.ready = lane.at = lane.carried = 0;
  lane.ended = lane.told_blocked = false;
  lane.errnum = 0;
  // Where the filesystem has no O_DIRECT, dropping the clean pages is the next best.
  if (lane.content->uncached && !(::fcntl(lane.content->fd, F_GETFL) & O_DIRECT)) ::posix_fadvise(lane.content->fd, 0, 0, POSIX_FADV_DONTNEED);
}

ssize_t ContentHasher::Read(Lane& lane, uint8_t* at, size_t bytes, const Blocked& blocked) {
  const int fd = lane.content->fd;
  const off_t offset = static_cast<off_t>(lane.read);
  if (!lane.told_blocked && !lane.content->uncached) {
    struct iovec vector = {at, bytes};
    const ssize_t got = ::preadv2(fd, &vector, 1, offset, RWF_NOWAIT);
    if (got > 0 || (got < 0 && errno == EIO)) return got;
    if (got < 0 && errno == EAGAIN) {
      blocked();
      lane.told_blocked = true;
    }
  }
  while (true) {
    const ssize_t got = ::pread(fd, at, bytes, offset);
    if (got >= 0) return got;
    if (errno == EINVAL && lane.content->uncached) {
      const int flags = ::fcntl(fd, F_GETFL);
      if (flags < 0 || !(flags & O_DIRECT) || ::fcntl(fd, F_SETFL, flags & ~O_DIRECT) != 0) {
        errno = EINVAL;
        return -1;
      }
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    } else if (errno != EINTR) {
      return -1;
    }
  }
}

// Reads until at least one block is ready, the file has ended (then pads) or reading fails.
void ContentHasher::Fill(Lane& lane, const Blocked& blocked) {
  if (lane.carried > 0 && lane.ready > 0) std::memmove(lane.buffer, lane.buffer + lane.ready, lane.carried);
  size_t held = lane.carried;
  lane.at = lane.ready = lane.carried = 0;
  while (true) {
    const uint64_t left = lane.content->size - lane.read;
    // A direct read is of whole blocks, past the end of the file if need be; what comes beyond `size` is ignored.
    size_t wanted = static_cast<size_t>(std::min<uint64_t>(left, kChunkBytes - held));
    if (lane.content->uncached) wanted = std::min((wanted + kAlignment - 1) / kAlignment * kAlignment, kChunkBytes - held);
    ssize_t got = left > 0 ? Read(lane, lane.buffer + held, wanted, blocked) : 0;
    if (got < 0) {
      lane.errnum = errno;
      lane.ended = true;
      return;
    }
    got = static_cast<ssize_t>(std::min<uint64_t>(got, left));
    lane.read += static_cast<uint64_t>(got);
    held += static_cast<size_t>(got);
    if (got == 0 || lane.read == lane.content->size) {
      lane.ended = true;
      lane.ready = evp_ ? held : Pad(lane.buffer, held, lane.read);
      return;
    }
    lane.ready = held / 64 * 64;
    if (lane.ready > 0) {
      lane.carried = held - lane.ready;
      return;
    }
  }
}

Digest ContentHasher::Finish(Lane& lane) { return evp_ ? evp_->Finish() : StateToDigest(lane.state); }

// Makes blocks ready to compress in a lane: reads on, or finishes its file and takes the next. False when there is no more work for it.
bool ContentHasher::Ready(Lane& lane, const Next& next, const Done& done, const Blocked& blocked, bool& exhausted) {
  while (lane.at == lane.ready) {
    if (lane.content && !lane.ended) {
      Fill(lane, blocked);
      continue;
    }
    if (lane.content) {
      Hashed hashed{.bytes = lane.read, .errnum = lane.errnum};
      hashed.digest = Finish(lane);
      if (done(*lane.content, hashed)) {
        Begin(lane);
        continue;
      }
      lane.content.reset();
    }
    if (exhausted) return false;
    lane.at = lane.ready = 0;
    lane.content = next();
    if (!lane.content) {
      exhausted = true;
      return false;
    }
    Begin(lane);
  }
  return true;
}

void ContentHasher::Compress(Lane& lane) {
  if (evp_) {
    evp_->Update(lane.buffer + lane.at, lane.ready - lane.at);
  } else {
    kernel_->one(lane.state, lane.buffer + lane.at, (lane.ready - lane.at) / 64);
  }
  lane.at = lane.ready;
}

void ContentHasher::Run(const Next& next, const Done& done, const Halted& halted, const Blocked& blocked) {
  for (Lane& lane : lanes_) lane.content.reset(), lane.at = lane.ready = lane.carried = 0;
  bool exhausted = false;
  const bool pairs = !evp_ && kernel_->two;
  while (!halted()) {
    Lane& a = lanes_[0];
    Lane& b = lanes_[1];
    const bool has_a = Ready(a, next, done, blocked, exhausted);
    const bool has_b = pairs && Ready(b, next, done, blocked, exhausted);
    if (has_a && has_b) {
      const size_t blocks = std::min(a.ready - a.at, b.ready - b.at) / 64;
      kernel_->two(a.state, a.buffer + a.at, b.state, b.buffer + b.at, blocks);
      a.at += blocks * 64;
      b.at += blocks * 64;
    } else if (has_a) {
      Compress(a);
    } else if (has_b) {
      Compress(b);
    } else {
      return;
    }
  }
}

}  // namespace hullmark::tree
