#include "fanotify/pending.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fanotify/group.h"

namespace hullmark::fanotify {

uint32_t KindsOf(uint64_t mask) {
  uint32_t kinds = 0;
  if (mask & (FAN_MODIFY | FAN_CLOSE_WRITE)) kinds |= kContent;
  if (mask & FAN_ATTRIB) kinds |= kMetadata;
  if (mask & FAN_CREATE) kinds |= kCreated;
  if (mask & FAN_DELETE) kinds |= kDeleted;
  if (mask & FAN_MOVED_FROM) kinds |= kMovedFrom;
  if (mask & FAN_MOVED_TO) kinds |= kMovedTo;
  if (mask & FAN_ONDIR) kinds |= kDirectory;
  return kinds;
}

void Pending::Add(uint32_t root, std::string_view path, uint32_t kinds, const std::shared_ptr<const Actor>& actor, int64_t at_ns) {
  const std::lock_guard lock(mutex_);
  const pid_t pid = actor ? actor->pid : 0;
  // One process may run several programs: each is its own entry.
  const auto* exe = actor ? actor->exe.get() : nullptr;
  std::string key(reinterpret_cast<const char*>(&root), sizeof root);
  key.append(reinterpret_cast<const char*>(&pid), sizeof pid).append(reinterpret_cast<const char*>(&exe), sizeof exe).append(path);
  if (const auto found = index_.find(key); found != index_.end()) {
    Change& change = batch_.changes[found->second];
    change.kinds |= kinds;
    change.at_ns = at_ns;
    return;
  }
  if (batch_.changes.size() >= kMaxChanges || bytes_ + path.size() > kMaxBytes) {
    CountLost("JavaScript was busy for too long");
    return;
  }
  bytes_ += path.size();
  index_.emplace(std::move(key), batch_.changes.size());
  batch_.changes.push_back({root, std::string(path), kinds, actor, at_ns});
}

void Pending::Add(std::shared_ptr<const Actor> executed, int64_t at_ns) {
  const std::lock_guard lock(mutex_);
  // Hints to look sooner: what is dropped here is found by the next poll of processes.
  if (batch_.executions.size() < kMaxExecutions) batch_.executions.push_back({std::move(executed), at_ns});
}

void Pending::Lost(const char* reason) {
  const std::lock_guard lock(mutex_);
  CountLost(reason);
}

void Pending::CountLost(const char* reason) {
  if (batch_.lost++ == 0) batch_.lost_reason = reason;
}

void Pending::Fail(std::string code, std::string message) {
  const std::lock_guard lock(mutex_);
  batch_.failure_code = std::move(code);
  batch_.failure = std::move(message);
}

Batch Pending::Take(bool& more) {
  const std::lock_guard lock(mutex_);
  Batch taken = std::exchange(batch_, {});
  bytes_ = 0;
  index_.clear();
  more = taken.changes.size() > kTaken;
  if (more) {
    // Oldest first. What stays is not merged into any more.
    batch_.changes.assign(std::make_move_iterator(taken.changes.begin() + kTaken), std::make_move_iterator(taken.changes.end()));
    taken.changes.resize(kTaken);
    for (const Change& change : batch_.changes) bytes_ += change.path.size();
  }
  return taken;
}

bool Pending::empty() {
  const std::lock_guard lock(mutex_);
  return batch_.empty();
}

}  // namespace hullmark::fanotify
