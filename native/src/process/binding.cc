#include "process/binding.h"

#include <string>

#include "process/scan.h"
#include "support/js_error.h"

namespace hullmark::process {

namespace {

Napi::Value List(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    const auto list = ListProcesses();
    Napi::Array array = Napi::Array::New(env, list.size());
    for (uint32_t i = 0; i < list.size(); i++) {
      Napi::Object object = Napi::Object::New(env);
      object.Set("pid", Napi::Number::New(env, list[i].pid));
      object.Set("containerId", Napi::String::New(env, list[i].container));
      object.Set("mountNamespace", Napi::Number::New(env, static_cast<double>(list[i].mount_namespace)));
      array.Set(i, object);
    }
    return array;
  } catch (const Error& error) {
    throw ToJsError(env, error);
  }
}

Napi::Value Signature(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber() || !info[1].IsNumber() || !info[2].IsString()) throw Napi::TypeError::New(info.Env(), "want (pid, view, upper)");
  const auto signature =
      CodeSignature(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Number>().Int32Value(), info[2].As<Napi::String>().Utf8Value());
  if (!signature) return info.Env().Undefined();
  return Napi::Buffer<uint8_t>::Copy(info.Env(), signature->data(), signature->size());
}

Napi::Value Root(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "want (pid)");
  const auto root = RootOf(info[0].As<Napi::Number>().Int32Value());
  return root ? Napi::String::New(info.Env(), *root) : info.Env().Undefined();
}

}  // namespace

void Init(Napi::Env env, Napi::Object exports) {
  exports.Set("listProcesses", Napi::Function::New(env, List, "listProcesses"));
  exports.Set("processRoot", Napi::Function::New(env, Root, "processRoot"));
  exports.Set("codeSignature", Napi::Function::New(env, Signature, "codeSignature"));
}

}  // namespace hullmark::process
