#include "fanotify/connector.h"

#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "support/error.h"

namespace hullmark::fanotify {

namespace {

constexpr int kReceiveBytes = 8 * 1024 * 1024;  // some 10,000 events
constexpr int kAnswerMs = 1000;
constexpr size_t kEvent = NLMSG_LENGTH(0) + sizeof(cn_msg);

constexpr uint32_t kFork = 1, kExec = 2, kUser = 4, kExit = 0x80000000, kAcknowledged = 0;  // proc_event::what; its enum's place in the header varies

constexpr sock_filter Load(size_t in_event) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(kEvent + in_event)); }
// Classic BPF loads big-endian words.
constexpr sock_filter IfEqual(uint32_t value, uint8_t yes, uint8_t no) { return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __builtin_bswap32(value), yes, no); }
constexpr sock_filter IfEqualX(uint8_t yes, uint8_t no) { return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, yes, no); }
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the filter's constants are swapped for little-endian machines");

// Threads come and go often and are of no interest: their events are dropped in the kernel, as are changes of groups and names.
void Filter(int fd) {
  constexpr size_t kData = offsetof(proc_event, event_data);
  constexpr size_t kExitPid = kData + offsetof(decltype(proc_event::event_data.exit), process_pid);
  static_assert(kExitPid == kData + offsetof(decltype(proc_event::event_data.id), process_pid), "exits and changes of user are checked alike");
  sock_filter code[] = {
      Load(offsetof(proc_event, what)),
      IfEqual(kExec, 14, 0),
      IfEqual(kAcknowledged, 13, 0),
      IfEqual(kFork, 3, 0),
      IfEqual(kExit, 6, 0),
      IfEqual(kUser, 5, 0),
      BPF_STMT(BPF_RET | BPF_K, 0),
      Load(kData + offsetof(decltype(proc_event::event_data.fork), child_pid)),
      BPF_STMT(BPF_MISC | BPF_TAX, 0),
      Load(kData + offsetof(decltype(proc_event::event_data.fork), child_tgid)),
      IfEqualX(5, 4),
      Load(kExitPid),
      BPF_STMT(BPF_MISC | BPF_TAX, 0),
      Load(kData + offsetof(decltype(proc_event::event_data.exit), process_tgid)),
      IfEqualX(1, 0),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) throw Error::System("setsockopt");
}

// The connector speaks in the initial network namespace only: an agent in another one opens the socket there.
UniqueFd OpenSocket() {
  struct stat own, initial;
  UniqueFd back;
  if (::stat("/proc/self/ns/net", &own) == 0 && ::stat("/proc/1/ns/net", &initial) == 0 && own.st_ino != initial.st_ino) {
    UniqueFd there(::open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC));
    back.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!there || !back || ::setns(there.get(), CLONE_NEWNET) != 0) throw Error::System("setns");
  }
  UniqueFd fd(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR));
  const int error = errno;
  if (back && ::setns(back.get(), CLONE_NEWNET) != 0) throw Error::System("setns");
  if (!fd) throw Error::System("socket", error);
  return fd;
}

void Listen(int fd) {
  const uint32_t operation = PROC_CN_MCAST_LISTEN;
  alignas(nlmsghdr) char request[NLMSG_LENGTH(sizeof(cn_msg) + sizeof operation)] = {};
  auto* header = reinterpret_cast<nlmsghdr*>(request);
  header->nlmsg_len = sizeof request;
  header->nlmsg_type = NLMSG_DONE;
  auto* message = static_cast<cn_msg*>(NLMSG_DATA(header));
  message->id = {CN_IDX_PROC, CN_VAL_PROC};
  message->len = sizeof operation;
  std::memcpy(message->data, &operation, sizeof operation);
  if (::send(fd, request, sizeof request, 0) < 0) throw Error::System("send");
}

}  // namespace

Connector::Connector() : fd_(OpenSocket()), buffer_(16384) {
  if (::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBytes, sizeof kReceiveBytes) != 0) {
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof kReceiveBytes);
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = CN_IDX_PROC;
  if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw Error::System("bind");
  Listen(fd_.get());
  // The kernel acknowledges the subscription by an event of its own; in the wrong user or pid namespace it stays silent.
  pollfd ready{fd_.get(), POLLIN, 0};
  if (::poll(&ready, 1, kAnswerMs) != 1) throw Error("ENOTSUP", "the process connector does not answer (needs the initial user and pid namespaces)");
  Filter(fd_.get());
}

bool Connector::Drain(const std::function<void(const ProcessEvent&)>& each) {
  bool complete = true;
  for (;;) {
    sockaddr_nl from{};
    socklen_t from_size = sizeof from;
    const ssize_t size = ::recvfrom(fd_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return complete;
      if (errno != ENOBUFS) throw Error::System("recvfrom");
      complete = false;
      continue;
    }
    // Any process may send to a netlink socket; only the kernel's own address is 0.
    if (from.nl_pid != 0 || static_cast<size_t>(size) < kEvent + sizeof(proc_event)) continue;
    proc_event event;
    std::memcpy(&event, buffer_.data() + kEvent, sizeof event);
    const auto at_ns = static_cast<int64_t>(event.timestamp_ns);
    switch (static_cast<uint32_t>(event.what)) {
      case kFork:
        if (event.event_data.fork.child_pid == event.event_data.fork.child_tgid) {
          each({ProcessEvent::Kind::kFork, event.event_data.fork.child_tgid, event.event_data.fork.parent_tgid, 0, at_ns});
        }
        break;
      case kExec:
        each({ProcessEvent::Kind::kExec, event.event_data.exec.process_tgid, 0, 0, at_ns});
        break;
      case kUser:
        if (event.event_data.id.process_pid == event.event_data.id.process_tgid) {
          each({ProcessEvent::Kind::kUser, event.event_data.id.process_tgid, 0, event.event_data.id.e.euid, at_ns});
        }
        break;
      case kExit:
        if (event.event_data.exit.process_pid == event.event_data.exit.process_tgid) {
          each({ProcessEvent::Kind::kExit, event.event_data.exit.process_tgid, 0, 0, at_ns});
        }
        break;
      default:
        break;
    }
  }
}

}  // namespace hullmark::fanotify
