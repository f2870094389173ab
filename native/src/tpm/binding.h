// The JavaScript class Tpm: promises over device.h, one TPM command at a time, none on the JavaScript thread.
#pragma once
#include <napi.h>

#include <deque>
#include <functional>
#include <memory>

#include "device.h"

namespace hullmark::tpm {

// Makes the JavaScript value of a finished job, on the JavaScript thread.
using Convert = std::function<Napi::Value(Napi::Env)>;
using Task = std::function<Convert(Device&)>;

// What the JavaScript thread and the one running job share.
struct Connection {
  std::unique_ptr<Device> device;  // touched only by the one running job
};

class TpmJob;

class TpmObject : public Napi::ObjectWrap<TpmObject> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit TpmObject(const Napi::CallbackInfo& info);

 private:
  friend class TpmJob;
  Napi::Value Open(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  Napi::Value Abort(const Napi::CallbackInfo& info);
  Napi::Value ReadCapabilities(const Napi::CallbackInfo& info);
  Napi::Value ReadEndorsement(const Napi::CallbackInfo& info);
  Napi::Value ReadEkCertificates(const Napi::CallbackInfo& info);
  Napi::Value CreateAk(const Napi::CallbackInfo& info);
  Napi::Value LoadAk(const Napi::CallbackInfo& info);
  Napi::Value FlushAk(const Napi::CallbackInfo& info);
  Napi::Value Activate(const Napi::CallbackInfo& info);
  Napi::Value Quote(const Napi::CallbackInfo& info);
  Napi::Value ReadPcrs(const Napi::CallbackInfo& info);
  Napi::Value ExtendPcr(const Napi::CallbackInfo& info);

  // Queues work on an open TPM; the promise rejects ABSENT when it is not open, BUSY when too many calls wait.
  Napi::Value Queue(Napi::Env env, Task task);
  Napi::Value QueueRaw(Napi::Env env, std::function<Convert(Connection&, int stop_fd)> run);
  void StartNext(Napi::Env env);
  void Finished(Napi::Env env);

  std::shared_ptr<Connection> connection_ = std::make_shared<Connection>();
  std::deque<std::shared_ptr<TpmJob>> waiting_;
  std::shared_ptr<TpmJob> running_;
};

}  // namespace hullmark::tpm

// Adds the class Tpm to the addon's exports.
void InitTpm(Napi::Env env, Napi::Object exports);
