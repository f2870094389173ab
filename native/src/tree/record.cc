#include "tree/record.h"

namespace hullmark::tree {

void AppendU16(std::string& out, uint16_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}
void AppendU32(std::string& out, uint32_t value) {
  AppendU16(out, static_cast<uint16_t>(value >> 16));
  AppendU16(out, static_cast<uint16_t>(value));
}
void AppendU64(std::string& out, uint64_t value) {
  AppendU32(out, static_cast<uint32_t>(value >> 32));
  AppendU32(out, static_cast<uint32_t>(value));
}
void AppendBytes(std::string& out, std::string_view value) {
  AppendU32(out, static_cast<uint32_t>(value.size()));
  out.append(value);
}

std::string EncodeTail(std::string_view body, const Xattrs& xattrs) {
  if (body.empty() && xattrs.empty()) return {};
  std::string tail(body);
  AppendU32(tail, static_cast<uint32_t>(xattrs.size()));
  for (const auto& [name, value] : xattrs) {
    AppendBytes(tail, name);
    AppendBytes(tail, value);
  }
  return tail;
}

std::string EncodeRecord(char type, bool opaque, uint16_t mode, uint32_t uid, uint32_t gid, uint64_t size, const Digest& content,
                         std::string_view tail) {
  std::string out;
  out.reserve(64 + tail.size());
  out.push_back(1);
  out.push_back(type);
  AppendU16(out, mode);
  AppendU32(out, uid);
  AppendU32(out, gid);
  if (type == 'f') {
    AppendU64(out, size);
    out.append(reinterpret_cast<const char*>(content.data()), content.size());
  } else if (type == 'd') {
    out.push_back(opaque ? 1 : 0);
  }
  if (tail.empty()) AppendU32(out, 0);
  out.append(tail);
  return out;
}

}  // namespace hullmark::tree
