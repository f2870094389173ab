// EK and AK: made, loaded, activated, used for quotes.
#include "device.h"
#include "marshal.h"

namespace hullmark::tpm {

namespace {

constexpr size_t kMaxLoadedAks = 2;  // a TPM must have only three transient slots

// What authorises use of an EK: a policy in the low range, its (empty) authValue in the high range.
std::optional<Handle> EkSession(const Context& context, EkKind kind) {
  if (IsHighRange(kind)) return std::nullopt;
  return EndorsementSession(context);
}
ESYS_TR SessionOrPassword(const std::optional<Handle>& session) { return session ? session->get() : ESYS_TR_PASSWORD; }

}  // namespace

// The EK at its reserved handle when it is there and made from the template, else made anew: the same key, from the endorsement seed.
Handle Device::LoadEk(EkKind kind, Endorsement* description) {
  const uint32_t persistent = SlotOf(kind).persistent_handle;
  ESYS_TR object = ESYS_TR_NONE;
  const TSS2_RC rc = Esys_TR_FromTPMPublic(context_.get(), persistent, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &object);
  if (rc == TSS2_RC_SUCCESS) {
    Handle ek(context_.get(), object, false);
    TPM2B_PUBLIC* found = nullptr;
    Check("ReadPublic(EK)", Esys_ReadPublic(context_.get(), object, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &found, nullptr, nullptr));
    const Esys<TPM2B_PUBLIC> owner(found);
    if (IsMadeFrom(kind, *found)) {
      if (description) {
        description->public_area = Marshal("TPM2B_PUBLIC", Tss2_MU_TPM2B_PUBLIC_Marshal, *found);
        description->persistent_handle = persistent;
      }
      return ek;
    }
  } else if (CodeOf(rc) != Code::kNotFound) {
    throw TpmError("TR_FromTPMPublic(EK)", rc);
  }
  const TPM2B_PUBLIC area = EkTemplate(kind);
  const TPM2B_SENSITIVE_CREATE sensitive{};
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION creation_pcrs{};
  TPM2B_PUBLIC* made = nullptr;
  Check("CreatePrimary(EK)", Esys_CreatePrimary(context_.get(), ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &area,
                                                &outside, &creation_pcrs, &object, &made, nullptr, nullptr, nullptr));
  Handle ek(context_.get(), object);
  const Esys<TPM2B_PUBLIC> owner(made);
  if (description) description->public_area = Marshal("TPM2B_PUBLIC", Tss2_MU_TPM2B_PUBLIC_Marshal, *made);
  return ek;
}

Endorsement Device::ReadEndorsement(EkKind kind) {
  Endorsement result;
  LoadEk(kind, &result);
  return result;
}

KeyBlobs Device::CreateAk(EkKind kind, const Bytes& auth) {
  const Handle ek = LoadEk(kind, nullptr);
  const std::optional<Handle> session = EkSession(context_, kind);
  TPM2B_SENSITIVE_CREATE sensitive{};
  sensitive.sensitive.userAuth = Tpm2b<TPM2B_AUTH>("AK authValue", auth);
  const TPM2B_PUBLIC area = AkTemplate();
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION creation_pcrs{};
  TPM2B_PRIVATE* private_area = nullptr;
  TPM2B_PUBLIC* public_area = nullptr;
  Check("Create(AK)", Esys_Create(context_.get(), ek.get(), SessionOrPassword(session), ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &area, &outside,
                                  &creation_pcrs, &private_area, &public_area, nullptr, nullptr, nullptr));
  const Esys<TPM2B_PRIVATE> private_owner(private_area);
  const Esys<TPM2B_PUBLIC> public_owner(public_area);
  return {Marshal("TPM2B_PUBLIC", Tss2_MU_TPM2B_PUBLIC_Marshal, *public_area), Marshal("TPM2B_PRIVATE", Tss2_MU_TPM2B_PRIVATE_Marshal, *private_area)};
}

uint32_t Device::LoadAk(EkKind kind, const KeyBlobs& blobs) {
  const auto public_area = Unmarshal<TPM2B_PUBLIC>("AK TPM2B_PUBLIC", Tss2_MU_TPM2B_PUBLIC_Unmarshal, blobs.public_area);
  const auto private_area = Unmarshal<TPM2B_PRIVATE>("AK TPM2B_PRIVATE", Tss2_MU_TPM2B_PRIVATE_Unmarshal, blobs.private_area);
  if (aks_.size() >= kMaxLoadedAks) throw TpmError(Code::kBusy, "too many AKs are loaded");
  const Handle ek = LoadEk(kind, nullptr);
  const std::optional<Handle> session = EkSession(context_, kind);
  ESYS_TR object = ESYS_TR_NONE;
  Check("Load(AK)", Esys_Load(context_.get(), ek.get(), SessionOrPassword(session), ESYS_TR_NONE, ESYS_TR_NONE, &private_area, &public_area, &object));
  aks_.emplace(next_ak_, object);
  return next_ak_++;
}

ESYS_TR Device::AkOf(uint32_t id) const {
  const auto found = aks_.find(id);
  if (found == aks_.end()) throw TpmError(Code::kNotFound, "no AK is loaded under this id");
  return found->second;
}

void Device::FlushAk(uint32_t id) {
  Handle(context_.get(), AkOf(id));
  aks_.erase(id);
}

Bytes Device::Activate(EkKind kind, uint32_t ak, const Bytes& auth, const Bytes& credential, const Bytes& secret) {
  const auto id_object = Unmarshal<TPM2B_ID_OBJECT>("TPM2B_ID_OBJECT", Tss2_MU_TPM2B_ID_OBJECT_Unmarshal, credential);
  const auto encrypted = Unmarshal<TPM2B_ENCRYPTED_SECRET>("TPM2B_ENCRYPTED_SECRET", Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal, secret);
  const auto auth_value = Tpm2b<TPM2B_AUTH>("AK authValue", auth);
  const ESYS_TR object = AkOf(ak);
  Check("TR_SetAuth", Esys_TR_SetAuth(context_.get(), object, &auth_value));
  const Handle ek = LoadEk(kind, nullptr);
  const std::optional<Handle> session = EkSession(context_, kind);
  const Handle ak_session = HmacSession(context_);
  TPM2B_DIGEST* plain = nullptr;
  Check("ActivateCredential", Esys_ActivateCredential(context_.get(), object, ek.get(), ak_session.get(), SessionOrPassword(session), ESYS_TR_NONE, &id_object,
                                                      &encrypted, &plain));
  const Esys<TPM2B_DIGEST> owner(plain);
  return Bytes(plain->buffer, plain->buffer + plain->size);
}

QuoteResult Device::Quote(uint32_t ak, const Bytes& auth, const Bytes& extra_data, const std::vector<Bank>& banks) {
  const TPML_PCR_SELECTION selection = SelectionOf(banks);
  const auto qualifying = Tpm2b<TPM2B_DATA>("extraData", extra_data);
  const auto auth_value = Tpm2b<TPM2B_AUTH>("AK authValue", auth);
  const ESYS_TR object = AkOf(ak);
  Check("TR_SetAuth", Esys_TR_SetAuth(context_.get(), object, &auth_value));
  const Handle session = HmacSession(context_);
  TPMT_SIG_SCHEME scheme{};
  scheme.scheme = TPM2_ALG_NULL;
  TPM2B_ATTEST* attest = nullptr;
  TPMT_SIGNATURE* signature = nullptr;
  Check("Quote", Esys_Quote(context_.get(), object, session.get(), ESYS_TR_NONE, ESYS_TR_NONE, &qualifying, &scheme, &selection, &attest, &signature));
  const Esys<TPM2B_ATTEST> attest_owner(attest);
  const Esys<TPMT_SIGNATURE> signature_owner(signature);
  if (signature->sigAlg != TPM2_ALG_ECDSA || signature->signature.ecdsa.hash != TPM2_ALG_SHA256) throw TpmError(Code::kTpm, "the AK signs with another scheme");
  return {Bytes(attest->attestationData, attest->attestationData + attest->size), EcdsaDer(signature->signature.ecdsa)};
}

}  // namespace hullmark::tpm
