#pragma once
#include <napi.h>

namespace hullmark::process {

void Init(Napi::Env env, Napi::Object exports);

}  // namespace hullmark::process
