#pragma once
#include "tree/sha256.h"

namespace hullmark::tree {

// The kernel for the SHA extensions of x86-64, or null where the processor (or the architecture) has none.
const Kernel* X86Kernel();

}  // namespace hullmark::tree
