#include "tree/evp.h"

#include <dlfcn.h>

#include <new>

#include "support/error.h"

namespace hullmark::tree {

namespace {
template <typename Function>
bool Resolve(Function& function, const char* name) {
  function = reinterpret_cast<Function>(::dlsym(RTLD_DEFAULT, name));
  return function != nullptr;
}
}  // namespace

Evp* Evp::Load() {
  Evp evp;
  void* (*fetch)(void*, const char*, const char*) = nullptr;
  if (!Resolve(fetch, "EVP_MD_fetch") || !Resolve(evp.context_new_, "EVP_MD_CTX_new") || !Resolve(evp.context_free_, "EVP_MD_CTX_free") ||
      !Resolve(evp.init_, "EVP_DigestInit_ex") || !Resolve(evp.update_, "EVP_DigestUpdate") || !Resolve(evp.final_, "EVP_DigestFinal_ex")) {
    return nullptr;
  }
  evp.sha256_ = fetch(nullptr, "SHA2-256", nullptr);
  return evp.sha256_ ? new Evp(evp) : nullptr;
}

const Evp* Evp::Get() {
  // Constant once made and never freed, like the OpenSSL that it points into.
  static const Evp* const evp = Load();
  return evp;
}

Evp::Stream::Stream(const Evp& evp) : evp_(evp), context_(evp.context_new_()) {
  if (!context_) throw std::bad_alloc();
}

Evp::Stream::~Stream() { evp_.context_free_(context_); }

void Evp::Stream::Begin() {
  if (evp_.init_(context_, evp_.sha256_, nullptr) != 1) throw Error("HASH_FAILED", "EVP_DigestInit_ex failed");
}

void Evp::Stream::Update(const void* data, size_t bytes) {
  if (evp_.update_(context_, data, bytes) != 1) throw Error("HASH_FAILED", "EVP_DigestUpdate failed");
}

Digest Evp::Stream::Finish() {
  Digest digest;
  if (evp_.final_(context_, digest.data(), nullptr) != 1) throw Error("HASH_FAILED", "EVP_DigestFinal_ex failed");
  return digest;
}

}  // namespace hullmark::tree
