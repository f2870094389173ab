#include "fanotify/source.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <string_view>
#include <system_error>
#include <utility>

namespace hullmark::fanotify {

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kDrainEveryNs = 10 * kMs;
constexpr int64_t kTidyEveryNs = 1000 * kMs;
constexpr size_t kMaxPrograms = 1024;
// A queue that takes longer to work off than this is read and dropped: it must not grow without bound.
constexpr int64_t kMaxDrainNs = 1000 * kMs;
constexpr int kNice = -15;

// Bytes of a path up to and including the slash after a layer's directory, as docker (`overlay2/ID/diff`) and containerd
// (`snapshots/N/fs`) lay them out; the path's length for that directory itself. 0: none.
size_t LayerPrefix(std::string_view path) {
  for (const auto& [store, layer] : {std::pair<std::string_view, std::string_view>{"/overlay2/", "diff"}, {"/snapshots/", "fs"}}) {
    const size_t at = path.find(store);
    const size_t slash = at == std::string_view::npos ? at : path.find('/', at + store.size());
    if (slash == std::string_view::npos) continue;
    const std::string_view rest = path.substr(slash + 1);
    if (rest == layer) return path.size();
    if (rest.starts_with(layer) && rest[layer.size()] == '/') return slash + 1 + layer.size() + 1;
  }
  return 0;
}

}  // namespace

Source::Source(SourceOptions options, std::function<void()> notify)
    : mask_(options.modify ? kMask : kMask & ~uint64_t{FAN_MODIFY}),
      notify_(std::move(notify)),
      own_pid_(::getpid()),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_) throw Error::System("eventfd");
  try {
    connector_.emplace();
    status_.process_events = true;
  } catch (const Error& error) {
    status_.process_events_reason = error.what();
  }
  actors_.emplace(status_.process_events);
}

void Source::Start() {
  try {
    thread_ = std::thread(&Source::Run, this);
  } catch (const std::system_error& error) {
    throw Error("EAGAIN", "no thread for the change source", "pthread_create", error.code().value());
  }
}

void Source::Stop() {
  stop_.request();
  if (thread_.joinable()) thread_.join();
}

void Source::Watch(uint32_t id, std::string path, Done done) { Enqueue({id, std::move(path), std::move(done)}); }
void Source::Unwatch(uint32_t id, Done done) { Enqueue({id, std::nullopt, std::move(done)}); }

void Source::Enqueue(Command command) {
  {
    const std::lock_guard lock(commands_mutex_);
    if (!ended_) {
      commands_.push_back(std::move(command));
      command.done = nullptr;
    }
  }
  if (command.done) return command.done(Error("ECANCELED", "the change source has ended"));
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void Source::Run() {
  try {
    Loop();
  } catch (const Error& error) {
    pending_.Fail(error.code, error.what());
    Notify();
  } catch (const std::exception& error) {
    pending_.Fail("INTERNAL", error.what());
    Notify();
  }
  std::deque<Command> left;
  {
    const std::lock_guard lock(commands_mutex_);
    ended_ = true;
    left.swap(commands_);
  }
  for (Command& command : left) command.done(Error("ECANCELED", "the change source has ended"));
}

void Source::Loop() {
  ::pthread_setname_np(::pthread_self(), "fanotify");
  // A process that lives for half a millisecond is read while it lives, on a busy machine too. Without the right it is as it was.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
  const process::NodeCgroups view;
  if (connector_) actors_->Scan();
  empty_ns_ = MonotonicNs();
  int64_t next_drain_ns = 0;
  int64_t next_tidy_ns = 0;
  while (!stop_.requested()) {
    turns_++;
    const int64_t before_ns = MonotonicNs();
    // The first event after quiet is read at once; then the queue fills for a while, so that it is read in few large pieces.
    const bool wait = before_ns < next_drain_ns;
    pollfd ready[] = {{stop_.fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {connector_ ? connector_->fd() : -1, POLLIN, 0}, {wait ? -1 : group_.fd(), POLLIN, 0}};
    int64_t until_ns = wait ? next_drain_ns : std::max(next_tidy_ns, before_ns + kMs);
    if (const int64_t revisit_ns = actors_->Revisit(before_ns)) until_ns = std::min(until_ns, std::max(revisit_ns, before_ns));
    if (::poll(ready, 4, static_cast<int>((until_ns - before_ns) / kMs + 1)) < 0 && errno != EINTR) throw Error::System("poll");
    if (ready[1].revents) RunCommands();
    if (ready[2].revents) DrainProcessEvents();
    if (ready[3].revents) {
      DrainChanges();
      // Never more than half of a core, whatever the workload does.
      const int64_t now_ns = MonotonicNs();
      next_drain_ns = now_ns + std::max(kDrainEveryNs, now_ns - before_ns);
    }
    if (const int64_t now_ns = MonotonicNs(); now_ns >= next_tidy_ns) {
      actors_->Tidy(now_ns);
      if (!group_.Whole()) throw Error("UNMARKED", "the kernel holds fewer marks than were set");
      next_tidy_ns = now_ns + kTidyEveryNs;
    }
  }
}

void Source::RunCommands() {
  uint64_t count;
  [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof count);
  std::deque<Command> commands;
  {
    const std::lock_guard lock(commands_mutex_);
    commands.swap(commands_);
  }
  for (Command& command : commands) {
    std::optional<Error> failure;
    try {
      if (command.path) {
        DoWatch(command.id, *command.path);
      } else {
        DoUnwatch(command.id);
      }
    } catch (const Error& error) {
      failure = error;
    } catch (const std::exception& error) {
      failure = Error("INTERNAL", error.what());
    }
    command.done(failure);
  }
}

void Source::DoWatch(uint32_t id, const std::string& path) {
  DoUnwatch(id);
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) throw Error::System("open");
  const std::string key = KeyOf(directory.get());
  const std::string fsid = key.substr(0, kFsidBytes);
  uint32_t& roots = filesystems_[fsid];
  if (roots == 0) {
    try {
      UniqueFd kept(::fcntl(directory.get(), F_DUPFD_CLOEXEC, 0));
      if (!kept) throw Error::System("fcntl");
      group_.Mark(directory.get(), mask_);
      directories_.AddFilesystem(fsid, std::move(kept));
    } catch (const Error&) {
      filesystems_.erase(fsid);
      throw;
    }
  }
  roots++;
  root_filesystem_[id] = fsid;
  try {
    roots_.Add(id, ShownPath(key));
  } catch (...) {
    DoUnwatch(id);
    throw;
  }
  directories_.Clear();
}

// The path as the filesystem's own descriptor shows it, so that it compares with those of events.
std::string Source::ShownPath(const std::string& key) {
  const UniqueFd same = directories_.Open(key, O_PATH | O_DIRECTORY);
  auto path = same ? directories_.PathOf(same.get()) : std::nullopt;
  if (!path) throw Error::System("open_by_handle_at");
  return std::move(*path);
}

void Source::DoUnwatch(uint32_t id) {
  const auto found = root_filesystem_.find(id);
  if (found == root_filesystem_.end()) return;
  const std::string fsid = std::move(found->second);
  root_filesystem_.erase(found);
  roots_.Remove(id);
  directories_.Clear();
  if (--filesystems_[fsid] > 0) return;
  filesystems_.erase(fsid);
  const int directory = directories_.FilesystemFd(fsid);
  try {
    if (directory >= 0) group_.Unmark(directory, mask_);
  } catch (const Error&) {
    // Unmounted meanwhile: the mark went with it.
  }
  directories_.RemoveFilesystem(fsid);
}

void Source::DrainProcessEvents() {
  if (!connector_) return;
  bool executed = false;
  const bool complete = connector_->Drain([&](const ProcessEvent& event) {
    // A storm of programs on a busy machine is worked off for seconds: that is no thread that hangs.
    turns_++;
    auto actor = actors_->Handle(event);
    if (!actor || actor->container.empty()) return;
    pending_.Add(std::move(actor), RealNs());
    executed = true;
  });
  if (!complete) actors_->Gap(MonotonicNs());
  if (executed) Notify();
}

void Source::DrainChanges() {
  const int64_t started_ns = MonotonicNs();
  while (!stop_.requested()) {
    turns_++;
    const int64_t before_ns = MonotonicNs();
    events_.clear();
    if (!group_.Read([this](const RawEvent& event) { events_.push_back(event); })) {
      empty_ns_ = before_ns;
      break;
    }
    if (before_ns - started_ns > kMaxDrainNs) {
      pending_.Lost("more changes than can be followed");
      continue;
    }
    const Window window{empty_ns_, MonotonicNs()};
    // After the read: every exec that precedes one of these events has been told of by now.
    DrainProcessEvents();
    const int64_t at_ns = RealNs();
    const uint64_t first = position_;
    for (const RawEvent& event : events_) Prepare(event);
    position_ = first;
    for (const RawEvent& event : events_) Process(event, window, at_ns);
    RunCommands();
  }
  Notify();
}

// What must be known of the whole buffer before any of its events is looked at.
void Source::Prepare(const RawEvent& event) {
  position_++;
  turns_++;
  if (event.pid == own_pid_) return;
  if ((event.mask & FAN_ONDIR) && (event.mask & (FAN_MOVED_FROM | FAN_MOVED_TO))) directories_.Clear();
  if (!event.file.empty() && (event.mask & kWriteMask)) {
    if (const auto found = programs_.find(event.file); found != programs_.end()) programs_.erase(found);
  }
  if (event.mask & FAN_OPEN_EXEC) actors_->Opened(event.pid, DescribeOpen(event));
}

ExecOpen Source::DescribeOpen(const RawEvent& event) {
  ExecOpen open;
  open.position = position_;
  open.merged = (event.mask & kWriteMask) != 0;
  open.name = event.name;
  auto found = programs_.find(event.file);
  if (found == programs_.end() && !event.file.empty()) {
    const UniqueFd file = directories_.Open(event.file, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    if (programs_.size() >= kMaxPrograms) programs_.clear();
    found = programs_.emplace(std::string(event.file), file ? ReadProgram(file.get()) : Program{}).first;
  }
  if (found != programs_.end()) {
    open.kind = found->second.kind;
    open.ino = found->second.ino;
  }
  open.path = [this, directory = std::string(event.directory), name = open.name]() -> std::string {
    const UniqueFd fd = directories_.Open(directory, O_PATH | O_DIRECTORY);
    if (!fd) return {};
    const auto path = directories_.PathOf(fd.get());
    if (!path) return {};
    // Below a root, or else a layer's directory, it is shown as the container sees it.
    const auto matches = roots_.Find(*path);
    const size_t prefix = matches.empty() ? LayerPrefix(*path) : matches.front().prefix;
    const std::string shown = prefix ? "/" + path->substr(prefix) : *path;
    return (shown.ends_with('/') ? shown : shown + "/") + name;
  };
  return open;
}

void Source::Process(const RawEvent& event, const Window& window, int64_t at_ns) {
  position_++;
  turns_++;
  if (event.mask & FAN_Q_OVERFLOW) return pending_.Lost("the kernel's queue overflowed");
  if (event.pid == own_pid_ || !(event.mask & kWriteMask) || event.directory.empty()) return;
  std::shared_ptr<const Place> place;
  try {
    place = directories_.Find(event.directory);
  } catch (const Error& error) {
    return pending_.Lost(error.what());
  }
  if (!place || place->matches.empty()) return;
  const auto actor = event.pid > 0 ? actors_->Attribute(event.pid, position_, window) : nullptr;
  const uint32_t kinds = KindsOf(event.mask);
  for (const Roots::Match& match : place->matches) {
    std::string path = place->path.substr(match.prefix);
    if (event.name != ".") path.append(path.empty() ? "" : "/").append(event.name);
    pending_.Add(match.root, path, kinds, actor, at_ns);
  }
}

void Source::Notify() {
  if (!pending_.empty()) notify_();
}

}  // namespace hullmark::fanotify
