#include "support/job.h"

#include <system_error>

#include "support/js_error.h"

namespace hullmark {

namespace {
// One value per environment and linked copy of the addon, as N-API's instance data is. Other parts must not call SetInstanceData.
struct EnvData {
  JobSet jobs;
};
}  // namespace

void Job::Reject(const Napi::Error& error) {
  settled_ = true;
  deferred_.Reject(error.Value());
}

JobSet& JobSet::Of(Napi::Env env) {
  EnvData* data = env.GetInstanceData<EnvData>();
  if (!data) {
    data = new EnvData;
    env.SetInstanceData<EnvData>(data);
    napi_add_env_cleanup_hook(env, &JobSet::AtExit, &data->jobs);
  }
  return data->jobs;
}

Napi::Promise JobSet::Start(Napi::Env env, std::shared_ptr<Job> job) {
  Napi::Promise promise = job->promise();
  job->done_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), "hullmark.job", 1, 1);
  jobs_.insert(job);
  Job* raw = job.get();
  try {
    raw->thread_ = std::thread([raw, this] {
      try {
        raw->Run(raw->stop_);
      } catch (...) {
        raw->failure_ = std::current_exception();
      }
      Napi::ThreadSafeFunction done = raw->done_;
      // Refused while the environment ends: then AtExit joins, and nobody waits for the promise.
      napi_status status = done.BlockingCall(raw, [this](Napi::Env env, Napi::Function, Job* finished) {
        for (const auto& job : jobs_) {
          if (job.get() == finished) {
            Settle(env, std::shared_ptr<Job>(job));
            break;
          }
        }
      });
      if (status != napi_closing) done.Release();
    });
  } catch (const std::system_error& error) {
    job->done_.Release();
    jobs_.erase(job);
    throw Error("EAGAIN", "no thread for a native job", "pthread_create", error.code().value());
  }
  return promise;
}

void JobSet::Settle(Napi::Env env, const std::shared_ptr<Job>& job) {
  Napi::HandleScope scope(env);
  job->thread_.join();
  jobs_.erase(job);
  job->settled_ = true;
  job->Settled(env);
  try {
    if (job->failure_) std::rethrow_exception(job->failure_);
    job->deferred_.Resolve(job->Result(env));
  } catch (const Error& error) {
    job->deferred_.Reject(ToJsError(env, error).Value());
  } catch (const Napi::Error& error) {
    job->deferred_.Reject(error.Value());
  } catch (const std::bad_alloc&) {
    job->deferred_.Reject(ToJsError(env, Error("ENOMEM", "out of memory")).Value());
  } catch (const std::exception& error) {
    job->deferred_.Reject(ToJsError(env, Error("INTERNAL", error.what())).Value());
  }
}

void JobSet::AtExit(void* self) {
  auto& jobs = static_cast<JobSet*>(self)->jobs_;
  for (const auto& job : jobs) job->Cancel();
  for (const auto& job : jobs) {
    if (job->thread_.joinable()) job->thread_.join();
  }
  jobs.clear();
}

}  // namespace hullmark
