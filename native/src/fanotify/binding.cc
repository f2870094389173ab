#include <napi.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "fanotify/self_test.h"
#include "fanotify/source.h"
#include "process/binding.h"
#include "support/job.h"
#include "support/js_error.h"

namespace hullmark::fanotify {

namespace {

constexpr size_t kMaxPathBytes = 65536;

Napi::Value Bytes(Napi::Env env, const std::string& bytes) { return Napi::Buffer<char>::Copy(env, bytes.data(), bytes.size()); }

Napi::Value ToJs(Napi::Env env, const process::Executable* exe) {
  if (!exe) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("path", Bytes(env, exe->path));
  object.Set("dev", Napi::Number::New(env, static_cast<double>(exe->dev)));
  object.Set("ino", Napi::Number::New(env, static_cast<double>(exe->ino)));
  object.Set("deleted", Napi::Boolean::New(env, exe->deleted));
  return object;
}

Napi::Value Names(Napi::Env env, const std::vector<std::string>& names) {
  Napi::Array array = Napi::Array::New(env, names.size());
  for (uint32_t i = 0; i < names.size(); i++) array.Set(i, Napi::String::New(env, names[i]));
  return array;
}

Napi::Value Milliseconds(Napi::Env env, int64_t ns) { return Napi::Number::New(env, static_cast<double>(ns) / 1e6); }

Napi::Value ToJs(Napi::Env env, const Entrance* entrance) {
  if (!entrance) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("pid", Napi::Number::New(env, entrance->pid));
  object.Set("atMs", Milliseconds(env, RealNs() - (MonotonicNs() - entrance->since_ns)));
  object.Set("from", Names(env, entrance->from));
  object.Set("fromHost", Napi::Boolean::New(env, entrance->from_host));
  object.Set("init", Napi::Boolean::New(env, entrance->init));
  return object;
}

Napi::Value ToJs(Napi::Env env, const Actor* actor) {
  if (!actor) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("pid", Napi::Number::New(env, actor->pid));
  object.Set("startTicks", Napi::Number::New(env, static_cast<double>(actor->start_ticks)));
  object.Set("parentPid", Napi::Number::New(env, actor->ppid));
  object.Set("exe", ToJs(env, actor->exe.get()));
  object.Set("comm", Napi::String::New(env, actor->comm));
  object.Set("located", Napi::Boolean::New(env, actor->located));
  object.Set("uid", actor->uid ? Napi::Number::New(env, *actor->uid) : env.Null());
  object.Set("cgroup", Napi::String::New(env, actor->cgroup));
  object.Set("containerId", Napi::String::New(env, actor->container));
  object.Set("ancestry", Names(env, actor->ancestry));
  object.Set("entrance", ToJs(env, actor->entrance.get()));
  return object;
}

Napi::Value ToJs(Napi::Env env, const Batch& batch) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array changes = Napi::Array::New(env, batch.changes.size());
  // One object for each actor, shared by its changes.
  std::unordered_map<const Actor*, Napi::Value> actors;
  const auto share = [&](const Actor* actor) {
    const auto [at, added] = actors.try_emplace(actor);
    if (added) at->second = ToJs(env, actor);
    return at->second;
  };
  for (uint32_t i = 0; i < batch.changes.size(); i++) {
    const Change& change = batch.changes[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("root", Napi::Number::New(env, change.root));
    entry.Set("path", Bytes(env, change.path));
    entry.Set("kinds", Napi::Number::New(env, change.kinds));
    entry.Set("actor", share(change.actor.get()));
    entry.Set("atMs", Milliseconds(env, change.at_ns));
    changes.Set(i, entry);
  }
  object.Set("changes", changes);
  Napi::Array executions = Napi::Array::New(env, batch.executions.size());
  for (uint32_t i = 0; i < batch.executions.size(); i++) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("actor", share(batch.executions[i].actor.get()));
    entry.Set("atMs", Milliseconds(env, batch.executions[i].at_ns));
    executions.Set(i, entry);
  }
  object.Set("executions", executions);
  object.Set("lost", Napi::Number::New(env, static_cast<double>(batch.lost)));
  object.Set("lostReason", Napi::String::New(env, batch.lost_reason));
  object.Set("failure", batch.failure.empty() ? env.Null() : ToJsError(env, Error(batch.failure_code, batch.failure)).Value());
  return object;
}

// JavaScript's view of one source. Every N-API call happens on the thread of the environment.
class FanotifySource : public Napi::ObjectWrap<FanotifySource> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FanotifySource",
                       {InstanceMethod("watch", &FanotifySource::Watch), InstanceMethod("unwatch", &FanotifySource::Unwatch),
                        InstanceMethod("stop", &FanotifySource::Stop), InstanceMethod("status", &FanotifySource::Status)});
  }

  explicit FanotifySource(const Napi::CallbackInfo& info) : ObjectWrap(info), env_(info.Env()) {
    if (!info[0].IsObject() || !info[1].IsFunction()) throw Napi::TypeError::New(env_, "want (options, callback)");
    const SourceOptions options{.modify = info[0].As<Napi::Object>().Get("modify").ToBoolean()};
    callback_ = Napi::Persistent(info[1].As<Napi::Function>());
    calls_ = Napi::ThreadSafeFunction::New(env_, Napi::Function(), "hullmark.fanotify", 0, 1);
    try {
      source_ = std::make_unique<Source>(options, [this] { Schedule(); });
      source_->Start();
    } catch (const Error& error) {
      calls_.Release();
      throw ToJsError(env_, error);
    }
    Ref();  // lives until stopped
    napi_add_env_cleanup_hook(env_, &FanotifySource::AtExit, this);
  }

 private:
  // On the source's thread. At most one call is on its way.
  void Schedule() {
    if (scheduled_.exchange(true)) return;
    // A call that is on its way outlives a stop, and perhaps this object.
    calls_.NonBlockingCall([link = link_](Napi::Env env, Napi::Function) {
      if (*link) (*link)->Deliver(env);
    });
  }

  void Deliver(Napi::Env env) {
    scheduled_ = false;
    bool more = false;
    const Batch batch = source_->Take(more);
    if (more) Schedule();
    if (!batch.empty()) callback_.Call({ToJs(env, batch)});
  }

  // Waits for the source's thread: what happens below the directory after the return is told. That thread is never longer than one
  // buffer of events away from looking.
  void Wait(Napi::Env env, const std::function<void(Source::Done)>& command) {
    std::promise<std::optional<Error>> done;
    command([&done](std::optional<Error> error) { done.set_value(std::move(error)); });
    if (const auto error = done.get_future().get()) throw ToJsError(env, *error);
  }

  void Watch(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsNumber() || !info[1].IsBuffer()) throw Napi::TypeError::New(env, "want (root, path)");
    const auto path = info[1].As<Napi::Buffer<char>>();
    if (path.Length() == 0 || path.Length() > kMaxPathBytes) throw Napi::RangeError::New(env, "path is empty or too long");
    Running(env);
    const uint32_t root = info[0].As<Napi::Number>().Uint32Value();
    Wait(env, [&](Source::Done done) { source_->Watch(root, std::string(path.Data(), path.Length()), std::move(done)); });
  }

  void Unwatch(const Napi::CallbackInfo& info) {
    if (!info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "want (root)");
    Running(info.Env());
    const uint32_t root = info[0].As<Napi::Number>().Uint32Value();
    Wait(info.Env(), [&](Source::Done done) { source_->Unwatch(root, std::move(done)); });
  }

  Napi::Value Status(const Napi::CallbackInfo& info) {
    Running(info.Env());
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("processEvents", Napi::Boolean::New(info.Env(), source_->status().process_events));
    object.Set("processEventsReason", Napi::String::New(info.Env(), source_->status().process_events_reason));
    object.Set("turns", Napi::Number::New(info.Env(), static_cast<double>(source_->turns())));
    return object;
  }

  Napi::Value Stop(const Napi::CallbackInfo& info) {
    if (!source_) return info.Env().Undefined();
    napi_remove_env_cleanup_hook(env_, &FanotifySource::AtExit, this);
    source_->Stop();
    source_.reset();
    *link_ = nullptr;
    calls_.Release();
    callback_.Reset();
    Unref();
    return info.Env().Undefined();
  }

  void Running(Napi::Env env) const {
    if (!source_) throw ToJsError(env, Error("ECANCELED", "the change source has ended"));
  }

  static void AtExit(void* self) { static_cast<FanotifySource*>(self)->source_->Stop(); }

  Napi::Env env_;
  Napi::FunctionReference callback_;
  Napi::ThreadSafeFunction calls_;
  // To this object while its source runs; what it points to is read and written on the JavaScript thread only.
  const std::shared_ptr<FanotifySource*> link_ = std::make_shared<FanotifySource*>(this);
  std::unique_ptr<Source> source_;
  std::atomic<bool> scheduled_{false};
};

class SelfTestJob : public Job {
 public:
  SelfTestJob(Napi::Env env, std::string directory) : Job(env), directory_(std::move(directory)) {}

 private:
  void Run(const hullmark::Stop&) override { result_ = SelfTest(directory_); }
  Napi::Value Result(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    object.Set("ok", Napi::Boolean::New(env, result_.ok));
    object.Set("reason", Napi::String::New(env, result_.reason));
    object.Set("kernel", Napi::String::New(env, result_.kernel));
    return object;
  }
  std::string directory_;
  SelfTestResult result_;
};

Napi::Value RunSelfTest(const Napi::CallbackInfo& info) {
  if (!info[0].IsString()) throw Napi::TypeError::New(info.Env(), "want (directory)");
  try {
    return JobSet::Of(info.Env()).Start(info.Env(), std::make_shared<SelfTestJob>(info.Env(), info[0].As<Napi::String>().Utf8Value()));
  } catch (const Error& error) {
    throw ToJsError(info.Env(), error);
  }
}

}  // namespace

}  // namespace hullmark::fanotify

void InitFanotify(Napi::Env env, Napi::Object exports) {
  exports.Set("FanotifySource", hullmark::fanotify::FanotifySource::Define(env));
  exports.Set("fanotifySelfTest", Napi::Function::New(env, hullmark::fanotify::RunSelfTest, "fanotifySelfTest"));
  hullmark::process::Init(env, exports);
}
