#include "process/binding.h"

#include <string>

#include "process/scan.h"
#include "process/signatures.h"
#include "support/js_error.h"

namespace hullmark::process {

namespace {

Napi::Value Container(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "want (pid)");
  return Napi::String::New(info.Env(), ContainerOf(info[0].As<Napi::Number>().Int32Value()));
}

Napi::Value Root(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "want (pid)");
  const auto root = RootOf(info[0].As<Napi::Number>().Int32Value());
  return root ? Napi::String::New(info.Env(), *root) : info.Env().Undefined();
}

Napi::Value Living(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "want (pid)");
  const pid_t thread = LivingThread(info[0].As<Napi::Number>().Int32Value());
  return thread > 0 ? Napi::Number::New(info.Env(), thread) : info.Env().Undefined();
}

Napi::Value HasInUpper(const Napi::CallbackInfo& info) {
  if (!info[0].IsString() || !info[1].IsBuffer()) throw Napi::TypeError::New(info.Env(), "want (upper, path)");
  const auto path = info[1].As<Napi::Buffer<char>>();
  try {
    const mode_t mode = Upper(info[0].As<Napi::String>().Utf8Value()).At(std::string(path.Data(), path.Length()).c_str()).st_mode;
    return Napi::Boolean::New(info.Env(), S_ISREG(mode) || S_ISLNK(mode));
  } catch (const Error& error) {
    throw ToJsError(info.Env(), error);
  }
}

class ProcessesBinding : public Napi::ObjectWrap<ProcessesBinding> {
 public:
  static Napi::Function Define(Napi::Env env) { return DefineClass(env, "Processes", {InstanceMethod("list", &ProcessesBinding::List)}); }
  explicit ProcessesBinding(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ProcessesBinding>(info) {}

 private:
  // list() → {pid, containerId, mountNamespace}[], undefined: as the last time
  Napi::Value List(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    try {
      const auto& list = processes_.List();
      if (processes_.same()) return env.Undefined();
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

  Processes processes_;
};

// One for each inspector: what it remembers goes with it.
class SignaturesBinding : public Napi::ObjectWrap<SignaturesBinding> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Signatures", {InstanceMethod("ofProcess", &SignaturesBinding::OfProcess), InstanceMethod("ofContainer", &SignaturesBinding::OfContainer)});
  }
  explicit SignaturesBinding(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SignaturesBinding>(info) {}

 private:
  // ofProcess(pid, view, upper)
  Napi::Value OfProcess(const Napi::CallbackInfo& info) {
    if (!info[0].IsNumber() || !info[1].IsNumber() || !info[2].IsString()) throw Napi::TypeError::New(info.Env(), "want (pid, view, upper)");
    return ToJs(info.Env(), [&] { return signatures_.OfProcess(Number(info[0]), Number(info[1]), info[2].As<Napi::String>().Utf8Value()); });
  }

  // ofContainer(pid, pids, upper, [path, maxBytes, …])
  Napi::Value OfContainer(const Napi::CallbackInfo& info) {
    if (!info[0].IsNumber() || !info[1].IsArray() || !info[2].IsString() || !info[3].IsArray())
      throw Napi::TypeError::New(info.Env(), "want (pid, pids, upper, files)");
    Subject subject{.pid = Number(info[0]), .upper = info[2].As<Napi::String>().Utf8Value()};
    const auto pids = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < pids.Length(); i++) subject.pids.push_back(Number(pids[i]));
    const auto files = info[3].As<Napi::Array>();
    for (uint32_t i = 0; i + 1 < files.Length(); i += 2)
      subject.files.push_back({Napi::Value(files[i]).ToString().Utf8Value(), static_cast<uint64_t>(Napi::Value(files[i + 1]).ToNumber().Int64Value())});
    return ToJs(info.Env(), [&] { return signatures_.OfContainer(subject); });
  }

  static pid_t Number(Napi::Value value) { return value.ToNumber().Int32Value(); }
  template <typename Make>
  static Napi::Value ToJs(Napi::Env env, Make make) {
    try {
      const std::optional<tree::Digest> digest = make();
      if (!digest) return env.Undefined();
      return Napi::Buffer<uint8_t>::Copy(env, digest->data(), digest->size());
    } catch (const Error& error) {
      throw ToJsError(env, error);
    }
  }

  Signatures signatures_;
};

}  // namespace

void Init(Napi::Env env, Napi::Object exports) {
  exports.Set("containerOf", Napi::Function::New(env, Container, "containerOf"));
  exports.Set("livingThread", Napi::Function::New(env, Living, "livingThread"));
  exports.Set("hasInUpper", Napi::Function::New(env, HasInUpper, "hasInUpper"));
  exports.Set("Processes", ProcessesBinding::Define(env));
  exports.Set("processRoot", Napi::Function::New(env, Root, "processRoot"));
  exports.Set("Signatures", SignaturesBinding::Define(env));
}

}  // namespace hullmark::process
