#include "fanotify/roots.h"

#include <algorithm>
#include <utility>

namespace hullmark::fanotify {

void Roots::Add(uint32_t id, std::string path) {
  Remove(id);
  if (path == "/") path.clear();
  by_path_[path].push_back(id);
  paths_.emplace(id, std::move(path));
}

bool Roots::Remove(uint32_t id) {
  const auto found = paths_.find(id);
  if (found == paths_.end()) return false;
  const auto ids = by_path_.find(found->second);
  std::erase(ids->second, id);
  if (ids->second.empty()) by_path_.erase(ids);
  paths_.erase(found);
  return true;
}

std::vector<Roots::Match> Roots::Find(std::string_view path) const {
  std::vector<Match> matches;
  if (paths_.empty()) return matches;
  if (path == "/") path = {};
  for (size_t end = path.size();;) {
    if (const auto found = by_path_.find(path.substr(0, end)); found != by_path_.end()) {
      for (const uint32_t id : found->second) matches.push_back({id, std::min(end + 1, path.size())});
    }
    if (end == 0) break;
    end = path.rfind('/', end - 1);
    if (end == std::string_view::npos) break;
  }
  return matches;
}

std::vector<uint32_t> Roots::All() const {
  std::vector<uint32_t> ids;
  ids.reserve(paths_.size());
  for (const auto& [id, path] : paths_) ids.push_back(id);
  return ids;
}

}  // namespace hullmark::fanotify
