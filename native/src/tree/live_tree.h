#pragma once
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tree/walk.h"

namespace hullmark::tree {

struct Change {
  std::string path;
  std::optional<std::string> before, after;  // encoded records; absent where there was, or is, no leaf
  uint64_t ino = 0, device = 0;
  // The content or metadata differ although the cache key said unchanged: nobody changed it through the filesystem.
  bool silent = false;
};

struct Report {
  Unmeasurable unmeasurable = Unmeasurable::kNo;
  std::vector<Change> changes;  // at most the limit asked for
  uint64_t change_count = 0;
  std::vector<Claim> claims;
  bool claims_truncated = false;
  uint64_t entries = 0, leaves = 0, content_bytes = 0, hashed_files = 0, hashed_bytes = 0, memory_bytes = 0;
  bool clock_stepped = false;
  bool cycle_complete = false;  // of a scrub
};

// A directory tree under measurement. The operations block, run one at a time, and belong on a thread of their own; the readers may be
// called meanwhile from another thread and see the state before the operation until it is over.
class LiveTree {
 public:
  LiveTree(UniqueFd root, Settings settings, size_t max_changes);

  // Everything again, believing nothing that is cached.
  Report Measure(const Stop& stop);
  // A statx walk; reads what the cache key says changed, and each unchanged file with probability `verify_share`.
  Report Rescan(const Stop& stop, double verify_share);
  // Only these canonical paths with all below them; "" is the root. Vanished ones are removed.
  Report Update(const Stop& stop, const std::vector<std::string>& paths);
  // Reads the next files from the disk, up to `max_bytes`, in an order that is random as to paths and starts anew each cycle.
  Report Scrub(const Stop& stop, uint64_t max_bytes);

  struct EntryView {
    std::string path, record;
    uint64_t ino = 0;
  };
  enum class State : uint8_t { kNotMeasured, kMeasured, kUnmeasurable };

  State state() const;
  Digest Root() const;
  size_t Leaves() const;
  // A position of the trie, with path and record where it is a leaf.
  std::pair<Patricia::Position, EntryView> Descend(const Digest& key, int bits) const;
  std::optional<std::string> Get(std::string_view path) const;
  // Leaves in order of their keys, from the first key greater than `after`.
  std::vector<EntryView> Entries(const Digest* after, size_t max) const;

 private:
  struct Applying;

  Report Finish(Walk& walk, bool complete);
  void Apply(Outcome& outcome, Report& report);
  void RemoveTree(uint32_t id, Applying& applying, bool keep_itself);
  uint32_t Enter(Found& found, Applying& applying);
  void AssertMeasured() const;
  bool ClockStepped();
  void AddStarts(Walk& walk, std::vector<std::string> paths);
  std::string StartOf(const std::string& path) const;
  std::vector<std::string> OtherNames(const Outcome& outcome) const;

  const UniqueFd root_;
  const Settings settings_;
  const size_t max_changes_;
  Opener opener_;
  std::atomic<int> open_directories_{0};
  std::optional<int64_t> clock_offset_ns_;
  std::optional<Digest> scrub_start_, scrub_at_;
  bool scrub_wrapped_ = false;
  std::map<std::string, ClaimReason> claims_;
  bool claims_truncated_ = false;

  mutable std::mutex mutex_;  // of what follows, against readers; operations alone write
  Store store_;
  State state_ = State::kNotMeasured;
};

}  // namespace hullmark::tree
