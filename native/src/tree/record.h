#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tree/sha256.h"

namespace hullmark::tree {

// The canonical record (proto/codec/record.ts), split into what every entry has and a `tail` that most entries do not need.
struct Record {
  char type = 'f';  // f d l c b p s w
  bool opaque = false;
  uint16_t mode = 0;  // 0..07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  Digest content{};
  // Encoded target or device numbers, then the encoded xattrs; empty stands for "no body, no xattrs".
  std::string tail;
};

using Xattrs = std::vector<std::pair<std::string, std::string>>;

void AppendU16(std::string& out, uint16_t value);
void AppendU32(std::string& out, uint32_t value);
void AppendU64(std::string& out, uint64_t value);
void AppendBytes(std::string& out, std::string_view value);

// The tail of a record. `body` is the encoded target (l) or device numbers (c, b), else empty. Xattrs must be sorted by name.
std::string EncodeTail(std::string_view body, const Xattrs& xattrs);

// The canonical bytes. `tail` is what EncodeTail returned.
std::string EncodeRecord(char type, bool opaque, uint16_t mode, uint32_t uid, uint32_t gid, uint64_t size, const Digest& content,
                         std::string_view tail);
inline std::string EncodeRecord(const Record& record) {
  return EncodeRecord(record.type, record.opaque, record.mode, record.uid, record.gid, record.size, record.content, record.tail);
}

}  // namespace hullmark::tree
