// PCR values: read whole under one update counter, and extended (by tests and by the demo).
#include "device.h"

namespace hullmark::tpm {

namespace {

constexpr uint32_t kPcrCount = 24;
constexpr int kMaxAttempts = 5;      // times that PCRs may change under us
constexpr int kMaxReadsAnAttempt = 64;  // a TPM returns at least one of at most 24 × 16 values a call, and eight as a rule

bool IsEmpty(const TPML_PCR_SELECTION& selection) {
  for (uint32_t i = 0; i < selection.count; i++)
    for (uint32_t byte = 0; byte < selection.pcrSelections[i].sizeofSelect; byte++)
      if (selection.pcrSelections[i].pcrSelect[byte] != 0) return false;
  return true;
}

// Files the values of one TPM2_PCR_Read under their bank, and takes them out of what remains. Values come in the order of the returned selection.
size_t Collect(const TPML_PCR_SELECTION& returned, const TPML_DIGEST& values, TPML_PCR_SELECTION& remaining, std::vector<BankValues>& result) {
  size_t next = 0;
  for (uint32_t i = 0; i < returned.count; i++) {
    const TPMS_PCR_SELECTION& entry = returned.pcrSelections[i];
    for (uint32_t pcr = 0; pcr < uint32_t{entry.sizeofSelect} * 8 && pcr < kPcrCount; pcr++) {
      if ((entry.pcrSelect[pcr / 8] & (1 << (pcr % 8))) == 0) continue;
      if (next >= values.count) throw TpmError(Code::kTpm, "PCR_Read selected more PCRs than it returned");
      const TPM2B_DIGEST& value = values.digests[next++];
      for (uint32_t j = 0; j < remaining.count; j++) {
        if (remaining.pcrSelections[j].hash != entry.hash) continue;
        remaining.pcrSelections[j].pcrSelect[pcr / 8] &= static_cast<uint8_t>(~(1 << (pcr % 8)));
        result[j].pcrs.emplace_back(pcr, Bytes(value.buffer, value.buffer + value.size));
      }
    }
  }
  return next;
}

}  // namespace

TPML_PCR_SELECTION SelectionOf(const std::vector<Bank>& banks) {
  TPML_PCR_SELECTION selection{};
  if (banks.size() > TPM2_NUM_PCR_BANKS) throw TpmError(Code::kBadInput, "too many PCR banks");
  for (const Bank& bank : banks) {
    if (bank.mask >> kPcrCount) throw TpmError(Code::kBadInput, "a PCR above 23");
    TPMS_PCR_SELECTION& entry = selection.pcrSelections[selection.count++];
    entry.hash = bank.algorithm;
    entry.sizeofSelect = kPcrCount / 8;
    for (uint32_t byte = 0; byte < kPcrCount / 8; byte++) entry.pcrSelect[byte] = static_cast<uint8_t>(bank.mask >> (8 * byte));
  }
  return selection;
}

std::vector<BankValues> Device::ReadPcrs(const std::vector<Bank>& banks) {
  for (int attempt = 0; attempt < kMaxAttempts; attempt++) {
    TPML_PCR_SELECTION remaining = SelectionOf(banks);
    std::vector<BankValues> result;
    for (const Bank& bank : banks) result.push_back({bank.algorithm, {}});
    std::optional<uint32_t> counter;
    bool changed = false;
    for (int reads = 0; !IsEmpty(remaining) && !changed; reads++) {
      if (reads == kMaxReadsAnAttempt) throw TpmError(Code::kTpm, "PCR_Read makes no progress");
      UINT32 now = 0;
      TPML_PCR_SELECTION* returned = nullptr;
      TPML_DIGEST* values = nullptr;
      Check("PCR_Read", Esys_PCR_Read(context_.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &remaining, &now, &returned, &values));
      const Esys<TPML_PCR_SELECTION> returned_owner(returned);
      const Esys<TPML_DIGEST> values_owner(values);
      changed = counter && *counter != now;
      counter = now;
      if (Collect(*returned, *values, remaining, result) == 0) break;  // the rest is not implemented
    }
    if (!changed) return result;
  }
  throw TpmError(Code::kBusy, "PCRs changed during each of " + std::to_string(kMaxAttempts) + " readings");
}

void Device::ExtendPcr(uint32_t pcr, uint16_t algorithm, const Bytes& digest) {
  if (pcr >= kPcrCount) throw TpmError(Code::kBadInput, "a PCR above 23");
  const size_t want = algorithm == TPM2_ALG_SHA1 ? 20 : algorithm == TPM2_ALG_SHA256 ? 32 : algorithm == TPM2_ALG_SHA384 ? 48 : 0;
  if (want == 0 || digest.size() != want) throw TpmError(Code::kBadInput, "digest of another length than its algorithm's");
  TPML_DIGEST_VALUES values{};
  values.count = 1;
  values.digests[0].hashAlg = algorithm;
  std::copy(digest.begin(), digest.end(), reinterpret_cast<uint8_t*>(&values.digests[0].digest));
  Check("PCR_Extend", Esys_PCR_Extend(context_.get(), ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &values));
}

}  // namespace hullmark::tpm
