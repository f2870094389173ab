#include "tpm_error.h"

#include <tss2/tss2_rc.h>
#include <tss2/tss2_tpm2_types.h>

namespace hullmark::tpm {

const char* CodeName(Code code) {
  switch (code) {
    case Code::kAbsent: return "ABSENT";
    case Code::kBusy: return "BUSY";
    case Code::kLockout: return "LOCKOUT";
    case Code::kAuth: return "AUTH";
    case Code::kReplaced: return "REPLACED";
    case Code::kNotFound: return "NOT_FOUND";
    case Code::kBadInput: return "BAD_INPUT";
    case Code::kTpm: return "TPM";
  }
  return "TPM";
}

namespace {

// Format-one response codes carry a handle, session or parameter number beside the error (TPM 2.0 Part 1, 39.4).
TSS2_RC WithoutIndex(TSS2_RC rc) { return (rc & TPM2_RC_FMT1) ? (rc & (TPM2_RC_FMT1 | 0x3f)) : rc; }

Code CodeOfTpm(TSS2_RC rc) {
  switch (WithoutIndex(rc)) {
    case TPM2_RC_LOCKOUT: return Code::kLockout;
    case TPM2_RC_AUTH_FAIL:
    case TPM2_RC_BAD_AUTH:
    case TPM2_RC_POLICY_FAIL:
    case TPM2_RC_AUTH_UNAVAILABLE: return Code::kAuth;
    case TPM2_RC_INTEGRITY: return Code::kReplaced;
    case TPM2_RC_HANDLE:
    case TPM2_RC_REFERENCE_H0: return Code::kNotFound;
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_NV_RATE:
    case TPM2_RC_NV_UNAVAILABLE:
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_OBJECT_HANDLES:
    case TPM2_RC_SESSION_MEMORY:
    case TPM2_RC_SESSION_HANDLES:
    case TPM2_RC_MEMORY: return Code::kBusy;
    case TPM2_RC_SIZE:
    case TPM2_RC_VALUE:
    case TPM2_RC_HASH: return Code::kBadInput;
    default: return Code::kTpm;
  }
}

}  // namespace

Code CodeOf(TSS2_RC rc) {
  const TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;
  if (layer == TSS2_TPM_RC_LAYER || layer == TSS2_RESMGR_TPM_RC_LAYER) return CodeOfTpm(rc & ~TSS2_RC_LAYER_MASK);
  if (layer == TSS2_TCTI_RC_LAYER) return Code::kAbsent;
  switch (rc & ~TSS2_RC_LAYER_MASK) {
    case TSS2_BASE_RC_IO_ERROR:
    case TSS2_BASE_RC_NO_CONNECTION: return Code::kAbsent;
    case TSS2_BASE_RC_TRY_AGAIN: return Code::kBusy;
    case TSS2_BASE_RC_BAD_VALUE:
    case TSS2_BASE_RC_BAD_SIZE: return Code::kBadInput;
    default: return Code::kTpm;
  }
}

TpmError::TpmError(const char* call, TSS2_RC rc)
    : std::runtime_error(std::string(call) + ": " + Tss2_RC_Decode(rc)), code_(CodeOf(rc)), rc_(rc) {}

}  // namespace hullmark::tpm
