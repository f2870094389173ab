#include "tree/live_tree.h"

#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <set>

#include "tree/mix.h"

namespace hullmark::tree {

namespace {

// A step of the wall clock by more than this makes ctimes incomparable.
constexpr int64_t kClockStepNs = 1'000'000'000;

Settings Seeded(Settings settings) {
  settings.interpretation.stamp_seed = RandomU64();
  return settings;
}

std::string_view ParentOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

std::string_view NameOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

bool SameKey(const CacheKey& a, const CacheKey& b) { return a.ino == b.ino && a.ctime_ns == b.ctime_ns && a.stamp == b.stamp; }

}  // namespace

LiveTree::LiveTree(UniqueFd root, Settings settings, size_t max_changes)
    : root_(std::move(root)), settings_(Seeded(std::move(settings))), max_changes_(max_changes), opener_(root_.get()) {}

bool LiveTree::ClockStepped() {
  struct timespec wall, boot;
  ::clock_gettime(CLOCK_REALTIME, &wall);
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  const int64_t offset = (wall.tv_sec - boot.tv_sec) * 1'000'000'000 + (wall.tv_nsec - boot.tv_nsec);
  const bool stepped = clock_offset_ns_ && std::abs(offset - *clock_offset_ns_) > kClockStepNs;
  clock_offset_ns_ = offset;
  return stepped;
}

Report LiveTree::Measure(const Stop& stop) {
  Walk walk(store_, opener_, settings_, stop, open_directories_);
  walk.DistrustCache();
  walk.AddRoot();
  ClockStepped();
  Report report = Finish(walk, true);
  {
    std::lock_guard lock(mutex_);
    store_.Shrink();
  }
  report.memory_bytes = store_.memory_bytes();
  // The threads' transient results are larger than what is kept.
  ::malloc_trim(0);
  return report;
}

Report LiveTree::Rescan(const Stop& stop, double verify_share) {
  Walk walk(store_, opener_, settings_, stop, open_directories_);
  const bool stepped = ClockStepped();
  if (stepped) walk.DistrustCache();
  walk.ReadAgain(verify_share);
  walk.AddRoot();
  Report report = Finish(walk, true);
  report.clock_stepped = stepped;
  return report;
}

// Where measuring has to begin so that `path` is covered: its first ancestor that is no known directory, else itself.
std::string LiveTree::StartOf(const std::string& path) const {
  uint32_t id = Store::kRoot;
  size_t end = 0;
  while (end < path.size()) {
    const size_t begin = end == 0 ? 0 : end + 1;
    end = std::min(path.find('/', begin), path.size());
    id = store_.Child(id, std::string_view(path).substr(begin, end - begin));
    if (id == Store::kNone || store_.at(id).type != 'd') return path.substr(0, end);
  }
  return path;
}

void LiveTree::AddStarts(Walk& walk, std::vector<std::string> paths) {
  std::set<std::string> starts;
  for (const std::string& path : paths) starts.insert(StartOf(path));
  std::map<std::string, std::vector<std::string>> by_parent;
  std::set<std::string> done;
  std::vector<std::string> todo(starts.begin(), starts.end());
  std::map<std::string, DirectoryRef> open;
  while (!todo.empty()) {
    std::string path = std::move(todo.back());
    todo.pop_back();
    if (!done.insert(path).second) continue;
    if (path.empty()) {
      walk.AddRoot();
      continue;
    }
    const std::string parent(ParentOf(path));
    auto found = open.find(parent);
    if (found == open.end()) {
      DirectoryRef directory = walk.Open(parent, store_.Find(parent));
      if (!directory && errno != ENOENT && errno != ENOTDIR && errno != ELOOP) throw Error::System("openat2");
      found = open.emplace(parent, std::move(directory)).first;
    }
    if (found->second) {
      by_parent[parent].emplace_back(NameOf(path));
    } else if (parent.empty()) {
      throw Error("ROOT_GONE", "the measured directory cannot be opened");
    } else {
      todo.push_back(parent);  // the parent itself vanished, or is no directory any more
    }
  }
  for (auto& [parent, names] : by_parent) {
    std::vector<EntryJob> jobs;
    for (std::string& name : names) {
      const uint32_t existing = store_.Child(open[parent]->entry, name);
      jobs.push_back({.name = std::move(name), .existing = existing});
    }
    walk.AddEntries(open[parent], std::move(jobs));
  }
}

// Known paths of files that share an inode with one that was found changed: content and metadata are the inode's.
std::vector<std::string> LiveTree::OtherNames(const Outcome& outcome) const {
  std::set<uint64_t> inodes;
  for (const auto& found_by_worker : outcome.found) {
    for (const Found& found : found_by_worker) {
      if (found.flags & kHardLinked) inodes.insert(found.cache.ino);
    }
  }
  std::vector<std::string> paths;
  if (inodes.empty()) return paths;
  for (uint32_t id = 1; id < store_.id_limit(); id++) {
    const Store::Entry& entry = store_.at(id);
    if ((entry.flags & kInUse) && (entry.flags & kHardLinked) && inodes.contains(entry.cache.ino)) paths.push_back(store_.Path(id));
  }
  return paths;
}

void LiveTree::AssertMeasured() const {
  if (state_ == State::kNotMeasured) throw Error("NOT_MEASURED", "the tree was not measured yet");
  if (state_ == State::kUnmeasurable) throw Error("UNMEASURABLE", "the last operation exceeded its budget: measure or rescan first");
}

Report LiveTree::Update(const Stop& stop, const std::vector<std::string>& paths) {
  AssertMeasured();
  for (const std::string& path : paths) {
    claims_.erase(path);
    const std::string below = path + '/';
    for (auto claim = claims_.lower_bound(below); claim != claims_.end() && claim->first.starts_with(below);) claim = claims_.erase(claim);
  }
  Walk walk(store_, opener_, settings_, stop, open_directories_);
  AddStarts(walk, paths);
  Outcome outcome = walk.Run();
  Report report;
  report.unmeasurable = outcome.unmeasurable;
  if (outcome.unmeasurable == Unmeasurable::kNo) {
    std::vector<std::string> others = OtherNames(outcome);
    if (!others.empty()) {
      Walk second(store_, opener_, settings_, stop, open_directories_);
      AddStarts(second, std::move(others));
      Outcome more = second.Run();
      report.unmeasurable = more.unmeasurable;
      std::move(more.found.begin(), more.found.end(), std::back_inserter(outcome.found));
      std::move(more.claims.begin(), more.claims.end(), std::back_inserter(outcome.claims));
      outcome.removed.insert(outcome.removed.end(), more.removed.begin(), more.removed.end());
      outcome.claims_truncated |= more.claims_truncated;
      outcome.entries += more.entries;
      outcome.hashed_bytes += more.hashed_bytes;
      outcome.hashed_files += more.hashed_files;
      outcome.unmeasurable = more.unmeasurable;
    }
  }
  Apply(outcome, report);
  return report;
}

Report LiveTree::Scrub(const Stop& stop, uint64_t max_bytes) {
  AssertMeasured();
  if (!scrub_start_) {
    Digest start;
    for (size_t i = 0; i < start.size(); i += 8) {
      const uint64_t word = RandomU64();
      std::memcpy(start.data() + i, &word, 8);
    }
    scrub_start_ = scrub_at_ = start;
    scrub_wrapped_ = false;
  }
  bool complete = store_.leaves() == 0;
  uint64_t bytes = 0;
  std::map<std::string, std::vector<EntryJob>> by_parent;
  // Metadata count too, or a tree of empty files would be one step.
  constexpr uint64_t kBytesAnEntry = 4096;
  while (!complete && bytes < max_bytes && !stop.requested()) {
    uint32_t leaf = store_.trie().Next(&*scrub_at_);
    if (leaf == Store::kNone) {
      if (scrub_wrapped_) {
        complete = true;
        break;
      }
      scrub_wrapped_ = true;
      leaf = store_.trie().Next(nullptr);
    }
    const std::string path = store_.Path(leaf);
    const Digest key = Sha256Of(path.data(), path.size());
    if (scrub_wrapped_ && key > *scrub_start_) {
      complete = true;
      break;
    }
    scrub_at_ = key;
    if (store_.at(leaf).type == 'd') continue;
    bytes += kBytesAnEntry + store_.at(leaf).size;
    by_parent[std::string(ParentOf(path))].push_back({.name = std::string(NameOf(path)), .existing = leaf, .read_again = true});
  }
  if (complete) scrub_start_.reset();
  Walk walk(store_, opener_, settings_, stop, open_directories_);
  for (auto& [parent, jobs] : by_parent) {
    DirectoryRef directory = std::make_shared<const Directory>(Directory{.path = parent, .entry = store_.Find(parent)});
    walk.AddEntries(std::move(directory), std::move(jobs));
  }
  Report report = Finish(walk, false);
  report.cycle_complete = complete;
  return report;
}

// Runs a walk and enters its outcome. `complete`: the walk covered everything, so that its claims replace the known ones.
Report LiveTree::Finish(Walk& walk, bool complete) {
  Outcome outcome = walk.Run();
  Report report;
  report.unmeasurable = outcome.unmeasurable;
  if (complete && outcome.unmeasurable == Unmeasurable::kNo) {
    claims_.clear();
    claims_truncated_ = false;
  }
  Apply(outcome, report);
  return report;
}

struct LiveTree::Applying {
  Report& report;
  std::vector<uint8_t> removed;  // ids removed by this operation; they may have been given to other entries since
  size_t max_changes;

  bool Removed(uint32_t id) const { return id < removed.size() && removed[id]; }
  void Add(Change change) {
    report.change_count++;
    if (report.changes.size() < max_changes) report.changes.push_back(std::move(change));
  }
};

void LiveTree::Apply(Outcome& outcome, Report& report) {
  std::lock_guard lock(mutex_);
  if (outcome.unmeasurable == Unmeasurable::kNo) {
    Applying applying{report, std::vector<uint8_t>(store_.id_limit()), max_changes_};
    for (const uint32_t id : outcome.removed) {
      if (!applying.Removed(id)) RemoveTree(id, applying, false);
    }
    for (auto& found_by_worker : outcome.found) {
      for (Found& found : found_by_worker) Enter(found, applying);
    }
    store_.trie().Rehash();
    for (Claim& claim : outcome.claims) {
      if (claims_.size() < kMaxClaims) {
        claims_[std::move(claim.path)] = claim.reason;
      } else {
        claims_truncated_ = true;
      }
    }
    claims_truncated_ |= outcome.claims_truncated;
    state_ = State::kMeasured;
  } else {
    state_ = State::kUnmeasurable;
  }
  for (const auto& [path, reason] : claims_) report.claims.push_back({path, reason});
  report.claims_truncated = claims_truncated_;
  report.entries = outcome.entries;
  report.leaves = store_.leaves();
  report.content_bytes = store_.content_bytes();
  report.hashed_files = outcome.hashed_files;
  report.hashed_bytes = outcome.hashed_bytes;
  report.memory_bytes = store_.memory_bytes();
}

// Removes what is below an entry, and the entry unless kept. Iterative: a hostile tree is tens of thousands of levels deep.
void LiveTree::RemoveTree(uint32_t id, Applying& applying, bool keep_itself) {
  uint32_t at = id;
  while (true) {
    const Store::Entry& entry = store_.at(at);
    if (entry.first_child != Store::kNone) {
      at = entry.first_child;
      continue;
    }
    if (at == id && keep_itself) return;
    const uint32_t parent = entry.parent;
    if (store_.IsLeaf(at)) applying.Add({.path = store_.Path(at), .before = store_.Encode(at), .after = {}, .ino = entry.cache.ino});
    store_.Remove(at);
    if (at < applying.removed.size()) applying.removed[at] = 1;
    if (at == id) return;
    at = parent;
  }
}

// Enters one result and, first, its new parents. Returns its id, or kNone when its parent is gone.
uint32_t LiveTree::Enter(Found& result, Applying& applying) {
  // Children are found after their directory, but perhaps by another worker: the chain of parents not yet entered comes first.
  std::vector<Found*> chain;
  for (Found* at = &result; at && at->inserted == Store::kNone; at = at->parent_found) chain.push_back(at);
  for (; !chain.empty(); chain.pop_back()) {
    Found& found = *chain.back();
    const uint32_t parent = found.parent_found ? found.parent_found->inserted : found.parent_entry;
    if (parent == Store::kNone || (!found.parent_found && applying.Removed(parent))) return Store::kNone;
    uint32_t id = found.existing != Store::kNone && !applying.Removed(found.existing) ? found.existing : store_.Child(parent, found.name);
    Change change{.path = {}, .before = {}, .after = {}, .ino = found.cache.ino, .device = found.device};
    if (id == Store::kNone) {
      id = store_.Insert(parent, found.name, found.record, found.cache, found.flags);
    } else {
      if (store_.IsLeaf(id)) change.before = store_.Encode(id);
      const Store::Entry& known = store_.at(id);
      change.silent = !(known.flags & kRacy) && SameKey(known.cache, found.cache);
      if (known.type == 'd' && found.record.type != 'd') RemoveTree(id, applying, true);
      store_.Update(id, found.record, found.cache, found.flags);
    }
    found.inserted = id;
    if (store_.IsLeaf(id)) change.after = store_.Encode(id);
    if (change.before == change.after) continue;
    if (!change.before || !change.after) change.silent = false;
    change.path = store_.Path(id);
    applying.Add(std::move(change));
  }
  return result.inserted;
}

LiveTree::State LiveTree::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

Digest LiveTree::Root() const {
  std::lock_guard lock(mutex_);
  return store_.trie().Root();
}

size_t LiveTree::Leaves() const {
  std::lock_guard lock(mutex_);
  return store_.leaves();
}

std::pair<Patricia::Position, LiveTree::EntryView> LiveTree::Descend(const Digest& key, int bits) const {
  std::lock_guard lock(mutex_);
  Patricia::Position position = store_.trie().Descend(key, bits);
  EntryView view;
  if (position.kind == Patricia::Position::Kind::kLeaf) view = {store_.Path(position.leaf), store_.Encode(position.leaf), store_.at(position.leaf).cache.ino};
  return {position, std::move(view)};
}

std::optional<std::string> LiveTree::Get(std::string_view path) const {
  std::lock_guard lock(mutex_);
  const uint32_t id = store_.Find(path);
  if (id == Store::kNone || !store_.IsLeaf(id)) return std::nullopt;
  return store_.Encode(id);
}

std::vector<LiveTree::EntryView> LiveTree::Entries(const Digest* after, size_t max) const {
  std::lock_guard lock(mutex_);
  std::vector<EntryView> views;
  Digest key;
  while (views.size() < max) {
    const uint32_t leaf = store_.trie().Next(after);
    if (leaf == Store::kNone) break;
    views.push_back({store_.Path(leaf), store_.Encode(leaf), store_.at(leaf).cache.ino});
    key = Sha256Of(views.back().path.data(), views.back().path.size());
    after = &key;
  }
  return views;
}

}  // namespace hullmark::tree
