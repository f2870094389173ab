// Why a TPM operation failed: a closed set of codes for the caller to switch on, and the TSS2_RC behind it.
#pragma once
#include <tss2/tss2_common.h>

#include <stdexcept>
#include <string>

namespace hullmark::tpm {

// ABSENT   no TPM at the TCTI, or the connection to it broke: reopen later
// BUSY     the TPM asked to retry more often than we do, or is out of session or object slots
// LOCKOUT  dictionary-attack lockout
// AUTH     wrong authValue or policy
// REPLACED the key does not belong to this TPM (or the TPM was cleared)
// NOT_FOUND no such handle or NV index
// BAD_INPUT an argument has a wrong size, range or encoding
// TPM      anything else that the TPM or the TSS refused; tssRc says what
enum class Code { kAbsent, kBusy, kLockout, kAuth, kReplaced, kNotFound, kBadInput, kTpm };

const char* CodeName(Code code);
Code CodeOf(TSS2_RC rc);

class TpmError : public std::runtime_error {
 public:
  TpmError(Code code, const std::string& what) : std::runtime_error(what), code_(code), rc_(0) {}
  TpmError(const char* call, TSS2_RC rc);
  Code code() const { return code_; }
  TSS2_RC rc() const { return rc_; }

 private:
  Code code_;
  TSS2_RC rc_;
};

// Throws TpmError unless rc is success. `call` is a literal naming the failed call.
inline void Check(const char* call, TSS2_RC rc) {
  if (rc != TSS2_RC_SUCCESS) throw TpmError(call, rc);
}

}  // namespace hullmark::tpm
