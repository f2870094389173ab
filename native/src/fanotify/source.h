#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "fanotify/actors.h"
#include "fanotify/connector.h"
#include "fanotify/directories.h"
#include "fanotify/group.h"
#include "fanotify/pending.h"
#include "fanotify/roots.h"
#include "support/stop.h"

namespace hullmark::fanotify {

struct SourceOptions {
  // Told of every write(2) rather than only at close: files that stay open (logs, databases) are then noticed at once.
  bool modify = true;
};

struct SourceStatus {
  bool process_events = false;       // the process connector tells of execs
  std::string process_events_reason;  // why not
};

// Watches the filesystems below any number of directories with one fanotify group, on a thread of its own. `notify` is called on that
// thread when something is pending and nothing was before; Take then has it.
class Source {
 public:
  using Done = std::function<void(std::optional<Error>)>;

  // Throws Error: no fanotify. The thread starts with Start.
  explicit Source(SourceOptions options, std::function<void()> notify);
  ~Source() { Stop(); }
  // Throws Error("EAGAIN"): no thread to be had.
  void Start();
  // Ends the thread. Idempotent, blocks at most some milliseconds.
  void Stop();
  const SourceStatus& status() const { return status_; }
  // Grows while the thread works, and at least once a second. Any thread.
  uint64_t turns() const { return turns_; }

  // Watches a directory with everything below it on the same filesystem. `done` is called on the source's thread.
  void Watch(uint32_t id, std::string path, Done done);
  void Unwatch(uint32_t id, Done done);

  Batch Take(bool& more) { return pending_.Take(more); }

 private:
  struct Command {
    uint32_t id;
    std::optional<std::string> path;  // nullopt: unwatch
    Done done;
  };

  void Run();
  void Loop();
  void RunCommands();
  void Enqueue(Command command);
  void DoWatch(uint32_t id, const std::string& path);
  void DoUnwatch(uint32_t id);
  std::string ShownPath(const std::string& key);
  void DrainProcessEvents();
  void DrainChanges();
  void Prepare(const RawEvent& event);
  void Process(const RawEvent& event, const Window& window, int64_t at_ns);
  ExecOpen DescribeOpen(const RawEvent& event);
  void Notify();

  const uint64_t mask_;
  const std::function<void()> notify_;
  const pid_t own_pid_;
  SourceStatus status_;
  Group group_;
  std::optional<Connector> connector_;
  hullmark::Stop stop_;
  UniqueFd wake_;
  std::mutex commands_mutex_;
  std::deque<Command> commands_;
  bool ended_ = false;  // under commands_mutex_
  Roots roots_;
  Directories directories_{roots_};
  std::unordered_map<std::string, uint32_t> filesystems_;  // fsid to number of roots
  std::unordered_map<uint32_t, std::string> root_filesystem_;
  std::optional<Actors> actors_;
  std::unordered_map<std::string, Program, StringHash, std::equal_to<>> programs_;
  std::vector<RawEvent> events_;
  std::atomic<uint64_t> turns_{0};
  uint64_t position_ = 0;
  int64_t empty_ns_ = 0;  // when the queue was last seen empty
  Pending pending_;
  std::thread thread_;
};

}  // namespace hullmark::fanotify
