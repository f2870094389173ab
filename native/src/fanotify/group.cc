#include "fanotify/group.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "support/error.h"

namespace hullmark::fanotify {

namespace {

constexpr size_t kBufferBytes = 256 * 1024;

// The handle of an information record as a key; empty where the record holds none.
HandleKey KeyOf(const fanotify_event_info_fid* info, size_t record_bytes) {
  constexpr size_t kHead = sizeof(file_handle);
  const char* start = reinterpret_cast<const char*>(&info->fsid);
  const size_t before = static_cast<size_t>(start - reinterpret_cast<const char*>(info));
  if (record_bytes < before + kFsidBytes + kHead) return {};
  file_handle head;
  std::memcpy(&head, start + kFsidBytes, kHead);
  const size_t size = kFsidBytes + kHead + head.handle_bytes;
  if (head.handle_bytes == 0 || head.handle_bytes > MAX_HANDLE_SZ || record_bytes < before + size) return {};
  return {start, size};
}

void ReadRecords(const char* at, const char* end, RawEvent& event) {
  while (static_cast<size_t>(end - at) >= sizeof(fanotify_event_info_header)) {
    fanotify_event_info_header header;
    std::memcpy(&header, at, sizeof header);
    if (header.len < sizeof header || header.len > end - at) return;
    const auto* info = reinterpret_cast<const fanotify_event_info_fid*>(at);
    switch (header.info_type) {
      case FAN_EVENT_INFO_TYPE_FID:
        event.file = KeyOf(info, header.len);
        break;
      case FAN_EVENT_INFO_TYPE_DFID:
        event.directory = KeyOf(info, header.len);
        event.name = ".";
        break;
      case FAN_EVENT_INFO_TYPE_DFID_NAME: {
        event.directory = KeyOf(info, header.len);
        if (event.directory.empty()) break;
        const char* name = event.directory.data() + event.directory.size();
        event.name = {name, ::strnlen(name, static_cast<size_t>(at + header.len - name))};
        break;
      }
      default:
        break;
    }
    at += header.len;
  }
}

}  // namespace

Group::Group()
    // Unlimited: the reader never waits for JavaScript and bounds what it holds itself.
    : fd_(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_REPORT_DFID_NAME | FAN_REPORT_FID, O_RDONLY)),
      buffer_(kBufferBytes) {
  if (!fd_) throw Error::System("fanotify_init");
}

void Group::Mark(int directory_fd, uint64_t mask) {
  if (::fanotify_mark(fd_.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask, directory_fd, nullptr) != 0) throw Error::System("fanotify_mark");
  marks_ = CountMarks().value_or(0);
}

void Group::Unmark(int directory_fd, uint64_t mask) {
  if (::fanotify_mark(fd_.get(), FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM, mask, directory_fd, nullptr) != 0) throw Error::System("fanotify_mark");
  marks_ = CountMarks().value_or(0);
}

// proc_pid_fdinfo(5): a line "fanotify sdev:…" for each filesystem.
std::optional<size_t> Group::CountMarks() const {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd_.get()));
  if (!info) return std::nullopt;
  size_t count = 0;
  for (std::string line; std::getline(info, line);) count += line.starts_with("fanotify sdev:");
  return count;
}

bool Group::Whole() const { return CountMarks().value_or(marks_) >= marks_; }

bool Group::Read(const std::function<void(const RawEvent&)>& each) {
  ssize_t size;
  do {
    size = ::read(fd_.get(), buffer_.data(), buffer_.size());
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == EAGAIN) return false;
    throw Error::System("read");
  }
  const char* at = buffer_.data();
  const char* end = at + size;
  while (static_cast<size_t>(end - at) >= FAN_EVENT_METADATA_LEN) {
    fanotify_event_metadata meta;
    std::memcpy(&meta, at, sizeof meta);
    if (meta.vers != FANOTIFY_METADATA_VERSION) throw Error("EPROTO", "the kernel speaks another fanotify version");
    if (meta.event_len < FAN_EVENT_METADATA_LEN || meta.event_len > end - at) break;
    RawEvent event;
    event.mask = meta.mask;
    event.pid = meta.pid;
    ReadRecords(at + meta.metadata_len, at + meta.event_len, event);
    each(event);
    at += meta.event_len;
  }
  return size > 0;
}

}  // namespace hullmark::fanotify
