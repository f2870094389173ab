// Entry point of the addon. Each part lives in its own folder and defines one Init function; a part that is not compiled in is a
// weak symbol that stays null, so that parts can be built and tested apart.
#include <napi.h>

#include "support/memory.h"

#define HULLMARK_PART __attribute__((weak, visibility("default")))

HULLMARK_PART void InitTree(Napi::Env env, Napi::Object exports);
HULLMARK_PART void InitFanotify(Napi::Env env, Napi::Object exports);
HULLMARK_PART void InitTpm(Napi::Env env, Napi::Object exports);

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  hullmark::InitMemory(env, exports);
  if (InitTree) InitTree(env, exports);
  if (InitFanotify) InitFanotify(env, exports);
  if (InitTpm) InitTpm(env, exports);
  return exports;
}

NODE_API_MODULE(hullmark, Init)
