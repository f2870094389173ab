#include "binding.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <utility>

#include "convert.h"

namespace hullmark::tpm {

namespace {

constexpr size_t kMaxWaiting = 64;      // calls; a quote on a slow chip takes half a second
constexpr size_t kMaxBlobBytes = 4096;  // above any TPM2B of a key or credential
constexpr size_t kMaxAuthBytes = 64;
constexpr size_t kMaxExtraDataBytes = 64;
constexpr size_t kMaxDigestBytes = 64;

template <typename T>
Convert Returning(T value) {
  return [value = std::move(value)](Napi::Env env) -> Napi::Value { return ToJs(env, value); };
}
Convert Undefined() {
  return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
}

}  // namespace

void Connection::SetAbortFd(int fd) {
  const std::lock_guard lock(mutex);
  if (abort_fd >= 0) close(abort_fd);
  abort_fd = fd;
}

void Connection::Abort() {
  const std::lock_guard lock(mutex);
  if (abort_fd >= 0) shutdown(abort_fd, SHUT_RDWR);  // a kernel driver refuses this: it has time limits of its own
}

// Runs one job on libuv's pool. The object is kept alive by a reference until the job is done.
class JobWorker : public Napi::AsyncWorker {
 public:
  JobWorker(Napi::Env env, TpmObject* owner, Job job) : AsyncWorker(env), owner_(owner), connection_(owner->connection_), job_(std::move(job)) { owner_->Ref(); }

  void Execute() override {
    try {
      convert_ = job_.run(*connection_);
    } catch (const TpmError& error) {
      error_ = error;
    } catch (const std::exception& error) {
      error_ = TpmError(Code::kTpm, error.what());
    }
  }
  void OnOK() override {
    const Napi::Env env = Env();
    if (error_)
      job_.deferred.Reject(ToJs(env, *error_).Value());
    else
      job_.deferred.Resolve(convert_(env));
    owner_->Finished(env);
  }

 private:
  TpmObject* owner_;
  std::shared_ptr<Connection> connection_;
  Job job_;
  Convert convert_;
  std::optional<TpmError> error_;
};

TpmObject::TpmObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

Napi::Value TpmObject::QueueRaw(Napi::Env env, std::function<Convert(Connection&)> run) {
  Job job{Napi::Promise::Deferred::New(env), std::move(run)};
  const Napi::Value promise = job.deferred.Promise();
  if (waiting_.size() >= kMaxWaiting) {
    job.deferred.Reject(ToJs(env, TpmError(Code::kBusy, "too many calls wait for the TPM")).Value());
    return promise;
  }
  waiting_.push_back(std::move(job));
  StartNext(env);
  return promise;
}

Napi::Value TpmObject::Queue(Napi::Env env, Task task) {
  return QueueRaw(env, [task = std::move(task)](Connection& connection) {
    if (!connection.device) throw TpmError(Code::kAbsent, "the TPM is not open");
    return task(*connection.device);
  });
}

void TpmObject::StartNext(Napi::Env env) {
  if (running_ || waiting_.empty()) return;
  running_ = true;
  auto* worker = new JobWorker(env, this, std::move(waiting_.front()));  // deletes itself
  waiting_.pop_front();
  worker->Queue();
}

void TpmObject::Finished(Napi::Env env) {
  running_ = false;
  StartNext(env);
  Unref();
}

Napi::Value TpmObject::Open(const Napi::CallbackInfo& info) {
  if (!info[0].IsString()) throw Napi::TypeError::New(info.Env(), "argument 0 is not a string");
  return QueueRaw(info.Env(), [tcti = info[0].As<Napi::String>().Utf8Value(), auth = BytesArg(info, 1, kMaxAuthBytes)](Connection& connection) {
    if (connection.device) throw TpmError(Code::kBadInput, "the TPM is open already");
    auto device = std::make_unique<Device>(tcti, auth);
    connection.SetAbortFd(device->fd() < 0 ? -1 : dup(device->fd()));
    device->Start();
    connection.device = std::move(device);
    return Undefined();
  });
}

Napi::Value TpmObject::Close(const Napi::CallbackInfo& info) {
  return QueueRaw(info.Env(), [](Connection& connection) {
    connection.device.reset();
    connection.SetAbortFd(-1);
    return Undefined();
  });
}

Napi::Value TpmObject::Abort(const Napi::CallbackInfo& info) {
  connection_->Abort();
  return info.Env().Undefined();
}

Napi::Value TpmObject::ReadCapabilities(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [](Device& device) { return Returning(device.ReadCapabilities()); });
}

Napi::Value TpmObject::ReadEndorsement(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [kind = KindArg(info, 0)](Device& device) { return Returning(device.ReadEndorsement(kind)); });
}

Napi::Value TpmObject::CreateAk(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [kind = KindArg(info, 0), auth = BytesArg(info, 1, kMaxAuthBytes)](Device& device) { return Returning(device.CreateAk(kind, auth)); });
}

Napi::Value TpmObject::LoadAk(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [kind = KindArg(info, 0), blobs = KeyBlobs{BytesArg(info, 1, kMaxBlobBytes), BytesArg(info, 2, kMaxBlobBytes)}](Device& device) {
    const uint32_t id = device.LoadAk(kind, blobs);
    return Convert([id](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, id); });
  });
}

Napi::Value TpmObject::FlushAk(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [id = U32Arg(info, 0)](Device& device) {
    device.FlushAk(id);
    return Undefined();
  });
}

Napi::Value TpmObject::Activate(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [kind = KindArg(info, 0), ak = U32Arg(info, 1), auth = BytesArg(info, 2, kMaxAuthBytes), credential = BytesArg(info, 3, kMaxBlobBytes),
                            secret = BytesArg(info, 4, kMaxBlobBytes)](Device& device) { return Returning(device.Activate(kind, ak, auth, credential, secret)); });
}

Napi::Value TpmObject::Quote(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [ak = U32Arg(info, 0), auth = BytesArg(info, 1, kMaxAuthBytes), extra = BytesArg(info, 2, kMaxExtraDataBytes),
                            banks = BanksArg(info, 3)](Device& device) { return Returning(device.Quote(ak, auth, extra, banks)); });
}

Napi::Value TpmObject::ReadPcrs(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [banks = BanksArg(info, 0)](Device& device) { return Returning(device.ReadPcrs(banks)); });
}

Napi::Value TpmObject::ExtendPcr(const Napi::CallbackInfo& info) {
  const uint32_t algorithm = U32Arg(info, 1);
  if (algorithm > 0xffff) throw Napi::RangeError::New(info.Env(), "argument 1 is not a TPM_ALG_ID");
  return Queue(info.Env(), [pcr = U32Arg(info, 0), algorithm, digest = BytesArg(info, 2, kMaxDigestBytes)](Device& device) {
    device.ExtendPcr(pcr, static_cast<uint16_t>(algorithm), digest);
    return Undefined();
  });
}

Napi::Function TpmObject::Define(Napi::Env env) {
  return DefineClass(env, "Tpm",
                     {
                         InstanceMethod("open", &TpmObject::Open),
                         InstanceMethod("close", &TpmObject::Close),
                         InstanceMethod("abort", &TpmObject::Abort),
                         InstanceMethod("capabilities", &TpmObject::ReadCapabilities),
                         InstanceMethod("endorsement", &TpmObject::ReadEndorsement),
                         InstanceMethod("createAk", &TpmObject::CreateAk),
                         InstanceMethod("loadAk", &TpmObject::LoadAk),
                         InstanceMethod("flushAk", &TpmObject::FlushAk),
                         InstanceMethod("activate", &TpmObject::Activate),
                         InstanceMethod("quote", &TpmObject::Quote),
                         InstanceMethod("readPcrs", &TpmObject::ReadPcrs),
                         InstanceMethod("extendPcr", &TpmObject::ExtendPcr),
                     });
}

}  // namespace hullmark::tpm

void InitTpm(Napi::Env env, Napi::Object exports) {
  setenv("TSS2_LOG", "all+none", 0);  // before any other thread: the TSS would write to stderr by default
  exports.Set("Tpm", hullmark::tpm::TpmObject::Define(env));
}
