// Owners of what the TSS hands out: the connection, loaded objects and sessions, and memory of Esys_Free.
#pragma once
#include <tss2/tss2_esys.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tcti.h"
#include "tpm_error.h"

namespace hullmark::tpm {

using Bytes = std::vector<uint8_t>;

struct EsysFree {
  void operator()(void* memory) const { Esys_Free(memory); }
};
template <typename T>
using Esys = std::unique_ptr<T, EsysFree>;

// One connection to one TPM. Not thread-safe: calls come one at a time.
class Context {
 public:
  // Connects. `tcti` as for Tss2_TctiLdr_Initialize, e.g. "device:/dev/tpmrm0". Throws TpmError ABSENT.
  Context(const std::string& tcti, int stop_fd);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  ESYS_CONTEXT* get() const { return esys_; }
  // True when the connection is lost for good: make another Context.
  bool broken() const { return own_ && own_->broken(); }
  // True when a resource manager multiplexes the TPM, so that leaks die with their connection.
  bool managed() const { return managed_; }
  // Objects and sessions that the sweep at start flushed.
  uint32_t swept() const { return swept_; }
  // Flushes sessions and transient objects that a crashed predecessor left, unless a resource manager does that.
  void Sweep();
  // While `stop_fd` (-1: none) is readable, calls that wait for the TPM fail with ABSENT, and the connection is of no more use.
  // Has no effect on TCTIs of the TSS's own (tabrmd, libtpms, ...).
  void SetStopFd(int stop_fd) {
    if (own_) own_->SetStopFd(stop_fd);
  }

 private:
  void SweepFrom(uint32_t first);

  std::unique_ptr<Tcti> own_;
  TSS2_TCTI_CONTEXT* loaded_ = nullptr;
  ESYS_CONTEXT* esys_ = nullptr;
  bool managed_ = false;
  uint32_t swept_ = 0;
};

// A loaded object or session: flushed at the end of the scope. A persistent object is only forgotten.
class Handle {
 public:
  Handle(ESYS_CONTEXT* esys, ESYS_TR handle, bool flush = true) : esys_(esys), handle_(handle), flush_(flush) {}
  Handle(Handle&& other) noexcept : esys_(other.esys_), handle_(other.handle_), flush_(other.flush_) { other.handle_ = ESYS_TR_NONE; }
  Handle& operator=(Handle&&) = delete;
  ~Handle();
  ESYS_TR get() const { return handle_; }

 private:
  ESYS_CONTEXT* esys_;
  ESYS_TR handle_;
  bool flush_;
};

// A policy session that satisfies PolicySecret(endorsement), as the EK templates of the low range demand.
Handle EndorsementSession(const Context& context);
// An unbound HMAC session: proves an authValue without sending it.
Handle HmacSession(const Context& context);

}  // namespace hullmark::tpm
