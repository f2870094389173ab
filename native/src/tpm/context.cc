#include "context.h"

#include <tss2/tss2_tctildr.h>

namespace hullmark::tpm {

namespace {

constexpr uint32_t kSweepLimit = 64;  // more than any TPM has slots

bool StartsWith(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

TPMT_SYM_DEF NoEncryption() {
  TPMT_SYM_DEF symmetric{};
  symmetric.algorithm = TPM2_ALG_NULL;
  return symmetric;
}

Handle StartSession(const Context& context, TPM2_SE type) {
  const TPMT_SYM_DEF symmetric = NoEncryption();
  ESYS_TR session = ESYS_TR_NONE;
  Check("StartAuthSession", Esys_StartAuthSession(context.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, nullptr, type,
                                                  &symmetric, TPM2_ALG_SHA256, &session));
  return Handle(context.get(), session);
}

}  // namespace

Context::Context(const std::string& tcti, int stop_fd) {
  managed_ = StartsWith(tcti, "device:/dev/tpmrm") || StartsWith(tcti, "tabrmd");
  if (Tcti::Supports(tcti)) {
    own_ = std::make_unique<Tcti>(tcti);
    own_->SetStopFd(stop_fd);
  } else {
    Check("Tss2_TctiLdr_Initialize", Tss2_TctiLdr_Initialize(tcti.c_str(), &loaded_));
  }
  const TSS2_RC rc = Esys_Initialize(&esys_, own_ ? own_->context() : loaded_, nullptr);
  if (rc != TSS2_RC_SUCCESS) {
    Tss2_TctiLdr_Finalize(&loaded_);
    throw TpmError("Esys_Initialize", rc);
  }
}

Context::~Context() {
  Esys_Finalize(&esys_);
  Tss2_TctiLdr_Finalize(&loaded_);
}

void Context::Sweep() {
  if (managed_) return;
  SweepFrom(TPM2_TRANSIENT_FIRST);
  SweepFrom(TPM2_LOADED_SESSION_FIRST);
  SweepFrom(TPM2_ACTIVE_SESSION_FIRST);
}

void Context::SweepFrom(uint32_t first) {
  TPMI_YES_NO more = TPM2_NO;
  TPMS_CAPABILITY_DATA* data = nullptr;
  Check("GetCapability(HANDLES)", Esys_GetCapability(esys_, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, first, kSweepLimit, &more, &data));
  const Esys<TPMS_CAPABILITY_DATA> owner(data);
  for (uint32_t i = 0; i < data->data.handles.count; i++) {
    ESYS_TR object = ESYS_TR_NONE;
    Check("TR_FromTPMPublic", Esys_TR_FromTPMPublic(esys_, data->data.handles.handle[i], ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &object));
    Check("FlushContext", Esys_FlushContext(esys_, object));
    swept_++;
  }
}

Handle::~Handle() {
  if (handle_ == ESYS_TR_NONE) return;
  // A failure to flush leaves a slot taken until the next sweep: nothing better to do in a destructor.
  if (!flush_ || Esys_FlushContext(esys_, handle_) != TSS2_RC_SUCCESS) Esys_TR_Close(esys_, &handle_);
}

Handle EndorsementSession(const Context& context) {
  Handle session = StartSession(context, TPM2_SE_POLICY);
  Check("PolicySecret", Esys_PolicySecret(context.get(), ESYS_TR_RH_ENDORSEMENT, session.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, nullptr,
                                          nullptr, nullptr, 0, nullptr, nullptr));
  return session;
}

Handle HmacSession(const Context& context) { return StartSession(context, TPM2_SE_HMAC); }

}  // namespace hullmark::tpm
