#include "tree/walk.h"

#include <time.h>

#include <algorithm>

namespace hullmark::tree {

namespace {
// Directories kept open over one tree at a time; past this, paths are walked again.
constexpr int kMaxOpenDirectories = 128;
// Fewer queued items are not worth a thread.
constexpr size_t kItemsWorthAThread = 4;

int64_t MonotonicNs() {
  struct timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}
}  // namespace

Walk::Walk(const Store& store, const Opener& opener, const Settings& settings, const Stop& stop, std::atomic<int>& open_directories)
    : store_(store), opener_(opener), settings_(settings), stop_(stop), open_directories_(open_directories), seen_(store.id_limit()),
      thread_limit_(settings.threads) {
  const uint64_t millis = std::min<uint64_t>(settings.budget.max_millis, 1'000'000'000);
  deadline_ns_ = MonotonicNs() + static_cast<int64_t>(millis) * 1'000'000;
  struct timespec tick;
  ::clock_getres(CLOCK_REALTIME_COARSE, &tick);
  racy_ns_ = 2 * (tick.tv_sec * 1'000'000'000 + tick.tv_nsec);
}

std::shared_ptr<UniqueFd> Walk::Share(UniqueFd& fd) {
  if (open_directories_.fetch_add(1) >= kMaxOpenDirectories) {
    open_directories_.fetch_sub(1);
    return nullptr;
  }
  std::atomic<int>* counter = &open_directories_;
  return {new UniqueFd(std::move(fd)), [counter](UniqueFd* held) {
            delete held;
            counter->fetch_sub(1);
          }};
}

DirectoryRef Walk::Open(std::string path, uint32_t entry) {
  UniqueFd fd = opener_.Directory(path);
  if (!fd) return nullptr;
  return std::make_shared<const Directory>(Directory{.path = std::move(path), .entry = entry, .fd = Share(fd)});
}

void Walk::AddRoot() { Push({.existing = Store::kRoot}); }

void Walk::AddEntries(DirectoryRef parent, std::vector<EntryJob> jobs) { Push({.parent = std::move(parent), .jobs = std::move(jobs)}); }

void Walk::Push(Item item) {
  std::lock_guard lock(mutex_);
  (item.jobs.empty() ? directories_ : files_).push_back(std::move(item));
  if (waiting_ > 0) {
    changed_.notify_one();
  } else if (running_ && threads_.size() + 1 < thread_limit_ && directories_.size() + files_.size() >= kItemsWorthAThread && !halted_) {
    Spawn();
  }
}

bool Walk::Pop(Item& item) {
  std::lock_guard lock(mutex_);
  std::vector<Item>& queue = files_.empty() ? directories_ : files_;
  if (queue.empty()) return false;
  item = std::move(queue.back());
  queue.pop_back();
  return true;
}

// With mutex_ held. A thread that cannot be had is one that does not help: the others do the work.
void Walk::Spawn() {
  try {
    workers_.push_back(std::make_unique<Worker>(settings_.engine));
    Worker* worker = workers_.back().get();
    busy_++;
    threads_.emplace_back([this, worker] { Work(*worker); });
  } catch (const std::system_error&) {
    busy_--;
    thread_limit_ = static_cast<unsigned>(threads_.size()) + 1;
  }
}

// Ends the calling worker's turn and waits for another. False when all work is done.
bool Walk::WaitForWork() {
  std::unique_lock lock(mutex_);
  busy_--;
  waiting_++;
  changed_.wait(lock, [this] { return !directories_.empty() || !files_.empty() || busy_ == 0; });
  waiting_--;
  if (directories_.empty() && files_.empty()) {
    changed_.notify_all();
    return false;
  }
  busy_++;
  return true;
}

void Walk::Work(Worker& worker) {
  do {
    try {
      Loop(worker);
    } catch (...) {
      Fail(std::current_exception());
    }
    // What was in work when the walk was halted is dropped with it.
    worker.files = {};
    worker.files_fd.reset();
    worker.next_file = 0;
  } while (WaitForWork());
}

void Walk::Loop(Worker& worker) {
  if (!Halted()) {
    worker.hasher.Run([&] { return NextContent(worker); }, [&](Content& content, const Hashed& hashed) { return ContentDone(worker, content, hashed); },
                      [this] { return Halted(); },
                      [this] {
                        std::lock_guard lock(mutex_);
                        if (thread_limit_ < settings_.max_threads) thread_limit_++;
                      });
  }
  if (!halted_) return;
  std::lock_guard lock(mutex_);
  directories_.clear();
  files_.clear();
}

void Walk::Fail(std::exception_ptr failure) {
  std::lock_guard lock(mutex_);
  if (!failure_) failure_ = failure;
  halted_ = true;
  directories_.clear();
  files_.clear();
}

void Walk::Exceed(Unmeasurable what) {
  std::lock_guard lock(mutex_);
  if (unmeasurable_ == Unmeasurable::kNo) unmeasurable_ = what;
  halted_ = true;
}

bool Walk::Halted() {
  if (halted_) return true;
  if (stop_.requested()) {
    halted_ = true;
  } else if (MonotonicNs() > deadline_ns_) {
    Exceed(Unmeasurable::kMillis);
  }
  return halted_;
}

bool Walk::CountMetadata(size_t bytes) {
  if (metadata_bytes_.fetch_add(bytes) + bytes <= settings_.budget.max_metadata_bytes) return true;
  Exceed(Unmeasurable::kMetadata);
  return false;
}

void Walk::AddClaim(Worker& worker, std::string path, ClaimReason reason) {
  if (claim_count_.fetch_add(1) < kMaxClaims) worker.claims.push_back({std::move(path), reason});
}

// A removed directory is empty, but that says nothing of what was measured: asked before a walk, and after it.
void Walk::AssertRootExists() const {
  Stat st;
  const int errnum = StatOf(opener_.root(), "", &st);
  if (errnum != 0) throw Error::System("statx", errnum);
  if (st.stx_nlink == 0) throw Error("ROOT_GONE", "the measured directory was removed");
}

Outcome Walk::Run() {
  AssertRootExists();
  {
    std::lock_guard lock(mutex_);
    running_ = true;
    busy_ = 1;
    workers_.push_back(std::make_unique<Worker>(settings_.engine));
  }
  Work(*workers_.front());
  // Nobody spawns once all work is done: pushing needs a busy worker.
  for (std::thread& thread : threads_) thread.join();
  if (stop_.requested()) throw Error("ABORTED", "measuring was cancelled");
  AssertRootExists();
  if (failure_) std::rethrow_exception(failure_);
  Outcome outcome;
  outcome.unmeasurable = unmeasurable_;
  outcome.entries = entries_;
  outcome.claims_truncated = claim_count_ > kMaxClaims;
  for (auto& worker : workers_) {
    outcome.found.push_back(std::move(worker->found));
    outcome.removed.insert(outcome.removed.end(), worker->removed.begin(), worker->removed.end());
    std::move(worker->claims.begin(), worker->claims.end(), std::back_inserter(outcome.claims));
    outcome.hashed_files += worker->hashed_files;
    outcome.hashed_bytes += worker->hashed_bytes;
  }
  return outcome;
}

}  // namespace hullmark::tree
