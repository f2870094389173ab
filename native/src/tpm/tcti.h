// A TCTI of our own for character devices and for swtpm's sockets: unlike the stock ones, it can be interrupted and has a time limit.
#pragma once
#include <tss2/tss2_tcti.h>

#include <string>
#include <vector>

#include "support/fd.h"

namespace hullmark::tpm {

// "device:/dev/tpmrm0", "swtpm:path=/run/sock", "swtpm:host=127.0.0.1,port=2321". One command at a time, as TCTI demands.
class Tcti {
 public:
  static bool Supports(const std::string& conf);
  // Connects. Throws TpmError ABSENT, or BAD_INPUT on a conf string that makes no sense.
  explicit Tcti(const std::string& conf);
  Tcti(const Tcti&) = delete;
  Tcti& operator=(const Tcti&) = delete;

  TSS2_TCTI_CONTEXT* context() { return reinterpret_cast<TSS2_TCTI_CONTEXT*>(&abi_); }
  // True once a command was sent and its response not read whole: nothing more can be said over this connection.
  bool broken() const { return broken_; }
  // From now on a wait for the TPM ends as soon as `stop_fd` is readable; -1: never.
  void SetStopFd(int stop_fd) { stop_fd_ = stop_fd; }

 private:
  struct Abi {
    TSS2_TCTI_CONTEXT_COMMON_V1 common;
    Tcti* self;
  };
  static TSS2_RC Transmit(TSS2_TCTI_CONTEXT* context, size_t size, const uint8_t* command);
  static TSS2_RC Receive(TSS2_TCTI_CONTEXT* context, size_t* size, uint8_t* response, int32_t timeout_ms);
  static TSS2_RC Cancel(TSS2_TCTI_CONTEXT* context);
  static TSS2_RC SetLocality(TSS2_TCTI_CONTEXT* context, uint8_t locality);
  static void Finalize(TSS2_TCTI_CONTEXT* context);

  TSS2_RC Fill();
  bool Wait(short events);

  Abi abi_{};
  UniqueFd fd_;
  int stop_fd_ = -1;
  bool broken_ = false;
  std::vector<uint8_t> response_;  // ESYS asks for the size first and for the bytes then
};

}  // namespace hullmark::tpm
