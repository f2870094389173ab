#include "device.h"

#include <algorithm>

#include "marshal.h"

namespace hullmark::tpm {

namespace {

constexpr size_t kMaxNvBytes = 16 * 1024;  // a certificate is below 4 kB; other NV indices are not read
constexpr size_t kMaxChainBytes = 64 * 1024;
constexpr uint16_t kNvChunkBytes = 512;    // below the smallest TPM2_PT_NV_BUFFER_MAX of the PC Client profile
constexpr uint32_t kPropertyCount = 127;

void AppendText(std::string& text, uint32_t word) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    const char c = static_cast<char>(word >> shift);
    if (c >= 0x20 && c < 0x7f) text.push_back(c);
  }
}

void TrimRight(std::string& text) { text.erase(text.find_last_not_of(' ') + 1); }

}  // namespace

Device::Device(const std::string& tcti, const Bytes& endorsement_auth, int stop_fd) : context_(tcti, stop_fd) {
  context_.Sweep();
  const auto auth = Tpm2b<TPM2B_AUTH>("endorsement authValue", endorsement_auth);
  Check("TR_SetAuth", Esys_TR_SetAuth(context_.get(), ESYS_TR_RH_ENDORSEMENT, &auth));
}

Device::~Device() {
  for (auto& [id, object] : aks_) Handle(context_.get(), object);
}

Capabilities Device::ReadCapabilities() {
  Capabilities result;
  result.managed = context_.managed();
  result.swept = context_.swept();
  TPMI_YES_NO more = TPM2_NO;
  TPMS_CAPABILITY_DATA* data = nullptr;
  Check("GetCapability(PROPERTIES)", Esys_GetCapability(context_.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES, TPM2_PT_FIXED,
                                                        kPropertyCount, &more, &data));
  const Esys<TPMS_CAPABILITY_DATA> properties(data);
  for (uint32_t i = 0; i < data->data.tpmProperties.count; i++) {
    const TPMS_TAGGED_PROPERTY& property = data->data.tpmProperties.tpmProperty[i];
    if (property.property == TPM2_PT_MANUFACTURER) AppendText(result.manufacturer, property.value);
    if (property.property >= TPM2_PT_VENDOR_STRING_1 && property.property <= TPM2_PT_VENDOR_STRING_4) AppendText(result.vendor, property.value);
    if (property.property == TPM2_PT_FIRMWARE_VERSION_1) result.firmware1 = property.value;
    if (property.property == TPM2_PT_FIRMWARE_VERSION_2) result.firmware2 = property.value;
  }
  TrimRight(result.manufacturer);
  TrimRight(result.vendor);
  Check("GetCapability(PCRS)", Esys_GetCapability(context_.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_PCRS, 0, 1, &more, &data));
  const Esys<TPMS_CAPABILITY_DATA> pcrs(data);
  for (uint32_t i = 0; i < data->data.assignedPCR.count; i++) {
    const TPMS_PCR_SELECTION& selection = data->data.assignedPCR.pcrSelections[i];
    uint32_t mask = 0;
    for (uint32_t byte = 0; byte < selection.sizeofSelect && byte < 3; byte++) mask |= uint32_t{selection.pcrSelect[byte]} << (8 * byte);
    if (mask != 0) result.banks.push_back({selection.hash, mask});
  }
  return result;
}

std::optional<Bytes> Device::ReadNv(uint32_t index) {
  ESYS_TR object = ESYS_TR_NONE;
  const TSS2_RC rc = Esys_TR_FromTPMPublic(context_.get(), index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &object);
  if (rc != TSS2_RC_SUCCESS && CodeOf(rc) == Code::kNotFound) return std::nullopt;
  Check("TR_FromTPMPublic(NV)", rc);
  const Handle nv(context_.get(), object, false);
  TPM2B_NV_PUBLIC* nv_public = nullptr;
  TPM2B_NAME* name = nullptr;
  Check("NV_ReadPublic", Esys_NV_ReadPublic(context_.get(), nv.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &nv_public, &name));
  const Esys<TPM2B_NV_PUBLIC> public_owner(nv_public);
  const Esys<TPM2B_NAME> name_owner(name);
  const size_t total = nv_public->nvPublic.dataSize;
  if (total > kMaxNvBytes) throw TpmError(Code::kTpm, "NV index of " + std::to_string(total) + " bytes, limit " + std::to_string(kMaxNvBytes));
  if ((nv_public->nvPublic.attributes & TPMA_NV_WRITTEN) == 0) return std::nullopt;
  const bool by_owner = (nv_public->nvPublic.attributes & TPMA_NV_AUTHREAD) == 0;
  Bytes content;
  while (content.size() < total) {
    const auto want = static_cast<uint16_t>(std::min<size_t>(kNvChunkBytes, total - content.size()));
    TPM2B_MAX_NV_BUFFER* chunk = nullptr;
    Check("NV_Read", Esys_NV_Read(context_.get(), by_owner ? ESYS_TR_RH_OWNER : nv.get(), nv.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, want,
                                  static_cast<uint16_t>(content.size()), &chunk));
    const Esys<TPM2B_MAX_NV_BUFFER> owner(chunk);
    if (chunk->size == 0 || chunk->size > want) throw TpmError(Code::kTpm, "NV_Read returned " + std::to_string(chunk->size) + " bytes");
    content.insert(content.end(), chunk->buffer, chunk->buffer + chunk->size);
  }
  return content;
}

Bytes Device::ReadChain() {
  TPMI_YES_NO more = TPM2_NO;
  TPMS_CAPABILITY_DATA* data = nullptr;
  Check("GetCapability(HANDLES)", Esys_GetCapability(context_.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, kChainFirst,
                                                     TPM2_MAX_CAP_HANDLES, &more, &data));
  const Esys<TPMS_CAPABILITY_DATA> owner(data);
  Bytes chain;
  for (uint32_t i = 0; i < data->data.handles.count; i++) {
    const uint32_t index = data->data.handles.handle[i];
    if (index < kChainFirst || index > kChainLast) break;
    std::optional<Bytes> content;
    try {
      content = ReadNv(index);
    } catch (const TpmError& error) {
      if (error.code() != Code::kAuth && error.code() != Code::kTpm) throw;
      break;
    }
    if (!content || chain.size() + content->size() > kMaxChainBytes) break;
    chain.insert(chain.end(), content->begin(), content->end());
  }
  return chain;
}

EkCertificates Device::ReadEkCertificates(EkKind kind) {
  EkCertificates result;
  result.certificate = ReadNv(SlotOf(kind).certificate_index);
  if (result.certificate) result.chain = ReadChain();
  return result;
}

}  // namespace hullmark::tpm
