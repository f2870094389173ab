#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fanotify/actors.h"

namespace hullmark::fanotify {

// What happened to a path, as JavaScript sees it. Bits; the names and values stand again in native/fanotify.ts.
enum Kind : uint32_t {
  kContent = 1,     // written to, truncated, or closed after writing
  kMetadata = 2,    // mode, owner, times, extended attributes, link count
  kCreated = 4,
  kDeleted = 8,
  kMovedFrom = 16,
  kMovedTo = 32,
  kDirectory = 64,  // the entry is a directory: with kMovedFrom or kMovedTo everything below changed its path
};
uint32_t KindsOf(uint64_t mask);

struct Change {
  uint32_t root = 0;
  std::string path;  // relative to the root, raw bytes; empty: the root directory itself
  uint32_t kinds = 0;
  std::shared_ptr<const Actor> actor;
  int64_t at_ns = 0;  // CLOCK_REALTIME when it was read
};

struct Execution {
  std::shared_ptr<const Actor> actor;
  int64_t at_ns = 0;
};

struct Batch {
  std::vector<Change> changes;
  std::vector<Execution> executions;
  uint64_t lost = 0;        // more than 0: events were dropped, anything may have changed
  std::string lost_reason;  // of the first
  std::string failure;      // not empty: the source ended because of it
  std::string failure_code;
  bool empty() const { return changes.empty() && executions.empty() && lost == 0 && failure.empty(); }
};

// What waits for JavaScript: bounded, changes of one path by one process merged. One thread adds, another takes.
class Pending {
 public:
  static constexpr size_t kMaxChanges = 65536;
  static constexpr size_t kMaxBytes = 16 * 1024 * 1024;  // of paths
  static constexpr size_t kMaxExecutions = 4096;
  static constexpr size_t kTaken = 4096;

  void Add(uint32_t root, std::string_view path, uint32_t kinds, const std::shared_ptr<const Actor>& actor, int64_t at_ns);
  void Add(std::shared_ptr<const Actor> executed, int64_t at_ns);
  void Lost(const char* reason);
  void Fail(std::string code, std::string message);
  // At most kTaken changes; `more`: call again.
  Batch Take(bool& more);
  bool empty();

 private:
  void CountLost(const char* reason);

  std::mutex mutex_;
  Batch batch_;
  size_t bytes_ = 0;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace hullmark::fanotify
