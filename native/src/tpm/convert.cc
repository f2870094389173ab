#include "convert.h"

namespace hullmark::tpm {

namespace {

constexpr uint32_t kMaxBanks = 16;

std::string At(size_t index) { return "argument " + std::to_string(index); }

uint32_t U32Of(const Napi::Value& value, const std::string& where) {
  if (!value.IsNumber()) throw Napi::TypeError::New(value.Env(), where + " is not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= 4294967295.0) || number != static_cast<uint32_t>(number))
    throw Napi::RangeError::New(value.Env(), where + " is not an unsigned 32-bit integer");
  return static_cast<uint32_t>(number);
}

}  // namespace

Bytes BytesArg(const Napi::CallbackInfo& info, size_t index, size_t max_bytes) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw Napi::TypeError::New(info.Env(), At(index) + " is not a Uint8Array");
  const auto array = info[index].As<Napi::Uint8Array>();
  if (array.ByteLength() > max_bytes) throw Napi::RangeError::New(info.Env(), At(index) + " is longer than " + std::to_string(max_bytes) + " bytes");
  return Bytes(array.Data(), array.Data() + array.ByteLength());
}

uint32_t U32Arg(const Napi::CallbackInfo& info, size_t index) { return U32Of(info[index], At(index)); }

EkKind KindArg(const Napi::CallbackInfo& info, size_t index) {
  const std::string name = info[index].IsString() ? info[index].As<Napi::String>().Utf8Value() : "";
  if (name == "rsa2048") return EkKind::kRsa2048;
  if (name == "p256") return EkKind::kP256;
  if (name == "rsa2048-high") return EkKind::kRsa2048High;
  if (name == "p256-high") return EkKind::kP256High;
  if (name == "p384") return EkKind::kP384;
  throw Napi::TypeError::New(info.Env(), At(index) + " is not an EK kind");
}

std::vector<Bank> BanksArg(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsArray()) throw Napi::TypeError::New(info.Env(), At(index) + " is not an array");
  const auto array = info[index].As<Napi::Array>();
  if (array.Length() > kMaxBanks) throw Napi::RangeError::New(info.Env(), At(index) + " names too many banks");
  std::vector<Bank> banks;
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value entry = array[i];
    if (!entry.IsObject()) throw Napi::TypeError::New(info.Env(), At(index) + "[" + std::to_string(i) + "] is not an object");
    const auto object = entry.As<Napi::Object>();
    const std::string where = At(index) + "[" + std::to_string(i) + "]";
    const uint32_t algorithm = U32Of(object.Get("algorithm"), where + ".algorithm");
    if (algorithm > 0xffff) throw Napi::RangeError::New(info.Env(), where + ".algorithm is not a TPM_ALG_ID");
    banks.push_back({static_cast<uint16_t>(algorithm), U32Of(object.Get("mask"), where + ".mask")});
  }
  return banks;
}

Napi::Value ToJs(Napi::Env env, const Bytes& bytes) { return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size()); }

Napi::Value ToJs(Napi::Env env, const Capabilities& capabilities) {
  auto object = Napi::Object::New(env);
  object["manufacturer"] = Napi::String::New(env, capabilities.manufacturer);
  object["vendor"] = Napi::String::New(env, capabilities.vendor);
  object["firmware1"] = Napi::Number::New(env, capabilities.firmware1);
  object["firmware2"] = Napi::Number::New(env, capabilities.firmware2);
  object["managed"] = Napi::Boolean::New(env, capabilities.managed);
  object["swept"] = Napi::Number::New(env, capabilities.swept);
  auto banks = Napi::Array::New(env);
  for (uint32_t i = 0; i < capabilities.banks.size(); i++) {
    auto bank = Napi::Object::New(env);
    bank["algorithm"] = Napi::Number::New(env, capabilities.banks[i].algorithm);
    bank["mask"] = Napi::Number::New(env, capabilities.banks[i].mask);
    banks[i] = bank;
  }
  object["banks"] = banks;
  return object;
}

Napi::Value ToJs(Napi::Env env, const Endorsement& endorsement) {
  auto object = Napi::Object::New(env);
  object["publicArea"] = ToJs(env, endorsement.public_area);
  object["persistentHandle"] = endorsement.persistent_handle ? Napi::Value(Napi::Number::New(env, *endorsement.persistent_handle)) : env.Null();
  return object;
}

Napi::Value ToJs(Napi::Env env, const EkCertificates& certificates) {
  auto object = Napi::Object::New(env);
  object["certificate"] = certificates.certificate ? ToJs(env, *certificates.certificate) : env.Null();
  object["chain"] = ToJs(env, certificates.chain);
  return object;
}

Napi::Value ToJs(Napi::Env env, const KeyBlobs& blobs) {
  auto object = Napi::Object::New(env);
  object["publicArea"] = ToJs(env, blobs.public_area);
  object["privateArea"] = ToJs(env, blobs.private_area);
  return object;
}

Napi::Value ToJs(Napi::Env env, const QuoteResult& quote) {
  auto object = Napi::Object::New(env);
  object["attest"] = ToJs(env, quote.attest);
  object["signature"] = ToJs(env, quote.signature);
  return object;
}

Napi::Value ToJs(Napi::Env env, const std::vector<BankValues>& values) {
  auto banks = Napi::Array::New(env);
  for (uint32_t i = 0; i < values.size(); i++) {
    auto bank = Napi::Object::New(env);
    bank["algorithm"] = Napi::Number::New(env, values[i].algorithm);
    auto pcrs = Napi::Array::New(env);
    for (uint32_t j = 0; j < values[i].pcrs.size(); j++) {
      auto pcr = Napi::Object::New(env);
      pcr["pcr"] = Napi::Number::New(env, values[i].pcrs[j].first);
      pcr["digest"] = ToJs(env, values[i].pcrs[j].second);
      pcrs[j] = pcr;
    }
    bank["pcrs"] = pcrs;
    banks[i] = bank;
  }
  return banks;
}

Napi::Error ToJs(Napi::Env env, const TpmError& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  result.Set("code", Napi::String::New(env, CodeName(error.code())));
  result.Set("tssRc", Napi::Number::New(env, error.rc()));
  return result;
}

}  // namespace hullmark::tpm
