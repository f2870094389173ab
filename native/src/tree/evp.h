#pragma once
#include <memory>

#include "tree/sha256.h"

namespace hullmark::tree {

// SHA-256 by the OpenSSL that the process already holds (Node exports its own), found at run time: no OpenSSL headers, no second copy.
// It knows the instructions of processors that the kernels here do not (ARMv8).
class Evp {
 public:
  // Null where the process has no OpenSSL 3.
  static const Evp* Get();

  class Stream {
   public:
    explicit Stream(const Evp& evp);
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    void Begin();
    void Update(const void* data, size_t bytes);
    Digest Finish();

   private:
    const Evp& evp_;
    void* context_;
  };

 private:
  static Evp* Load();

  void* (*context_new_)() = nullptr;
  void (*context_free_)(void*) = nullptr;
  int (*init_)(void*, const void*, void*) = nullptr;
  int (*update_)(void*, const void*, size_t) = nullptr;
  int (*final_)(void*, unsigned char*, unsigned*) = nullptr;
  void* sha256_ = nullptr;  // fetched once: an implicit fetch costs as much as hashing a small file
};

}  // namespace hullmark::tree
