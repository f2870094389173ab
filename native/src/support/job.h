#pragma once
#include <napi.h>

#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "support/stop.h"

namespace hullmark {

class JobSet;

// Work that runs on a thread of its own (libuv's pool is left to Node) and settles a promise.
// Lifetime: owned by its JobSet until it has settled, or until the environment ends, which stops and joins it.
class Job {
 public:
  explicit Job(Napi::Env env) : deferred_(Napi::Promise::Deferred::New(env)) {}
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Napi::Promise promise() const { return deferred_.Promise(); }
  // Asks the job to end early; `Run` decides how. Idempotent, any thread.
  void Cancel() noexcept { stop_.request(); }
  // Whether the promise was settled. JavaScript thread only.
  bool IsSettled() const noexcept { return settled_; }
  // Rejects the promise of a job that could not be started. JavaScript thread only.
  void Reject(const Napi::Error& error);

 protected:
  // On the job's thread: no N-API calls. Throw hullmark::Error to reject.
  virtual void Run(const Stop& stop) = 0;
  // On the JavaScript thread after `Run` returned.
  virtual Napi::Value Result(Napi::Env env) = 0;
  // On the JavaScript thread, always, before the promise settles: gives up references to JavaScript values.
  virtual void Settled(Napi::Env) {}

 private:
  friend class JobSet;
  Napi::Promise::Deferred deferred_;
  Stop stop_;
  std::thread thread_;
  std::exception_ptr failure_;
  Napi::ThreadSafeFunction done_;
  bool settled_ = false;
};

// The running jobs of one environment (main thread or worker thread). Kept alive by its cleanup hook; use `JobSet::Of`.
class JobSet {
 public:
  // The set of this environment, made at first use. JavaScript thread only.
  static JobSet& Of(Napi::Env env);

  // Starts the job's thread and keeps the event loop alive until it settles. JavaScript thread only. Throws Error("EAGAIN") when no
  // thread can be had.
  Napi::Promise Start(Napi::Env env, std::shared_ptr<Job> job);

 private:
  static void AtExit(void* self);
  void Settle(Napi::Env env, const std::shared_ptr<Job>& job);

  std::unordered_set<std::shared_ptr<Job>> jobs_;
};

}  // namespace hullmark
