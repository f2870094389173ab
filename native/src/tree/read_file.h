#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace hullmark::tree {

// The content of one regular file below `root`, an O_PATH directory that is borrowed. `path` has no leading slash. No symlink is followed, the
// tree is not left, no mount is crossed, and nothing but a regular file is opened. Throws Error: what the system says (ENOENT, ELOOP, EXDEV, ...),
// NOT_A_FILE, TOO_LARGE (more than `max_bytes`), and, unless it is wanted as it is, OTHER_NAMES (the inode has another name too) and UNSTABLE (it changed while
// it was read; else what was read of it is returned, at most its size of before).
std::string ReadFileBelow(int root, std::string_view path, uint64_t max_bytes, bool as_it_is);

}  // namespace hullmark::tree
