/** What kind of thing a file is that a workload writes, by where it lies and what it is called. Pure. */
import { isCodePath, isConfigurationPath } from "../policy/code-paths.ts";

export const PATH_CLASSES = ["log", "cache", "runtime", "database", "temporary", "configuration"] as const;
export type PathClass = (typeof PATH_CLASSES)[number];

/** In this order: the first that fits. Of a path's directories and its last name; whole words in lower case. */
const CLASSES: readonly { readonly is: PathClass; readonly directory: RegExp; readonly name: RegExp }[] = [
  { is: "runtime", directory: /^(run|pid|pids|lock|locks|sockets?)$/, name: /\.(pid|lock|lck|sock)$|^(lock|pid)$/ },
  { is: "temporary", directory: /^\.?(tmp|temp|scratch)$/, name: /\.(tmp|temp|swp|part)$/ },
  {
    is: "log",
    directory: /^(log|logs|[a-z0-9_.-]+[_.-]logs?)$/,
    name: /\.log([._-][a-z0-9_-]+)*(\.(gz|xz|bz2|zst))?$|^(syslog|messages|wtmp|btmp|lastlog|faillog)$/,
  },
  { is: "cache", directory: /^\.?(cache|caches|[a-z0-9_.-]+[_.-]cache)$/, name: /\.cache$/ },
  {
    is: "database",
    directory:
      /^(mysql|mariadb|postgresql|pgsql|pgdata|redis|mongodb|mongo|etcd|rabbitmq|elasticsearch|opensearch|prometheus|influxdb|cassandra|rocksdb|leveldb|sqlite|data|db|database|databases|state|spool|sessions?|uploads?|storage)$/,
    name: /\.(db|db3|sqlite|sqlite3|rdb|aof|ibd|frm|myd|myi|wal|ldb|sst|mdb|dat|snap)$|[.-](wal|shm|journal)$/,
  },
];
const MAX_PATH_CHARS = 1024;
/** Of configuration and of data alike. */
const FORMAT = /\.(json|ya?ml|xml)$/;

export type Classified = { readonly ok: true; readonly is: PathClass } | { readonly ok: false; readonly why: string };

/** @param path raw bytes with the leading slash; a workload chooses it. */
export function classify(path: Buffer): Classified {
  const text = path.toString();
  if (!Buffer.from(text).equals(path) || /\p{Cc}/u.test(text) || text.length > MAX_PATH_CHARS)
    return { ok: false, why: "its name is no plain text, or very long" };
  if (isCodePath(path)) return { ok: false, why: "programs load code from there, or it says who may come in" };
  // First: a workload that names a file of `conf.d` as if it were a log has written configuration.
  if (isConfigurationPath(path)) return { ok: true, is: "configuration" };
  const parts = text.toLowerCase().split("/").slice(1);
  const name = parts.pop() ?? "";
  // Directories are told by their own path: the last name may be one.
  const format = FORMAT.test(name);
  const found = CLASSES.find(({ directory, name: called }) => (!format && called.test(name)) || [...parts, name].some((part) => directory.test(part)));
  if (found) return { ok: true, is: found.is };
  if (format) return { ok: true, is: "configuration" };
  return { ok: false, why: "it is of no class that can be learned (log, cache, runtime, database, temporary, configuration)" };
}
