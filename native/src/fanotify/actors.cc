#include "fanotify/actors.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>

namespace hullmark::fanotify {

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kKeepDeadNs = 2000 * kMs;
constexpr int64_t kSettledNs = 1000 * kMs;
// The kernel switches the program some time before it tells of the exec: a program read within this time before may be the next one.
constexpr int64_t kExecNs = 20 * kMs;
constexpr int64_t kRevisitNs = 4 * kMs;
constexpr int64_t kYoungNs = 100 * kMs;
constexpr size_t kMaxYoung = 4096;
constexpr size_t kMaxEntries = 65536;
constexpr size_t kMaxEpochs = 32;
constexpr size_t kMaxOpens = 32;
constexpr size_t kMaxAncestors = 5;
constexpr size_t kMaxCmdlineBytes = 16384;

std::string_view Basename(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Whether the program that /proc told of is the file that was opened. Inode numbers of an overlay over several filesystems differ
// from those below it: then the names must do.
bool Same(const process::Executable& exe, const ExecOpen& open) { return exe.ino == open.ino || Basename(exe.path) == open.name; }

// The kernel does not queue a repeated open of the same loader, so a file after a program is its loader only if it looks like one. A
// wrong idea makes chains and execs disagree, and so the answer unknown.
bool LooksLikeLoader(const ExecOpen& open) { return open.kind == ProgramKind::kStatic && (open.name.starts_with("ld") || open.name.starts_with("libc")); }

// The last number of the line is that in the innermost namespace.
bool IsInit(const process::ProcessDir& dir) {
  const auto status = dir ? dir.Read("status", 8192) : std::nullopt;
  const size_t line = status ? status->find("\nNSpid:") : std::string::npos;
  if (line == std::string::npos) return false;
  const std::string_view numbers = std::string_view(*status).substr(line + 1, status->find('\n', line + 1) - line - 1);
  return numbers.ends_with("\t1");
}

int64_t BootNs() {
  timespec now;
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

int64_t MonotonicNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int64_t RealNs() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void Actors::Scan() {
  DIR* proc = ::opendir("/proc");
  if (!proc) return;
  while (const dirent* entry = ::readdir(proc)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, pid).ptr != end || entries_.contains(pid) || entries_.size() >= kMaxEntries) continue;
    Entry& made = Make(pid);
    Read(pid, made);
    if (!made.epochs.back().run->exe) entries_.erase(pid);  // ended, or a kernel thread
  }
  ::closedir(proc);
}

Actors::Entry Actors::Blank() {
  Entry entry;
  entry.epochs.push_back({0, std::make_shared<Run>(), nullptr});
  return entry;
}

Actors::Entry& Actors::Make(pid_t pid) { return entries_.insert_or_assign(pid, Blank()).first->second; }

Actors::Entry* Actors::Find(pid_t pid) {
  const auto found = entries_.find(pid);
  return found == entries_.end() ? nullptr : &found->second;
}

// Fills in what /proc tells of the process now, the newest program among it.
void Actors::Read(pid_t pid, Entry& entry) {
  auto now = process::ReadSnapshot(pid);
  if (now && now->located) {
    entry.located = true;
    entry.cgroup = std::move(now->cgroup);
    entry.uid = now->uid;
    if (now->container != entry.container) {
      // What was forked outside of it and is in it now has come in; of a process that was not seen to be born only its session tells.
      if (entry.epochs.front().since_ns > 0) {
        Enter(pid, entry, now->container);
      } else {
        entry.container = now->container;
        entry.entrance = FoundInside(now->container, now->stat.session);
      }
    }
  } else if (entry.container.empty() && !entry.target.empty() && entry.epochs.size() > 1) {
    // It ended before it could be looked at; but it was a runtime's, whose exec is for one container alone.
    entry.located = true;
    entry.cgroup.clear();
    const std::string target = entry.target;
    Enter(pid, entry, target);
  } else {
    // It is ending. What is born in a container stays there; the child that a runtime makes on the host is moved before its exec.
    entry.located = entry.located && !entry.container.empty();
  }
  if (!now || !now->exe) {
    // Of one whose birth was not told the end may not be either.
    if (entry.epochs.front().since_ns == 0 && entry.died_ns == 0) entry.died_ns = MonotonicNs();
    return;
  }
  Epoch& last = entry.epochs.back();
  // A child shares its parent's run: what is read now is its own.
  last.run = std::make_shared<Run>(Run{std::move(now->exe), pid, MonotonicNs(), false});
  last.actor = nullptr;
  entry.start_ticks = now->stat.start_ticks;
  if (entry.ppid == 0) entry.ppid = now->stat.ppid;
  entry.comm = std::move(now->stat.comm);
}

// Only root's word counts, outside of all containers: whatever else is so called may be anybody's.
std::string Actors::TargetOf(pid_t pid, const Entry& entry) {
  const auto& exe = entry.epochs.back().run->exe;
  if (!entry.located || !entry.container.empty() || entry.uid != 0 || !exe) return {};
  const std::string_view name = Basename(exe->path);
  if (name != "runc" && name != "crun") return {};
  const process::ProcessDir dir(pid);
  return process::ExecTarget(dir ? dir.Read("cmdline", kMaxCmdlineBytes).value_or("") : "");
}

// A process that was forked outside of the container is found in it: empty where it has left.
void Actors::Enter(pid_t pid, Entry& entry, const std::string& container) {
  entry.container = container;
  entry.target.clear();  // where it is is known from now on, also where it leaves again
  entry.entrance = nullptr;
  entry.epochs.back().actor = nullptr;
  if (container.empty()) return;
  const pid_t ppid = entry.ppid;
  const Entry* parent = Find(ppid);
  std::string its;
  if (const process::ProcessDir dir(ppid); dir) its = process::ParseCgroup(dir.Read("cgroup", process::kMaxCgroupBytes).value_or("")).container;
  else if (parent) its = parent->container;
  // The parent was moved in before, and the child born in there: by whom that was, nobody saw.
  if (its == container) {
    if (parent && parent->container == container) entry.entrance = parent->entrance;
    return;
  }
  entry.entrance = std::make_shared<Entrance>(Entrance{pid, entry.epochs.front().since_ns, Ancestry(ppid), its.empty(), IsInit(process::ProcessDir(pid))});
}

// By which process one came in that was there before anybody looked. Parents tell nothing: those of orphans are given by the kernel. But a session is
// inherited and can only be left for a new one, so the leader of its session is an ancestor; and a process whose parent is in another pid
// namespace was put there from outside. Null where that is not so.
std::shared_ptr<const Entrance> Actors::FoundInside(const std::string& container, pid_t session) {
  if (container.empty() || session <= 0) return nullptr;
  const process::ProcessDir leader(session);
  if (!leader || process::ParseCgroup(leader.Read("cgroup", process::kMaxCgroupBytes).value_or("")).container != container) return nullptr;
  const auto stat = leader.ReadStat();
  if (!stat || stat->ppid <= 0) return nullptr;
  const process::ProcessDir parent(stat->ppid);
  if (!parent) return nullptr;
  const auto own = leader.Link("ns/pid"), its = parent.Link("ns/pid");
  if (!own || !its || *own == *its) return nullptr;
  const std::string within = process::ParseCgroup(parent.Read("cgroup", process::kMaxCgroupBytes).value_or("")).container;
  if (within == container) return nullptr;
  const auto started_ns = static_cast<int64_t>(stat->start_ticks) * (1'000'000'000 / ::sysconf(_SC_CLK_TCK)) - (BootNs() - MonotonicNs());
  return std::make_shared<Entrance>(Entrance{session, started_ns, Ancestry(stat->ppid), within.empty(), IsInit(leader)});
}

std::shared_ptr<const Actor> Actors::Handle(const ProcessEvent& event) {
  switch (event.kind) {
    case ProcessEvent::Kind::kFork:
      Forked(event);
      return nullptr;
    case ProcessEvent::Kind::kExec:
      return Executed(event);
    case ProcessEvent::Kind::kUser:
      if (Entry* entry = Find(event.pid)) {
        entry->uid = event.uid;
        entry->epochs.back().actor = nullptr;
      }
      return nullptr;
    case ProcessEvent::Kind::kExit:
      if (Entry* entry = Find(event.pid)) entry->died_ns = event.at_ns;
      return nullptr;
  }
  return nullptr;
}

void Actors::Forked(const ProcessEvent& event) {
  // A machine with more processes than this is not followed further: what is not here is unknown.
  if (entries_.size() >= kMaxEntries) return;
  Entry* parent = Find(event.parent);
  if (!parent) {
    parent = &Make(event.parent);
    Read(event.parent, *parent);
  }
  Entry child;
  if (const Entry* earlier = Find(event.pid)) child.reused_ns = earlier->died_ns ? earlier->died_ns : event.at_ns;
  child.ppid = event.parent;
  child.located = parent->located;
  child.comm = parent->comm;
  child.cgroup = parent->cgroup;
  child.container = parent->container;
  child.target = parent->target;
  child.entrance = parent->entrance;
  child.uid = parent->uid;
  const auto then = std::find_if(parent->epochs.rbegin(), parent->epochs.rend(), [&](const Epoch& epoch) { return epoch.since_ns <= event.at_ns; });
  child.epochs.push_back({event.at_ns, then == parent->epochs.rend() ? std::make_shared<Run>() : then->run, nullptr});
  // What is born in a container stays there.
  if (child.container.empty() && young_.size() < kMaxYoung) young_.emplace_back(MonotonicNs() + kRevisitNs, event.pid);
  entries_.insert_or_assign(event.pid, std::move(child));
}

int64_t Actors::Revisit(int64_t now_ns) {
  while (!young_.empty() && young_.front().first <= now_ns) {
    const pid_t pid = young_.front().second;
    young_.pop_front();
    Entry* entry = Find(pid);
    if (!entry || entry->died_ns || entry->epochs.size() > 1) continue;
    const process::ProcessDir dir(pid);
    const auto text = dir ? dir.Read("cgroup", process::kMaxCgroupBytes) : std::nullopt;
    if (!text) continue;
    auto [path, container] = process::ParseCgroup(*text);
    if (container.empty()) {
      if (now_ns - entry->epochs.front().since_ns < kYoungNs) young_.emplace_back(now_ns + kRevisitNs, pid);
      continue;
    }
    entry->cgroup = std::move(path);
    Enter(pid, *entry, container);
    entry->uid = dir.ReadUid();
    entry->located = true;
  }
  return young_.empty() ? 0 : young_.front().first;
}

std::shared_ptr<const Actor> Actors::Executed(const ProcessEvent& event) {
  Entry* entry = Find(event.pid);
  if (!entry && entries_.size() >= kMaxEntries) return nullptr;
  if (!entry) entry = &Make(event.pid);
  Run& before = *entry->epochs.back().run;
  if (before.read_from == event.pid && before.read_ns >= event.at_ns - kExecNs) before.suspect = true;
  if (entry->epochs.size() >= kMaxEpochs) entry->epochs.erase(entry->epochs.begin());
  entry->epochs.push_back({event.at_ns, std::make_shared<Run>(), nullptr});
  entry->active_ns = event.at_ns;
  Read(event.pid, *entry);
  // Its children, and what it is executed as on the way, are for the same container.
  if (entry->target.empty()) entry->target = TargetOf(event.pid, *entry);
  return entry->container.empty() ? nullptr : Tell(event.pid, *entry, entry->epochs.back(), nullptr);
}

void Actors::Gap(int64_t now_ns) {
  gap_ns_ = now_ns;
  entries_.clear();
  Scan();
}

void Actors::Opened(pid_t pid, ExecOpen open) {
  Entry* entry = Find(pid);
  if (!entry) {
    if (connected_ || entries_.size() >= kMaxEntries) return;
    entry = &Make(pid);
  }
  if (entry->opens.size() >= kMaxOpens) entry->opens.erase(entry->opens.begin());
  entry->active_ns = MonotonicNs();
  entry->opens.push_back(std::move(open));
}

// The kernel opens a script, then its interpreter, then the interpreter's loader: one chain an exec, whose program is the first ELF
// file. A file that is neither cannot be executed (the shell then reads it by itself).
std::vector<Actors::Chain> Actors::Chains(const std::vector<ExecOpen>& opens) {
  std::vector<Chain> chains;
  for (size_t i = 0; i < opens.size(); i++) {
    Chain chain{opens[i].position, nullptr, opens[i].merged};
    while (i + 1 < opens.size() && opens[i].kind == ProgramKind::kScript) chain.merged |= opens[++i].merged;
    if (opens[i].kind == ProgramKind::kOther) continue;
    if (opens[i].kind != ProgramKind::kScript) chain.program = &opens[i];
    if (opens[i].kind == ProgramKind::kDynamic && i + 1 < opens.size() && LooksLikeLoader(opens[i + 1])) i++;
    chains.push_back(chain);
  }
  return chains;
}

std::shared_ptr<const Actor> Actors::Attribute(pid_t pid, uint64_t position, const Window& window) {
  if (!connected_) return ReadNow(pid, position, window);
  Entry* entry = Find(pid);
  if (!entry || window.from_ns <= gap_ns_ || entry->reused_ns >= window.from_ns) return Unknown(pid, entry);
  auto& epochs = entry->epochs;
  // Epochs of which a part lies within the window.
  size_t first = 0, end = epochs.size();
  while (end > 1 && epochs[end - 1].since_ns > window.to_ns) end--;
  while (first + 1 < end && epochs[first + 1].since_ns < window.from_ns) first++;
  const auto chains = Chains(entry->opens);
  const auto before = static_cast<size_t>(std::count_if(chains.begin(), chains.end(), [&](const Chain& chain) { return chain.position < position; }));
  if (chains.empty()) return end - first == 1 && !epochs[first].run->suspect ? Tell(pid, *entry, epochs[first], nullptr) : Unknown(pid, entry);

  // Each exec has its chain: they are paired in order. One more chain than execs is an exec that has not finished.
  const size_t execs = epochs.size() - 1;
  bool paired = chains.size() == execs || chains.size() == execs + 1;
  for (size_t i = 0; paired && i < std::min(chains.size(), execs); i++) {
    const Run& run = *epochs[i + 1].run;
    if (run.exe && !run.suspect && chains[i].program && !Same(*run.exe, *chains[i].program)) paired = false;
  }
  if (paired && before < epochs.size() && (before == 0 || !chains[before - 1].merged)) {
    return Tell(pid, *entry, epochs[before], before == 0 ? nullptr : &chains[before - 1]);
  }
  // The same program over and over (a multi-call binary) needs no pairing.
  if (before > 0 && first == 0) first = 1;
  const auto& sole = epochs[std::min(first, end - 1)].run->exe;
  for (size_t i = first; i < end; i++) {
    const Run& run = *epochs[i].run;
    if (!run.exe || !sole || !run.exe->SameFile(*sole)) return Unknown(pid, entry);
  }
  return first < end ? Tell(pid, *entry, epochs[end - 1], nullptr) : Unknown(pid, entry);
}

// Without process events: what /proc says now, where the process is old enough and the opens that are known do not speak against it.
std::shared_ptr<const Actor> Actors::ReadNow(pid_t pid, uint64_t position, const Window& window) {
  const std::vector<ExecOpen> opens = Find(pid) ? Find(pid)->opens : std::vector<ExecOpen>();
  Entry entry = Blank();
  Read(pid, entry);
  const auto& exe = entry.epochs.back().run->exe;
  const auto chains = Chains(opens);
  const auto started_ns = static_cast<int64_t>(entry.start_ticks) * (1'000'000'000 / ::sysconf(_SC_CLK_TCK));
  const bool newer = started_ns > window.to_ns + BootNs() - MonotonicNs();
  const bool disagree = !chains.empty() && (chains.back().position > position || !chains.back().program || !exe || !Same(*exe, *chains.back().program));
  if (newer || disagree) return Describe(pid, nullptr);
  return Tell(pid, entry, entry.epochs.back(), nullptr);
}

std::shared_ptr<Actor> Actors::Describe(pid_t pid, const Entry* entry) {
  auto actor = std::make_shared<Actor>();
  actor->pid = pid;
  if (!entry) return actor;
  actor->start_ticks = entry->start_ticks;
  actor->ppid = entry->ppid;
  actor->comm = entry->comm;
  actor->located = entry->located;
  if (entry->located) {
    actor->cgroup = entry->cgroup;
    actor->container = entry->container;
    actor->entrance = entry->entrance;
    actor->uid = entry->uid;
  }
  actor->ancestry = Ancestry(entry->ppid);
  return actor;
}

std::shared_ptr<const Actor> Actors::Unknown(pid_t pid, const Entry* entry) {
  auto actor = Describe(pid, entry);
  actor->comm.clear();  // it changes with the program
  return actor;
}

std::shared_ptr<const Actor> Actors::Tell(pid_t pid, Entry& entry, Epoch& epoch, const Chain* chain) {
  const Run& run = *epoch.run;
  const bool agreed = chain && chain->program && run.exe && Same(*run.exe, *chain->program);
  if (run.exe && (agreed || !run.suspect)) {
    if (!epoch.actor) {
      auto actor = Describe(pid, &entry);
      actor->exe = run.exe;
      epoch.actor = std::move(actor);
    }
    return epoch.actor;
  }
  if (!chain || !chain->program) return Unknown(pid, &entry);
  // It ended (or went on to another program) before /proc could be read: the file that the kernel opened is known all the same.
  auto exe = std::make_shared<process::Executable>();
  exe->path = chain->program->path();
  exe->ino = chain->program->ino;
  if (exe->path.empty()) return Unknown(pid, &entry);
  epoch.run = std::make_shared<Run>(Run{std::move(exe), pid, 0, false});
  auto actor = Describe(pid, &entry);
  actor->exe = epoch.run->exe;
  actor->comm = Basename(actor->exe->path).substr(0, 15);
  epoch.actor = std::move(actor);
  return epoch.actor;
}

std::vector<std::string> Actors::Ancestry(pid_t pid) {
  std::vector<std::string> names;
  while (pid > 0 && names.size() < kMaxAncestors) {
    if (const Entry* entry = Find(pid)) {
      names.push_back(entry->comm);
      pid = entry->ppid;
    } else {
      const process::ProcessDir dir(pid);
      const auto stat = dir ? dir.ReadStat() : std::nullopt;
      if (!stat) break;
      names.push_back(stat->comm);
      pid = stat->ppid;
    }
  }
  return names;
}

void Actors::Tidy(int64_t now_ns) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    Entry& entry = at->second;
    if ((entry.died_ns && now_ns - entry.died_ns > kKeepDeadNs) || (!connected_ && now_ns - entry.active_ns > kSettledNs)) {
      at = entries_.erase(at);
      continue;
    }
    if (now_ns - entry.active_ns > kSettledNs && (entry.epochs.size() > 1 || !entry.opens.empty())) {
      entry.epochs.erase(entry.epochs.begin(), entry.epochs.end() - 1);
      entry.opens.clear();
    }
    ++at;
  }
}

}  // namespace hullmark::fanotify
