#include "marshal.h"

namespace hullmark::tpm {

namespace {

constexpr uint8_t kInteger = 0x02;
constexpr uint8_t kSequence = 0x30;
constexpr size_t kMaxIntegerBytes = 48;  // P-384: the whole stays below 128 bytes, so that every DER length is one byte

void AppendInteger(Bytes& out, const TPM2B_ECC_PARAMETER& value) {
  size_t start = 0;
  while (start + 1 < value.size && value.buffer[start] == 0) start++;
  const size_t length = value.size - start;
  if (value.size == 0 || length > kMaxIntegerBytes) throw TpmError(Code::kTpm, "ECDSA signature part of " + std::to_string(value.size) + " bytes");
  const bool pad = (value.buffer[start] & 0x80) != 0;
  out.push_back(kInteger);
  out.push_back(static_cast<uint8_t>(length + (pad ? 1 : 0)));
  if (pad) out.push_back(0);
  out.insert(out.end(), value.buffer + start, value.buffer + value.size);
}

}  // namespace

Bytes EcdsaDer(const TPMS_SIGNATURE_ECC& signature) {
  Bytes der = {kSequence, 0};
  AppendInteger(der, signature.signatureR);
  AppendInteger(der, signature.signatureS);
  der[1] = static_cast<uint8_t>(der.size() - 2);
  return der;
}

}  // namespace hullmark::tpm
