#include "tcti.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <memory>

#include "tpm_error.h"

namespace hullmark::tpm {

namespace {

constexpr uint64_t kMagic = 0x68756c6c6d61726b;
constexpr size_t kHeaderBytes = 10;         // tag, size, code
constexpr size_t kMaxResponseBytes = 4096;  // TPM2_MAX_RESPONSE_SIZE; a kernel driver hands over no more
constexpr int kCommandLimitMs = 180'000;    // above what a slow chip takes to make an RSA key
constexpr char kDevice[] = "device:";
constexpr char kSwtpm[] = "swtpm:";

uint32_t BigEndian32(const uint8_t* bytes) { return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3]; }

bool StartsWith(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

// "path=/x,host=y" → the value of `key`, or empty.
std::string Option(const std::string& options, const std::string& key) {
  size_t at = 0;
  while (at < options.size()) {
    const size_t end = std::min(options.find(',', at), options.size());
    const std::string item = options.substr(at, end - at);
    if (StartsWith(item, (key + "=").c_str())) return item.substr(key.size() + 1);
    at = end + 1;
  }
  return "";
}

[[noreturn]] void Absent(const std::string& where, int error) { throw TpmError(Code::kAbsent, where + ": " + std::strerror(error)); }

UniqueFd OpenDevice(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) Absent(path, errno);
  return fd;
}

UniqueFd ConnectUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) throw TpmError(Code::kBadInput, "socket path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) Absent(path, errno);
  return fd;
}

UniqueFd ConnectTcp(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;  // no resolver: a TPM is not far away
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.empty() ? "127.0.0.1" : host.c_str(), port.empty() ? "2321" : port.c_str(), &hints, &found) != 0)
    throw TpmError(Code::kBadInput, "swtpm host or port is not numeric");
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  UniqueFd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0) Absent("swtpm " + host + ":" + port, errno);
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  return fd;
}

}  // namespace

bool Tcti::Supports(const std::string& conf) { return StartsWith(conf, kDevice) || StartsWith(conf, kSwtpm); }

Tcti::Tcti(const std::string& conf) {
  if (StartsWith(conf, kDevice)) {
    fd_ = OpenDevice(conf.substr(sizeof kDevice - 1));
  } else {
    const std::string options = conf.substr(sizeof kSwtpm - 1);
    const std::string path = Option(options, "path");
    fd_ = path.empty() ? ConnectTcp(Option(options, "host"), Option(options, "port")) : ConnectUnix(path);
  }
  abi_.common.magic = kMagic;
  abi_.common.version = 1;
  abi_.common.transmit = &Tcti::Transmit;
  abi_.common.receive = &Tcti::Receive;
  abi_.common.finalize = &Tcti::Finalize;
  abi_.common.cancel = &Tcti::Cancel;
  abi_.common.setLocality = &Tcti::SetLocality;
  abi_.self = this;
}

// True when the descriptor is ready; false when stopped, out of time or broken.
bool Tcti::Wait(short events) {
  pollfd fds[2] = {{fd_.get(), events, 0}, {stop_fd_, POLLIN, 0}};
  int ready = 0;
  do ready = ::poll(fds, stop_fd_ < 0 ? 1 : 2, kCommandLimitMs);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0 || fds[1].revents != 0) return false;
  return (fds[0].revents & (events | POLLHUP)) != 0;
}

TSS2_RC Tcti::Transmit(TSS2_TCTI_CONTEXT* context, size_t size, const uint8_t* command) {
  Tcti& self = *reinterpret_cast<Abi*>(context)->self;
  if (self.broken_) return TSS2_TCTI_RC_NO_CONNECTION;
  self.response_.clear();
  self.broken_ = true;
  while (size > 0) {
    const ssize_t written = ::write(self.fd_.get(), command, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno != EAGAIN) return TSS2_TCTI_RC_IO_ERROR;
    if (written < 0) {
      if (!self.Wait(POLLOUT)) return TSS2_TCTI_RC_IO_ERROR;
      continue;
    }
    command += written;
    size -= static_cast<size_t>(written);
  }
  self.broken_ = false;
  return TSS2_RC_SUCCESS;
}

// Reads one whole response. A device gives it in one read; a socket may give it in parts.
TSS2_RC Tcti::Fill() {
  uint8_t buffer[kMaxResponseBytes];
  size_t have = 0;
  broken_ = true;
  for (;;) {
    const size_t want = have < kHeaderBytes ? kHeaderBytes : BigEndian32(buffer + 2);
    if (want < kHeaderBytes || want > kMaxResponseBytes || have > want) return TSS2_TCTI_RC_MALFORMED_RESPONSE;
    if (have >= kHeaderBytes && have == want) break;
    if (!Wait(POLLIN)) return TSS2_TCTI_RC_IO_ERROR;
    const ssize_t got = ::read(fd_.get(), buffer + have, sizeof buffer - have);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return TSS2_TCTI_RC_IO_ERROR;
    have += static_cast<size_t>(got);
  }
  response_.assign(buffer, buffer + have);
  broken_ = false;
  return TSS2_RC_SUCCESS;
}

TSS2_RC Tcti::Receive(TSS2_TCTI_CONTEXT* context, size_t* size, uint8_t* response, int32_t) {
  Tcti& self = *reinterpret_cast<Abi*>(context)->self;
  if (self.broken_) return TSS2_TCTI_RC_NO_CONNECTION;
  if (self.response_.empty()) {
    const TSS2_RC rc = self.Fill();
    if (rc != TSS2_RC_SUCCESS) return rc;
  }
  const size_t capacity = *size;
  *size = self.response_.size();
  if (response == nullptr) return TSS2_RC_SUCCESS;
  if (capacity < self.response_.size()) return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
  std::memcpy(response, self.response_.data(), self.response_.size());
  self.response_.clear();
  return TSS2_RC_SUCCESS;
}

TSS2_RC Tcti::Cancel(TSS2_TCTI_CONTEXT*) { return TSS2_TCTI_RC_NOT_IMPLEMENTED; }
TSS2_RC Tcti::SetLocality(TSS2_TCTI_CONTEXT*, uint8_t) { return TSS2_TCTI_RC_NOT_IMPLEMENTED; }
void Tcti::Finalize(TSS2_TCTI_CONTEXT*) {}

}  // namespace hullmark::tpm
