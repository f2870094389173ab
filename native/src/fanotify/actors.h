#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fanotify/connector.h"
#include "fanotify/program.h"
#include "process/procfs.h"

namespace hullmark::fanotify {

// The process by which others came into a container: its main process, or one that an exec (or somebody on the node) brought in later.
// Whatever it forks came by it too, also when the kernel has given that another parent since.
struct Entrance {
  pid_t pid = 0;
  int64_t since_ns = 0;           // CLOCK_MONOTONIC
  std::vector<std::string> from;  // names of its ancestors outside of the container, nearest first
  bool from_host = false;         // false: the nearest of them was itself in a container
  bool init = false;              // it is number 1 of its pid namespace
};

// Who did something. Immutable once made; shared by the changes of one process.
struct Actor {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // 0: not known (ended before it could be read)
  pid_t ppid = 0;            // the process that forked it
  // Null: not certain. Never a guess.
  std::shared_ptr<const process::Executable> exe;
  std::string comm;
  bool located = false;  // false: it ended before cgroup, container and uid could be read
  std::string cgroup;
  std::string container;  // 64 hex digits; empty: none
  std::optional<uid_t> uid;
  std::vector<std::string> ancestry;  // names of the process's ancestors, nearest first
  std::shared_ptr<const Entrance> entrance;  // null: not certain, or in no container
};

// A file that a process had the kernel open in order to execute it, in the order of the fanotify queue.
struct ExecOpen {
  uint64_t position = 0;
  // The kernel merged this with earlier writes of the same process to the same file, so it may have happened later than its position.
  bool merged = false;
  std::string name;
  ProgramKind kind = ProgramKind::kOther;
  uint64_t ino = 0;
  // Finds the path when it is wanted.
  std::function<std::string()> path;
};

// The times between which an event was queued, CLOCK_MONOTONIC.
struct Window {
  int64_t from_ns = 0;
  int64_t to_ns = 0;
};

// Which program each process ran when. Programs come from /proc/PID/exe at the moment the process connector tells of an exec, and from
// the opens-for-execution that fanotify queues between the writes. Where the two do not agree on one answer there is none.
// Without a connector only what /proc says now is known. Not thread-safe.
class Actors {
 public:
  // `connected`: events come to `Handle`, without gaps but for `Gap`.
  explicit Actors(bool connected) : connected_(connected) {}

  // Reads every process of the machine: at the start, and after a gap.
  void Scan();
  // Returns the process for an exec in a container, so that it can be told of; null otherwise.
  std::shared_ptr<const Actor> Handle(const ProcessEvent& event);
  // Connector events were lost.
  void Gap(int64_t now_ns);

  void Opened(pid_t pid, ExecOpen open);
  // The process that queued an event at `position` within `window`. All connector events up to `window.to_ns` must have been handled.
  std::shared_ptr<const Actor> Attribute(pid_t pid, uint64_t position, const Window& window);
  // Looks again, for a tenth of a second, at processes of the host that were forked and have not executed anything: a container runtime moves such a
  // child into its container, and what it executes then may be over before it can be looked at. Returns when to call next; 0: never.
  int64_t Revisit(int64_t now_ns);
  // Forgets processes that ended long ago and opens that are settled. Call about once a second.
  void Tidy(int64_t now_ns);

  size_t size() const { return entries_.size(); }

 private:
  // One program of one process, from an exec (or its birth) to the next. Shared with children, which inherit it.
  struct Run {
    std::shared_ptr<const process::Executable> exe;
    pid_t read_from = 0;
    int64_t read_ns = 0;
    bool suspect = false;  // read so shortly before the next exec that it may be the next program's
  };
  struct Epoch {
    int64_t since_ns = 0;
    std::shared_ptr<Run> run;
    std::shared_ptr<const Actor> actor;  // made at first use
  };
  struct Entry {
    pid_t ppid = 0;
    uint64_t start_ticks = 0;
    int64_t reused_ns = 0;  // when an earlier process of this number was seen last; 0: none
    int64_t died_ns = 0;
    int64_t active_ns = 0;  // last exec or open
    bool located = false;
    std::string comm, cgroup, container;
    std::string target;  // the container into which a runtime on the host brings what it, or its children, execute; empty: none is known
    std::optional<uid_t> uid;
    std::shared_ptr<const Entrance> entrance;
    std::vector<Epoch> epochs;  // the first is what it ran before the opens kept here
    std::vector<ExecOpen> opens;
  };
  struct Chain {
    uint64_t position;
    const ExecOpen* program;  // null: a script whose interpreter is not known
    bool merged;
  };

  static Entry Blank();
  Entry& Make(pid_t pid);
  Entry* Find(pid_t pid);
  void Read(pid_t pid, Entry& entry);
  void Enter(pid_t pid, Entry& entry, const std::string& container);
  static std::string TargetOf(pid_t pid, const Entry& entry);
  std::shared_ptr<const Entrance> FoundInside(const std::string& container, pid_t session);
  void Forked(const ProcessEvent& event);
  std::shared_ptr<const Actor> Executed(const ProcessEvent& event);
  static std::vector<Chain> Chains(const std::vector<ExecOpen>& opens);
  std::shared_ptr<const Actor> Tell(pid_t pid, Entry& entry, Epoch& epoch, const Chain* chain);
  std::shared_ptr<const Actor> Unknown(pid_t pid, const Entry* entry);
  std::shared_ptr<const Actor> ReadNow(pid_t pid, uint64_t position, const Window& window);
  std::vector<std::string> Ancestry(pid_t ppid);
  std::shared_ptr<Actor> Describe(pid_t pid, const Entry* entry);

  const bool connected_;
  int64_t gap_ns_ = 0;
  std::unordered_map<pid_t, Entry> entries_;
  std::deque<std::pair<int64_t, pid_t>> young_;  // when to revisit next, ascending
};

int64_t MonotonicNs();
// Unix time.
int64_t RealNs();

}  // namespace hullmark::fanotify
