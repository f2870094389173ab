#include "templates.h"

#include <cstring>

namespace hullmark::tpm {

namespace {

// PolicySecret(TPM_RH_ENDORSEMENT), SHA-256 (profile B.6.2, PolicyA).
constexpr uint8_t kPolicyASha256[] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24,
                                      0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA};
// PolicyOR(PolicyA, PolicyC), SHA-256 (profile B.6.5, PolicyB).
constexpr uint8_t kPolicyBSha256[] = {0xCA, 0x3D, 0x0A, 0x99, 0xA2, 0xB9, 0x39, 0x06, 0xF7, 0xA3, 0x34, 0x24, 0x14, 0xEF, 0xCF, 0xB3,
                                      0xA3, 0x85, 0xD4, 0x4C, 0xD1, 0xFD, 0x45, 0x90, 0x89, 0xD1, 0x9B, 0x50, 0x71, 0xC0, 0xB7, 0xA0};
// PolicyOR(PolicyA, PolicyC), SHA-384 (profile B.6.5, PolicyB).
constexpr uint8_t kPolicyBSha384[] = {0xB2, 0x6E, 0x7D, 0x28, 0xD1, 0x1A, 0x50, 0xBC, 0x53, 0xD8, 0x82, 0xBC, 0xF5, 0xFD, 0x3A, 0x1A,
                                      0x07, 0x41, 0x48, 0xBB, 0x35, 0xD3, 0xB4, 0xE4, 0xCB, 0x1C, 0x0A, 0xD9, 0xBD, 0xE4, 0x19, 0xCA,
                                      0xCB, 0x47, 0xBA, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0F, 0x9F, 0xC0, 0x00, 0xF3, 0xF8, 0x0E, 0x12};
constexpr uint16_t kRsaBytes = 256;
constexpr uint16_t kP256Bytes = 32;

constexpr TPMA_OBJECT kEkLow = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY |
                               TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;

template <size_t N>
void SetPolicy(TPMT_PUBLIC& area, const uint8_t (&policy)[N]) {
  area.authPolicy.size = N;
  std::memcpy(area.authPolicy.buffer, policy, N);
}

void SetAesCfb(TPMT_SYM_DEF_OBJECT& symmetric, uint16_t bits) {
  symmetric.algorithm = TPM2_ALG_AES;
  symmetric.keyBits.aes = bits;
  symmetric.mode.aes = TPM2_ALG_CFB;
}

void SetRsa2048(TPMT_PUBLIC& area, uint16_t unique_bytes) {
  area.type = TPM2_ALG_RSA;
  SetAesCfb(area.parameters.rsaDetail.symmetric, 128);
  area.parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
  area.parameters.rsaDetail.keyBits = 2048;
  area.unique.rsa.size = unique_bytes;
}

void SetEcc(TPMT_PUBLIC& area, TPM2_ECC_CURVE curve, uint16_t aes_bits, uint16_t unique_bytes) {
  area.type = TPM2_ALG_ECC;
  SetAesCfb(area.parameters.eccDetail.symmetric, aes_bits);
  area.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
  area.parameters.eccDetail.kdf.scheme = TPM2_ALG_NULL;
  area.parameters.eccDetail.curveID = curve;
  area.unique.ecc.x.size = unique_bytes;
  area.unique.ecc.y.size = unique_bytes;
}

}  // namespace

EkSlot SlotOf(EkKind kind) {
  switch (kind) {
    case EkKind::kRsa2048: return {0x81010001, 0x01C00002};
    case EkKind::kP256: return {0x81010002, 0x01C0000A};
    case EkKind::kRsa2048High: return {0x81010012, 0x01C00012};
    case EkKind::kP256High: return {0x81010014, 0x01C00014};
    case EkKind::kP384: return {0x81010016, 0x01C00016};
  }
  return {0, 0};
}

TPM2B_PUBLIC EkTemplate(EkKind kind) {
  TPM2B_PUBLIC result{};
  TPMT_PUBLIC& area = result.publicArea;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = kEkLow | (IsHighRange(kind) ? TPMA_OBJECT_USERWITHAUTH : 0);
  switch (kind) {
    case EkKind::kRsa2048:
      SetPolicy(area, kPolicyASha256);
      SetRsa2048(area, kRsaBytes);
      break;
    case EkKind::kP256:
      SetPolicy(area, kPolicyASha256);
      SetEcc(area, TPM2_ECC_NIST_P256, 128, kP256Bytes);
      break;
    case EkKind::kRsa2048High:
      SetPolicy(area, kPolicyBSha256);
      SetRsa2048(area, 0);
      break;
    case EkKind::kP256High:
      SetPolicy(area, kPolicyBSha256);
      SetEcc(area, TPM2_ECC_NIST_P256, 128, 0);
      break;
    case EkKind::kP384:
      area.nameAlg = TPM2_ALG_SHA384;
      SetPolicy(area, kPolicyBSha384);
      SetEcc(area, TPM2_ECC_NIST_P384, 256, 0);
      break;
  }
  return result;
}

bool IsMadeFrom(EkKind kind, const TPM2B_PUBLIC& found) {
  const TPMT_PUBLIC want = EkTemplate(kind).publicArea;
  const TPMT_PUBLIC& got = found.publicArea;
  if (got.type != want.type || got.nameAlg != want.nameAlg || got.objectAttributes != want.objectAttributes) return false;
  if (got.authPolicy.size != want.authPolicy.size || std::memcmp(got.authPolicy.buffer, want.authPolicy.buffer, want.authPolicy.size) != 0) return false;
  if (want.type == TPM2_ALG_RSA) return got.parameters.rsaDetail.keyBits == want.parameters.rsaDetail.keyBits;
  return got.parameters.eccDetail.curveID == want.parameters.eccDetail.curveID;
}

TPM2B_PUBLIC AkTemplate() {
  TPM2B_PUBLIC result{};
  TPMT_PUBLIC& area = result.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                          TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT;
  area.parameters.eccDetail.symmetric.algorithm = TPM2_ALG_NULL;
  area.parameters.eccDetail.scheme.scheme = TPM2_ALG_ECDSA;
  area.parameters.eccDetail.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA256;
  area.parameters.eccDetail.curveID = TPM2_ECC_NIST_P256;
  area.parameters.eccDetail.kdf.scheme = TPM2_ALG_NULL;
  return result;
}

}  // namespace hullmark::tpm
