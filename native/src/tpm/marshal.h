// TPM wire structures to and from bytes. Input comes from the agent's state file or from the verifier: every byte must be consumed.
#pragma once
#include <tss2/tss2_mu.h>

#include <utility>

#include "context.h"

namespace hullmark::tpm {

// Both need only `Marshal(const T*, uint8_t*, size_t, size_t*)` and its reverse, as tss2_mu.h declares them for every type.
template <typename T, typename F>
Bytes Marshal(const char* what, F function, const T& value) {
  Bytes out(sizeof(T) + 64);
  size_t offset = 0;
  Check(what, function(&value, out.data(), out.size(), &offset));
  out.resize(offset);
  return out;
}

template <typename T, typename F>
T Unmarshal(const char* what, F function, const Bytes& bytes) {
  T value{};
  size_t offset = 0;
  const TSS2_RC rc = function(bytes.data(), bytes.size(), &offset, &value);
  if (rc != TSS2_RC_SUCCESS || offset != bytes.size()) throw TpmError(Code::kBadInput, std::string(what) + " is malformed or has trailing bytes");
  return value;
}

// Copies into a TPM2B. Throws BAD_INPUT when it does not fit.
template <typename T>
T Tpm2b(const char* what, const Bytes& bytes) {
  T value{};
  if (bytes.size() > sizeof(value.buffer)) throw TpmError(Code::kBadInput, std::string(what) + ": " + std::to_string(bytes.size()) + " bytes are too many");
  value.size = static_cast<UINT16>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), value.buffer);
  return value;
}

// ECDSA-Sig-Value (RFC 3279, 2.2.3) of r and s as the TPM gives them: big-endian, leading zeros allowed.
Bytes EcdsaDer(const TPMS_SIGNATURE_ECC& signature);

}  // namespace hullmark::tpm
