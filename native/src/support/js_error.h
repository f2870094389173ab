#pragma once
#include <napi.h>

#include "support/error.h"

namespace hullmark {

// The JavaScript Error of a native one: {message, code, syscall?, errno?}, errno positive.
inline Napi::Error ToJsError(Napi::Env env, const Error& error) {
  Napi::Error js = Napi::Error::New(env, error.what());
  js.Set("code", Napi::String::New(env, error.code));
  if (!error.syscall.empty()) js.Set("syscall", Napi::String::New(env, error.syscall));
  if (error.errnum != 0) js.Set("errno", Napi::Number::New(env, error.errnum));
  return js;
}

}  // namespace hullmark
