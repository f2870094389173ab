#include "binding.h"

#include <cstdlib>
#include <optional>
#include <utility>

#include "convert.h"
#include "support/job.h"

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

// One call. Keeps its object alive by a reference until it is done.
class TpmJob : public Job {
 public:
  TpmJob(Napi::Env env, TpmObject* owner, std::function<Convert(Connection&, int)> run)
      : Job(env), owner_(owner), connection_(owner->connection_), run_(std::move(run)) {
    owner_->Ref();
  }

 protected:
  void Run(const Stop& stop) override {
    const StopFdInUse in_use{*connection_};
    try {
      if (stop.requested()) throw TpmError(Code::kAbsent, "aborted");
      if (connection_->device) connection_->device->SetStopFd(stop.fd());
      convert_ = run_(*connection_, stop.fd());
    } catch (const TpmError& error) {
      error_ = error;
    }
  }
  Napi::Value Result(Napi::Env env) override {
    if (error_) throw ToJs(env, *error_);
    return convert_(env);
  }
  void Settled(Napi::Env env) override { owner_->Finished(env); }

 private:
  // The connection outlives the job, the job's descriptor does not: its number may be another file's next.
  struct StopFdInUse {
    Connection& connection;
    ~StopFdInUse() {
      if (connection.device) connection.device->SetStopFd(-1);
    }
  };

  TpmObject* owner_;
  std::shared_ptr<Connection> connection_;
  std::function<Convert(Connection&, int)> run_;
  Convert convert_;
  std::optional<TpmError> error_;
};

TpmObject::TpmObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

Napi::Value TpmObject::QueueRaw(Napi::Env env, std::function<Convert(Connection&, int)> run) {
  if (waiting_.size() >= kMaxWaiting) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(ToJs(env, TpmError(Code::kBusy, "too many calls wait for the TPM")).Value());
    return deferred.Promise();
  }
  try {
    auto job = std::make_shared<TpmJob>(env, this, std::move(run));
    waiting_.push_back(job);
    StartNext(env);
    return job->promise();
  } catch (const Error& error) {  // no descriptor to be had
    throw ToJs(env, TpmError(Code::kBusy, error.what()));
  }
}

Napi::Value TpmObject::Queue(Napi::Env env, Task task) {
  return QueueRaw(env, [task = std::move(task)](Connection& connection, int) {
    if (!connection.device) throw TpmError(Code::kAbsent, "the TPM is not open");
    if (connection.device->broken()) throw TpmError(Code::kAbsent, "the connection to the TPM broke: open it anew");
    return task(*connection.device);
  });
}

void TpmObject::StartNext(Napi::Env env) {
  while (!running_ && !waiting_.empty()) {
    running_ = std::move(waiting_.front());
    waiting_.pop_front();
    try {
      JobSet::Of(env).Start(env, running_);
    } catch (const Error& error) {  // no thread to be had
      std::exchange(running_, nullptr)->Reject(ToJs(env, TpmError(Code::kBusy, error.what())));
      Unref();
    }
  }
}

void TpmObject::Finished(Napi::Env env) {
  running_.reset();
  StartNext(env);
  Unref();
}

Napi::Value TpmObject::Open(const Napi::CallbackInfo& info) {
  if (!info[0].IsString()) throw Napi::TypeError::New(info.Env(), "argument 0 is not a string");
  return QueueRaw(info.Env(), [tcti = info[0].As<Napi::String>().Utf8Value(), auth = BytesArg(info, 1, kMaxAuthBytes)](Connection& connection, int stop_fd) {
    if (connection.device) throw TpmError(Code::kBadInput, "the TPM is open already");
    connection.device = std::make_unique<Device>(tcti, auth, stop_fd);
    return Undefined();
  });
}

Napi::Value TpmObject::Close(const Napi::CallbackInfo& info) {
  return QueueRaw(info.Env(), [](Connection& connection, int) {
    connection.device.reset();
    return Undefined();
  });
}

Napi::Value TpmObject::Abort(const Napi::CallbackInfo& info) {
  if (running_) running_->Cancel();
  return info.Env().Undefined();
}

Napi::Value TpmObject::ReadCapabilities(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [](Device& device) { return Returning(device.ReadCapabilities()); });
}

Napi::Value TpmObject::ReadEndorsement(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [kind = KindArg(info, 0)](Device& device) { return Returning(device.ReadEndorsement(kind)); });
}

Napi::Value TpmObject::ReadEkCertificates(const Napi::CallbackInfo& info) {
  return Queue(info.Env(), [kind = KindArg(info, 0)](Device& device) { return Returning(device.ReadEkCertificates(kind)); });
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
                         InstanceMethod("ekCertificates", &TpmObject::ReadEkCertificates),
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
