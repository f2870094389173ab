#pragma once
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tree/record.h"
#include "tree/store.h"

namespace hullmark::tree {

// Host ids [host, host + count) are image ids [image, image + count).
struct IdRange {
  uint32_t image = 0, host = 0, count = 0;
};

// How metadata become records.
struct Interpretation {
  // The tree is a layer directory of overlayfs: character device 0:0 is a whiteout, trusted.overlay.opaque=y is the opaque flag.
  bool overlay_layer = true;
  // Empty: ids are taken as they are.
  std::vector<IdRange> uids, gids;
  uint64_t stamp_seed = 0;
};

// The id of a host id that no range maps: no image can hold it (extraction turns 2^32-1 into 0), so it is never equal by accident.
inline constexpr uint32_t kUnmappedId = 0xffffffff;

using Stat = struct statx;

// statx without following and without triggering automounts. `name` "" is the fd itself. 0 or errno.
int StatOf(int fd, const char* name, Stat* st);

char TypeOf(const Stat& st, bool overlay_layer);
CacheKey CacheKeyOf(const Stat& st, const Interpretation& how);
bool SameContentStamp(const Stat& a, const Stat& b);
inline int64_t CtimeNs(const Stat& st) { return st.stx_ctime.tv_sec * 1'000'000'000 + st.stx_ctime.tv_nsec; }
// Whether the entry in the store is, by all that statx tells, what `st` shows, and its cache key may be trusted.
bool IsUnchanged(const Store::Entry& entry, const Stat& st, const Interpretation& how);

struct Metadata {
  Record record;
  // Overlay xattrs that give the entry a meaning elsewhere (redirect, metacopy, whiteout) or a capability: never left out as mutable.
  bool harmful_xattrs = false;
};

// Fills everything but a file's content. `fd` may be O_PATH. Throws Error (EIO, EACCES, ...) when target or xattrs cannot be read.
Metadata ReadMetadata(int fd, const Stat& st, const Interpretation& how);

// Whether an entry that matches a mutable pattern may be left out: nothing that executes (unless
// `executables`), raises privilege or redirects overlayfs.
bool IsHarmless(const Metadata& metadata, bool executables);

}  // namespace hullmark::tree
