#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace hullmark::tree {

// The content of one regular file below `root`, an O_PATH directory that is borrowed. `path` has no leading slash. No symlink is followed, the
// tree is not left, no mount is crossed, and nothing but a regular file is opened. Throws Error: what the system says (ENOENT, ELOOP, EXDEV, ...),
// NOT_A_FILE, TOO_LARGE (more than `max_bytes`), OTHER_NAMES (the inode has another name too), UNSTABLE (it changed while it was read).
std::string ReadFileBelow(int root, std::string_view path, uint64_t max_bytes);

}  // namespace hullmark::tree
