#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "support/stop.h"
#include "tree/sha256.h"

namespace hullmark::tree {

// SHA-256 of one regular file; `path` may be a magic link of procfs and is followed. nullopt: gone, no regular file, no right, larger than
// `max_bytes`, changed while it was read, or stopped. Never opens a device, FIFO or socket for reading.
std::optional<Digest> HashFile(const std::string& path, uint64_t max_bytes, const Stop& stop);

}  // namespace hullmark::tree
