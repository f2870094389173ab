#include "process/binding.h"

namespace hullmark::process {

void Init(Napi::Env, Napi::Object) {}

}  // namespace hullmark::process
