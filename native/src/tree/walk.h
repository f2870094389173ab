#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/stop.h"
#include "tree/content_hasher.h"
#include "tree/glob.h"
#include "tree/inspect.h"
#include "tree/open.h"
#include "tree/store.h"

namespace hullmark::tree {

// Limits of one operation. Passing one makes the whole operation Unmeasurable.
struct Budget {
  uint64_t max_entries, max_bytes, max_millis, max_metadata_bytes;
  uint64_t max_file_bytes;  // passing this one is a claim about that file alone
};

enum class Unmeasurable : uint8_t { kNo, kEntries, kBytes, kMillis, kMetadata };

enum class ClaimReason : uint8_t { kFileTooLarge, kMountPoint, kPathTooLong, kPermission, kIoError, kUnstable };

// An entry that could not be measured (no leaf, or a leaf whose content digest is 32 zero bytes), or kUnstable: it changed during each
// of the attempts, and the digest is of the last bytes read.
struct Claim {
  std::string path;
  ClaimReason reason;
};

// Mutable paths. `executables`: files with execute bits are left out too (never setuid, setgid, capabilities or devices).
struct Exclusion {
  Glob glob;
  bool executables = false;
};

// How a tree is measured; constant over its life.
struct Settings {
  Interpretation interpretation;
  Engine engine = Engine::kAuto;
  bool sync_before_hash = false;
  unsigned threads = 1, max_threads = 8;  // running; and when content comes from the disk, waiting ones included
  Budget budget{};
  std::vector<Exclusion> excluded;
};

// An entry that is new, changed, or only has a new cache key. Filled by a worker, entered into the store when the walk is over.
struct Found {
  uint32_t existing = Store::kNone;
  uint32_t parent_entry = Store::kNone;  // of a parent that the store knew
  Found* parent_found = nullptr;         // of a new parent
  std::string name;
  Record record;
  CacheKey cache;
  uint8_t flags = 0;
  uint64_t device = 0;
  uint32_t inserted = Store::kNone;  // the id, once entered
};

struct Outcome {
  Unmeasurable unmeasurable = Unmeasurable::kNo;
  std::deque<std::deque<Found>> found;
  std::vector<uint32_t> removed;  // known entries that are gone; their children are implied
  std::vector<Claim> claims;      // at most kMaxClaims
  bool claims_truncated = false;
  uint64_t entries = 0, hashed_files = 0, hashed_bytes = 0;
};

inline constexpr size_t kMaxClaims = 1024;

// A directory whose entries are being measured. Immutable; shared by the items that need it.
struct Directory {
  std::string path;
  uint32_t entry = Store::kNone;
  Found* found = nullptr;
  std::shared_ptr<UniqueFd> fd;  // null when too many are open: then the path is walked again

  std::string PathOf(std::string_view name) const {
    std::string full;
    full.reserve(path.size() + 1 + name.size());
    if (!path.empty()) full.append(path).push_back('/');
    return full.append(name);
  }
};
using DirectoryRef = std::shared_ptr<const Directory>;

struct EntryJob {
  std::string name;
  uint64_t ino = 0;
  uint32_t existing = Store::kNone;
  bool read_again = false;  // although the cache key says unchanged, and not from the page cache
  uint8_t attempts = 0;     // how often the type changed under us
};

// One walk over a tree or parts of it by a few threads. Reads the store, never writes it. Used once.
class Walk {
 public:
  Walk(const Store& store, const Opener& opener, const Settings& settings, const Stop& stop, std::atomic<int>& open_directories);

  // Cache keys are not believed; content is read again.
  void DistrustCache() { trust_cache_ = false; }
  // Each unchanged file is read again with this probability (0..1).
  void ReadAgain(double share) { read_again_share_ = share; }

  // Work to do; all before Run. A directory is measured with all below it.
  void AddRoot();
  void AddEntries(DirectoryRef parent, std::vector<EntryJob> jobs);
  DirectoryRef Open(std::string path, uint32_t entry);

  // Throws Error: ABORTED when `stop` was requested, else a failure of the machine (EMFILE, ENOMEM). The calling thread works too.
  Outcome Run();

 private:
  struct Item {
    DirectoryRef parent;  // null for the root directory
    std::string name;     // of a directory item
    uint32_t existing = Store::kNone;
    uint8_t attempts = 0;
    std::vector<EntryJob> jobs;  // of an entries item
  };
  struct Pending;
  struct Worker;
  struct Name;

  // walk.cc: the queue and its threads
  void Push(Item item);
  bool Pop(Item& item);
  bool WaitForWork();
  void Work(Worker& worker);
  void Loop(Worker& worker);
  void Spawn();
  void Fail(std::exception_ptr failure);
  void Exceed(Unmeasurable what);
  bool Halted();
  void AssertRootExists() const;
  bool CountMetadata(size_t bytes);
  void AddClaim(Worker& worker, std::string path, ClaimReason reason);
  // Takes a directory's fd to share it, or leaves it to the caller and returns null when too many are open.
  std::shared_ptr<UniqueFd> Share(UniqueFd& fd);

  // walk_entry.cc: one entry
  std::optional<Content> NextContent(Worker& worker);
  std::optional<Content> Inspect(Worker& worker, const DirectoryRef& parent, EntryJob& job);
  std::optional<Content> PrepareFile(Worker& worker, const DirectoryRef& parent, EntryJob& job, UniqueFd path_fd, const Stat& st, Metadata metadata);
  bool ContentDone(Worker& worker, Content& content, const Hashed& hashed);
  Found& Emit(Worker& worker, const DirectoryRef& parent, const std::string& name, uint32_t existing, Record record, const Stat& st, uint8_t flags);
  bool IsExcluded(const DirectoryRef& parent, std::string_view name, const Metadata& metadata) const;
  bool IsRacy(const Stat& st) const;
  void Vanished(Worker& worker, uint32_t existing);
  // What a failed system call says of one entry; throws when it says something of the machine.
  void EntryFailed(Worker& worker, const DirectoryRef& parent, const std::string& name, uint32_t existing, const char* syscall, int errnum);

  // walk_directory.cc: one directory
  void ListDirectory(Worker& worker, Item& item);
  bool GatherNames(Worker& worker, int fd, const std::string& path, std::vector<Name>& names);
  void VisitNames(Worker& worker, const DirectoryRef& directory, int fd, std::vector<Name>& names);
  bool Unchanged(Worker& worker, int fd, const Name& name, EntryJob& job, bool& vanished);

  const Store& store_;
  const Opener& opener_;
  const Settings& settings_;
  const Stop& stop_;
  std::atomic<int>& open_directories_;
  bool trust_cache_ = true;
  double read_again_share_ = 0;
  int64_t deadline_ns_;
  int64_t racy_ns_;
  std::vector<uint8_t> seen_;  // by entry id; each belongs to one directory, hence to one worker

  std::atomic<bool> halted_{false};
  std::atomic<uint64_t> entries_{0}, reserved_bytes_{0}, metadata_bytes_{0}, claim_count_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Item> directories_, files_;
  std::deque<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  unsigned thread_limit_;
  unsigned busy_ = 0, waiting_ = 0;
  bool running_ = false;
  std::exception_ptr failure_;
  Unmeasurable unmeasurable_ = Unmeasurable::kNo;
};

// A file between being opened and being hashed.
struct Walk::Pending {
  DirectoryRef parent;
  EntryJob job;
  Metadata metadata;
  UniqueFd fd;
  Stat before;
  bool racy;
  int attempts = 0;
};

struct Walk::Worker {
  explicit Worker(Engine engine) : hasher(engine), random(std::random_device{}()) {}
  ContentHasher hasher;
  std::deque<Found> found;
  std::vector<uint32_t> removed;
  std::vector<Claim> claims;
  uint64_t hashed_files = 0, hashed_bytes = 0;
  Item files;  // the entries item in work
  size_t next_file = 0;
  std::shared_ptr<UniqueFd> files_fd;
  std::vector<std::unique_ptr<Pending>> pending;  // at most two
  std::minstd_rand random;
};

struct Walk::Name {
  std::string name;
  uint64_t ino;
  uint8_t d_type;
};

}  // namespace hullmark::tree
