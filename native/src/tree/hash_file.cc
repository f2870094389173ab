#include "tree/hash_file.h"

#include <fcntl.h>

#include <cstdio>

#include "support/fd.h"
#include "tree/content_hasher.h"
#include "tree/inspect.h"

namespace hullmark::tree {

std::optional<Digest> HashFile(const std::string& path, uint64_t max_bytes, const Stop& stop) {
  const UniqueFd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
  Stat before;
  if (!place || StatOf(place.get(), "", &before) != 0 || !S_ISREG(before.stx_mode) || before.stx_size > max_bytes) return std::nullopt;
  // What was just found to be a file is what is opened, whatever the name leads to now.
  char link[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", place.get());
  const UniqueFd file(::open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return std::nullopt;
  std::optional<Digest> digest;
  bool given = false;
  const auto next = [&]() -> std::optional<Content> {
    if (given) return std::nullopt;
    given = true;
    return Content{.fd = file.get(), .size = before.stx_size};
  };
  const auto done = [&](Content&, const Hashed& hashed) {
    Stat after;
    const bool whole = hashed.errnum == 0 && hashed.bytes == before.stx_size;
    if (whole && StatOf(file.get(), "", &after) == 0 && SameContentStamp(before, after)) digest = hashed.digest;
    return false;
  };
  ContentHasher(Engine::kAuto).Run(next, done, [&] { return stop.requested(); }, [] {});
  return digest;
}

}  // namespace hullmark::tree
