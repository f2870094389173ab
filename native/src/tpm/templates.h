// Public areas that keys are made from. EK templates: TCG EK Credential Profile for TPM 2.0, 2.6, Annex B.
#pragma once
#include <tss2/tss2_tpm2_types.h>

#include <cstdint>

namespace hullmark::tpm {

// The low range has RSA-2048 and P-256, the high range these two by other templates (so that they are other keys) and P-384.
enum class EkKind { kRsa2048, kP256, kRsa2048High, kP256High, kP384 };
inline bool IsHighRange(EkKind kind) { return kind == EkKind::kRsa2048High || kind == EkKind::kP256High || kind == EkKind::kP384; }

// NV indices of the certificates of issuing CAs (profile 2.2.1.5.2), both included.
constexpr uint32_t kChainFirst = 0x01C00100;
constexpr uint32_t kChainLast = 0x01C001FF;

struct EkSlot {
  uint32_t persistent_handle;
  uint32_t certificate_index;
};

// Reserved handles and NV indices of the profile (but for RSA-2048 of the low range the handle is a habit, not a rule).
EkSlot SlotOf(EkKind kind);
TPM2B_PUBLIC EkTemplate(EkKind kind);
// True when `found` (read from a persistent handle that anyone with owner rights may fill) was made from the template of `kind`.
bool IsMadeFrom(EkKind kind, const TPM2B_PUBLIC& found);
// ECC P-256 restricted signing key, ECDSA with SHA-256. noDA: a guess at a 32-byte random authValue need not lock the whole TPM.
TPM2B_PUBLIC AkTemplate();

}  // namespace hullmark::tpm
