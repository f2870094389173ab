// Public areas that keys are made from. EK templates: TCG EK Credential Profile for TPM 2.0, 2.6, Annex B.
#pragma once
#include <tss2/tss2_tpm2_types.h>

#include <cstdint>

namespace hullmark::tpm {

enum class EkKind { kRsa2048, kP256, kP384 };

struct EkSlot {
  uint32_t persistent_handle;
  uint32_t certificate_index;
};

// Reserved handles and NV indices of the profile (P-256: the handle is a habit, not a rule).
EkSlot SlotOf(EkKind kind);
TPM2B_PUBLIC EkTemplate(EkKind kind);
// True when `found` (read from a persistent handle that anyone with owner rights may fill) was made from the template of `kind`.
bool IsMadeFrom(EkKind kind, const TPM2B_PUBLIC& found);
// ECC P-256 restricted signing key, ECDSA with SHA-256. noDA: a guess at a 32-byte random authValue need not lock the whole TPM.
TPM2B_PUBLIC AkTemplate();

}  // namespace hullmark::tpm
