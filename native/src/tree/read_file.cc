#include "tree/read_file.h"

#include <algorithm>

#include "support/error.h"
#include "support/fd.h"
#include "tree/inspect.h"
#include "tree/open.h"

namespace hullmark::tree {

std::string ReadFileBelow(int root, std::string_view path, uint64_t max_bytes, bool as_it_is) {
  const Opener opener(root);
  const size_t slash = path.rfind('/');
  const UniqueFd directory = opener.Directory(slash == std::string_view::npos ? "" : path.substr(0, slash));
  if (!directory) throw Error::System("openat2");
  const std::string name(slash == std::string_view::npos ? path : path.substr(slash + 1));
  const UniqueFd place = opener.Entry(directory.get(), name.c_str());
  if (!place) throw Error::System("openat2");
  Stat before;
  if (const int errnum = StatOf(place.get(), "", &before); errnum != 0) throw Error::System("statx", errnum);
  if (!S_ISREG(before.stx_mode)) throw Error("NOT_A_FILE", "no regular file");
  if (!as_it_is && before.stx_nlink != 1) throw Error("OTHER_NAMES", "the file has another name too");
  if (before.stx_size > max_bytes) throw Error("TOO_LARGE", "larger than may be read");
  const UniqueFd file = opener.Reopen(place.get(), false);
  if (!file) throw Error::System("open");
  // One byte more than there should be.
  std::string content(before.stx_size + 1, '\0');
  size_t length = 0;
  while (length < content.size()) {
    const ssize_t got = ::read(file.get(), content.data() + length, content.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error::System("read");
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  Stat after;
  if (!as_it_is && (length != before.stx_size || StatOf(file.get(), "", &after) != 0 || !SameContentStamp(before, after)))
    throw Error("UNSTABLE", "it changed while it was read");
  content.resize(std::min<size_t>(length, before.stx_size));
  return content;
}

}  // namespace hullmark::tree
