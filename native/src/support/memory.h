#pragma once
#include <napi.h>

namespace hullmark {

// Exports boundMemory() and trimMemory() (native/memory.ts).
void InitMemory(Napi::Env env, Napi::Object exports);

}  // namespace hullmark
