// What Hullmark asks of a TPM. Blocking, one call at a time; every transient object and session is flushed before return, but for AKs
// that LoadAk keeps until FlushAk or the end. Throws TpmError.
#pragma once
#include <map>
#include <optional>

#include "context.h"
#include "templates.h"

namespace hullmark::tpm {

struct Bank {
  uint16_t algorithm;  // TPM2_ALG_ID
  uint32_t mask;       // bit n: PCR n, 0..23
};
// Throws BAD_INPUT on more banks than the TSS knows or a PCR above 23.
TPML_PCR_SELECTION SelectionOf(const std::vector<Bank>& banks);
struct BankValues {
  uint16_t algorithm;
  std::vector<std::pair<uint32_t, Bytes>> pcrs;  // ascending
};
struct Capabilities {
  std::string manufacturer;  // four characters, trailing spaces and NULs cut
  std::string vendor;
  uint32_t firmware1 = 0;
  uint32_t firmware2 = 0;
  std::vector<Bank> banks;  // those with at least one PCR
  bool managed = false;
  uint32_t swept = 0;
};
struct Endorsement {
  Bytes public_area;  // TPM2B_PUBLIC
  std::optional<uint32_t> persistent_handle;
};
struct EkCertificates {
  std::optional<Bytes> certificate;  // as stored in NV: DER, perhaps padded
  Bytes chain;                       // what the indices of the chain hold, in their order: certificates may go on from one to the next
};
struct KeyBlobs {
  Bytes public_area;   // TPM2B_PUBLIC
  Bytes private_area;  // TPM2B_PRIVATE, wrapped by the EK
};
struct QuoteResult {
  Bytes attest;     // TPMS_ATTEST, the bytes that are signed
  Bytes signature;  // ECDSA DER
};

class Device {
 public:
  // `endorsement_auth`: authValue of the endorsement hierarchy, empty unless someone took ownership of it.
  // Connects and sweeps. `stop_fd` as for SetStopFd.
  Device(const std::string& tcti, const Bytes& endorsement_auth, int stop_fd);
  ~Device();

  bool broken() const { return context_.broken(); }
  // See Context::SetStopFd.
  void SetStopFd(int stop_fd) { context_.SetStopFd(stop_fd); }

  Capabilities ReadCapabilities();
  Endorsement ReadEndorsement(EkKind kind);
  // Makes no key. The chain is empty where there is no certificate, and ends before an index that cannot be read.
  EkCertificates ReadEkCertificates(EkKind kind);
  KeyBlobs CreateAk(EkKind kind, const Bytes& auth);
  // Returns an id for Activate, Quote and FlushAk.
  uint32_t LoadAk(EkKind kind, const KeyBlobs& blobs);
  void FlushAk(uint32_t id);
  // `credential` TPM2B_ID_OBJECT, `secret` TPM2B_ENCRYPTED_SECRET. AUTH or REPLACED when they were not made for this AK and this EK.
  Bytes Activate(EkKind kind, uint32_t ak, const Bytes& auth, const Bytes& credential, const Bytes& secret);
  // `extra_data` of at most 64 bytes (swtpm: 66).
  QuoteResult Quote(uint32_t ak, const Bytes& auth, const Bytes& extra_data, const std::vector<Bank>& selection);
  // All values of one update counter. BUSY when PCRs keep changing. A selected PCR that the TPM does not have is left out.
  std::vector<BankValues> ReadPcrs(const std::vector<Bank>& selection);
  // TPM2_PCR_Extend with an empty authValue.
  void ExtendPcr(uint32_t pcr, uint16_t algorithm, const Bytes& digest);

 private:
  Handle LoadEk(EkKind kind, Endorsement* description);
  std::optional<Bytes> ReadNv(uint32_t index);
  Bytes ReadChain();
  ESYS_TR AkOf(uint32_t id) const;

  Context context_;
  std::map<uint32_t, ESYS_TR> aks_;
  uint32_t next_ak_ = 1;
};

}  // namespace hullmark::tpm
