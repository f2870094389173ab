// JavaScript values to and from the plain structures of device.h. Runs on the JavaScript thread only.
#pragma once
#include <napi.h>

#include "device.h"

namespace hullmark::tpm {

Bytes BytesArg(const Napi::CallbackInfo& info, size_t index, size_t max_bytes);
uint32_t U32Arg(const Napi::CallbackInfo& info, size_t index);
EkKind KindArg(const Napi::CallbackInfo& info, size_t index);
// [{algorithm: number, mask: number}]
std::vector<Bank> BanksArg(const Napi::CallbackInfo& info, size_t index);

Napi::Value ToJs(Napi::Env env, const Bytes& bytes);
Napi::Value ToJs(Napi::Env env, const Capabilities& capabilities);
Napi::Value ToJs(Napi::Env env, const Endorsement& endorsement);
Napi::Value ToJs(Napi::Env env, const EkCertificates& certificates);
Napi::Value ToJs(Napi::Env env, const KeyBlobs& blobs);
Napi::Value ToJs(Napi::Env env, const QuoteResult& quote);
Napi::Value ToJs(Napi::Env env, const std::vector<BankValues>& values);

// An Error with `code` (see Code) and `tssRc` (number, 0 where the TSS was not asked).
Napi::Error ToJs(Napi::Env env, const TpmError& error);

}  // namespace hullmark::tpm
