// The N-API surface of the tree measurer: plain values in, plain values out. Defaults, validation and queueing live in native/tree.ts.
#include <fcntl.h>
#include <napi.h>

#include <memory>

#include "support/job.h"
#include "support/js_error.h"
#include "tree/hash_file.h"
#include "tree/live_tree.h"
#include "tree/read_file.h"

namespace hullmark::tree {

namespace {

Napi::Buffer<uint8_t> ToBuffer(Napi::Env env, const void* data, size_t bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, static_cast<const uint8_t*>(data), bytes);
}
Napi::Buffer<uint8_t> ToBuffer(Napi::Env env, const std::string& bytes) { return ToBuffer(env, bytes.data(), bytes.size()); }
Napi::Buffer<uint8_t> ToBuffer(Napi::Env env, const Digest& digest) { return ToBuffer(env, digest.data(), digest.size()); }

std::string BytesOf(Napi::Value value) {
  const auto bytes = value.As<Napi::Uint8Array>();
  return {reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()};
}

Digest DigestOf(Napi::Value value) {
  const auto bytes = value.As<Napi::Uint8Array>();
  if (bytes.ByteLength() != 32) throw Error("BAD_ARGUMENT", "a key is 32 bytes");
  Digest digest;
  std::memcpy(digest.data(), bytes.Data(), 32);
  return digest;
}

uint64_t U64(Napi::Object object, const char* name) { return static_cast<uint64_t>(object.Get(name).ToNumber().DoubleValue()); }

std::vector<IdRange> RangesOf(Napi::Value value) {
  std::vector<IdRange> ranges;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const auto range = Napi::Value(array[i]).As<Napi::Object>();
    ranges.push_back({.image = static_cast<uint32_t>(U64(range, "image")), .host = static_cast<uint32_t>(U64(range, "host")), .count = static_cast<uint32_t>(U64(range, "count"))});
  }
  return ranges;
}

Settings SettingsOf(Napi::Object options) {
  Settings settings;
  settings.interpretation.overlay_layer = options.Get("overlayLayer").ToBoolean();
  settings.interpretation.uids = RangesOf(options.Get("uids"));
  settings.interpretation.gids = RangesOf(options.Get("gids"));
  const std::string engine = options.Get("engine").ToString();
  settings.engine = engine == "evp" ? Engine::kEvp : engine == "portable" ? Engine::kPortable : Engine::kAuto;
  settings.sync_before_hash = options.Get("syncBeforeHash").ToBoolean();
  settings.threads = static_cast<unsigned>(U64(options, "threads"));
  settings.max_threads = static_cast<unsigned>(U64(options, "maxThreads"));
  settings.budget = {.max_entries = U64(options, "maxEntries"),
                     .max_bytes = U64(options, "maxBytes"),
                     .max_millis = U64(options, "maxMillis"),
                     .max_metadata_bytes = U64(options, "maxMetadataBytes"),
                     .max_file_bytes = U64(options, "maxFileBytes")};
  const auto excluded = options.Get("excluded").As<Napi::Array>();
  for (uint32_t i = 0; i < excluded.Length(); i++) {
    const auto exclusion = Napi::Value(excluded[i]).As<Napi::Object>();
    settings.excluded.push_back({.glob = Glob(BytesOf(exclusion.Get("pattern"))), .executables = exclusion.Get("executables").ToBoolean()});
  }
  return settings;
}

UniqueFd OpenRoot(Napi::Value root) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  UniqueFd fd(root.IsNumber() ? ::openat(root.ToNumber().Int32Value(), ".", kFlags) : ::open(BytesOf(root).c_str(), kFlags));
  if (!fd) throw Error::System("open");
  return fd;
}

const char* const kUnmeasurableNames[] = {nullptr, "max-entries", "max-bytes", "max-millis", "max-metadata-bytes"};
const char* const kClaimNames[] = {"file-too-large", "mount-point", "path-too-long", "permission", "io-error", "unstable"};

Napi::Object ToJs(Napi::Env env, const Report& report) {
  Napi::Object js = Napi::Object::New(env);
  const char* unmeasurable = kUnmeasurableNames[static_cast<int>(report.unmeasurable)];
  js.Set("unmeasurable", unmeasurable ? Napi::String::New(env, unmeasurable) : env.Null());
  Napi::Array changes = Napi::Array::New(env, report.changes.size());
  for (size_t i = 0; i < report.changes.size(); i++) {
    const Change& change = report.changes[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("path", ToBuffer(env, change.path));
    if (change.before) entry.Set("before", ToBuffer(env, *change.before));
    if (change.after) entry.Set("after", ToBuffer(env, *change.after));
    entry.Set("ino", Napi::BigInt::New(env, change.ino));
    entry.Set("dev", Napi::BigInt::New(env, change.device));
    entry.Set("silent", change.silent);
    changes[i] = entry;
  }
  js.Set("changes", changes);
  js.Set("changeCount", static_cast<double>(report.change_count));
  js.Set("truncated", report.change_count > report.changes.size());
  Napi::Array claims = Napi::Array::New(env, report.claims.size());
  for (size_t i = 0; i < report.claims.size(); i++) {
    Napi::Object claim = Napi::Object::New(env);
    claim.Set("path", ToBuffer(env, report.claims[i].path));
    claim.Set("reason", kClaimNames[static_cast<int>(report.claims[i].reason)]);
    claims[i] = claim;
  }
  js.Set("claims", claims);
  js.Set("claimsTruncated", report.claims_truncated);
  js.Set("entries", static_cast<double>(report.entries));
  js.Set("leaves", static_cast<double>(report.leaves));
  js.Set("bytes", static_cast<double>(report.content_bytes));
  js.Set("hashedFiles", static_cast<double>(report.hashed_files));
  js.Set("hashedBytes", static_cast<double>(report.hashed_bytes));
  js.Set("memoryBytes", static_cast<double>(report.memory_bytes));
  js.Set("clockStepped", report.clock_stepped);
  js.Set("cycleComplete", report.cycle_complete);
  return js;
}

class TreeJob final : public Job {
 public:
  using Operation = std::function<Report(LiveTree&, const Stop&)>;
  TreeJob(Napi::Env env, std::shared_ptr<LiveTree> tree, Operation operation)
      : Job(env), tree_(std::move(tree)), operation_(std::move(operation)) {}

 protected:
  void Run(const Stop& stop) override { report_ = operation_(*tree_, stop); }
  Napi::Value Result(Napi::Env env) override { return ToJs(env, report_); }
  void Settled(Napi::Env) override { tree_.reset(); }

 private:
  std::shared_ptr<LiveTree> tree_;
  Operation operation_;
  Report report_;
};

class HashFileJob final : public Job {
 public:
  HashFileJob(Napi::Env env, std::string path, uint64_t max_bytes) : Job(env), path_(std::move(path)), max_bytes_(max_bytes) {}

 protected:
  void Run(const Stop& stop) override { digest_ = HashFile(path_, max_bytes_, stop); }
  Napi::Value Result(Napi::Env env) override { return digest_ ? Napi::Value(ToBuffer(env, *digest_)) : env.Undefined(); }

 private:
  std::string path_;
  uint64_t max_bytes_;
  std::optional<Digest> digest_;
};

class ReadFileJob final : public Job {
 public:
  ReadFileJob(Napi::Env env, UniqueFd root, std::string path, uint64_t max_bytes, bool as_it_is)
      : Job(env), root_(std::move(root)), path_(std::move(path)), max_bytes_(max_bytes), as_it_is_(as_it_is) {}

 protected:
  void Run(const Stop&) override { content_ = ReadFileBelow(root_.get(), path_, max_bytes_, as_it_is_); }
  Napi::Value Result(Napi::Env env) override { return ToBuffer(env, content_); }

 private:
  UniqueFd root_;
  std::string path_;
  uint64_t max_bytes_;
  bool as_it_is_;
  std::string content_;
};

// Runs `body` and turns hullmark::Error into a JavaScript exception.
template <typename Body>
auto Guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    throw ToJsError(env, error);
  }
}

}  // namespace

class TreeBinding final : public Napi::ObjectWrap<TreeBinding> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Tree",
                       {InstanceMethod<&TreeBinding::Measure>("measure"), InstanceMethod<&TreeBinding::Rescan>("rescan"),
                        InstanceMethod<&TreeBinding::Update>("update"), InstanceMethod<&TreeBinding::Scrub>("scrub"),
                        InstanceMethod<&TreeBinding::Cancel>("cancel"), InstanceMethod<&TreeBinding::Close>("close"),
                        InstanceMethod<&TreeBinding::State>("state"), InstanceMethod<&TreeBinding::Root>("root"),
                        InstanceMethod<&TreeBinding::Size>("size"), InstanceMethod<&TreeBinding::Descend>("descend"),
                        InstanceMethod<&TreeBinding::Get>("get"), InstanceMethod<&TreeBinding::Entries>("entries")});
  }

  // new Tree(root: Buffer | fd, options)
  explicit TreeBinding(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TreeBinding>(info) {
    Guarded(info.Env(), [&] {
      const auto options = info[1].As<Napi::Object>();
      tree_ = std::make_shared<LiveTree>(OpenRoot(info[0]), SettingsOf(options), U64(options, "maxChanges"));
    });
  }

 private:
  LiveTree& Open() const {
    if (!tree_) throw Error("CLOSED", "the tree is closed");
    return *tree_;
  }

  Napi::Value Start(Napi::Env env, TreeJob::Operation operation) {
    return Guarded(env, [&]() -> Napi::Value {
      Open();
      if (const auto running = running_.lock(); running && !running->IsSettled()) throw Error("BUSY", "another operation is running");
      auto job = std::make_shared<TreeJob>(env, tree_, std::move(operation));
      running_ = job;
      return JobSet::Of(env).Start(env, job);
    });
  }

  Napi::Value Measure(const Napi::CallbackInfo& info) {
    return Start(info.Env(), [](LiveTree& tree, const Stop& stop) { return tree.Measure(stop); });
  }
  Napi::Value Rescan(const Napi::CallbackInfo& info) {
    const double share = info[0].ToNumber().DoubleValue();
    return Start(info.Env(), [share](LiveTree& tree, const Stop& stop) { return tree.Rescan(stop, share); });
  }
  Napi::Value Update(const Napi::CallbackInfo& info) {
    const auto array = info[0].As<Napi::Array>();
    std::vector<std::string> paths;
    for (uint32_t i = 0; i < array.Length(); i++) paths.push_back(BytesOf(array[i]));
    return Start(info.Env(), [paths = std::move(paths)](LiveTree& tree, const Stop& stop) { return tree.Update(stop, paths); });
  }
  Napi::Value Scrub(const Napi::CallbackInfo& info) {
    const auto bytes = static_cast<uint64_t>(info[0].ToNumber().DoubleValue());
    return Start(info.Env(), [bytes](LiveTree& tree, const Stop& stop) { return tree.Scrub(stop, bytes); });
  }

  void Cancel(const Napi::CallbackInfo&) {
    if (const auto running = running_.lock()) running->Cancel();
  }
  // A running operation keeps the tree alive until it has ended.
  void Close(const Napi::CallbackInfo& info) {
    Cancel(info);
    tree_.reset();
  }

  Napi::Value State(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), static_cast<int>(Open().state())); });
  }
  Napi::Value Root(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&] { return ToBuffer(info.Env(), Open().Root()); });
  }
  Napi::Value Size(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), static_cast<double>(Open().Leaves())); });
  }
  Napi::Value Get(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      const auto record = Open().Get(BytesOf(info[0]));
      return record ? Napi::Value(ToBuffer(info.Env(), *record)) : info.Env().Undefined();
    });
  }

  // descend(key, bits) → TreePosition, a leaf with path, record and ino
  Napi::Value Descend(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return Guarded(env, [&]() -> Napi::Value {
      const auto [position, view] = Open().Descend(DigestOf(info[0]), info[1].ToNumber().Int32Value());
      Napi::Object js = Napi::Object::New(env);
      switch (position.kind) {
        case Patricia::Position::Kind::kEmpty: js.Set("kind", "empty"); break;
        case Patricia::Position::Kind::kLeaf:
          js.Set("kind", "leaf");
          js.Set("key", ToBuffer(env, position.key));
          js.Set("digest", ToBuffer(env, Sha256Of(view.record.data(), view.record.size())));
          js.Set("hash", ToBuffer(env, position.hash));
          js.Set("path", ToBuffer(env, view.path));
          js.Set("record", ToBuffer(env, view.record));
          js.Set("ino", Napi::BigInt::New(env, view.ino));
          break;
        case Patricia::Position::Kind::kNode:
          js.Set("kind", "node");
          js.Set("bitlen", position.bitlen);
          js.Set("prefix", Prefix(env, position));
          js.Set("hash", ToBuffer(env, position.hash));
          js.Set("left", ToBuffer(env, position.left));
          js.Set("right", ToBuffer(env, position.right));
          break;
      }
      return js;
    });
  }

  // The shared bits, padded with zero bits to whole bytes.
  static Napi::Value Prefix(Napi::Env env, const Patricia::Position& position) {
    Digest prefix = position.key;
    const size_t bytes = (position.bitlen + 7) / 8;
    const int spare = static_cast<int>(bytes) * 8 - position.bitlen;
    if (spare > 0) prefix[bytes - 1] &= static_cast<uint8_t>(0xff << spare);
    return ToBuffer(env, prefix.data(), bytes);
  }

  // entries(after: key | null, max) → {path, record, ino}[]
  Napi::Value Entries(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return Guarded(env, [&]() -> Napi::Value {
      Digest after{};
      const bool from_start = info[0].IsNull();
      if (!from_start) after = DigestOf(info[0]);
      const auto views = Open().Entries(from_start ? nullptr : &after, static_cast<size_t>(info[1].ToNumber().Int64Value()));
      Napi::Array js = Napi::Array::New(env, views.size());
      for (size_t i = 0; i < views.size(); i++) {
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("path", ToBuffer(env, views[i].path));
        entry.Set("record", ToBuffer(env, views[i].record));
        entry.Set("ino", Napi::BigInt::New(env, views[i].ino));
        js[i] = entry;
      }
      return js;
    });
  }

  std::shared_ptr<LiveTree> tree_;
  std::weak_ptr<TreeJob> running_;
};

}  // namespace hullmark::tree

// hashFile(path, maxBytes)
static Napi::Value HashFileOf(const Napi::CallbackInfo& info) {
  using namespace hullmark::tree;
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    const auto max_bytes = static_cast<uint64_t>(info[1].ToNumber().DoubleValue());
    return hullmark::JobSet::Of(env).Start(env, std::make_shared<HashFileJob>(env, info[0].ToString().Utf8Value(), max_bytes));
  });
}

// readFileBelow(root, path, maxBytes, asItIs)
static Napi::Value ReadFileOf(const Napi::CallbackInfo& info) {
  using namespace hullmark::tree;
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    const auto max_bytes = static_cast<uint64_t>(info[2].ToNumber().DoubleValue());
    return hullmark::JobSet::Of(env).Start(env, std::make_shared<ReadFileJob>(env, OpenRoot(info[0]), BytesOf(info[1]), max_bytes, info[3].ToBoolean().Value()));
  });
}

void InitTree(Napi::Env env, Napi::Object exports) {
  using namespace hullmark::tree;
  exports.Set("Tree", TreeBinding::Define(env));
  exports.Set("hashFile", Napi::Function::New(env, HashFileOf, "hashFile"));
  exports.Set("readFileBelow", Napi::Function::New(env, ReadFileOf, "readFileBelow"));
  exports.Set("hashKernel", Napi::String::New(env, BestKernel().name));
}
