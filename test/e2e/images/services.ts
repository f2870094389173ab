import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { run } from "../../../deploy/testbed/run.ts";
import { directory, file, tar } from "../../fakes/tar-writer.ts";
import { CACHE } from "./programs.ts";
import { type ImageDefinition, type LayerBlob, layerOf } from "./push.ts";

const PACKAGES = ["postgresql", "nginx-light", "redis-server", "python3-minimal", "python3", "cron"];

/** Takes a third of the size away and nothing that the services use: just-in-time compilation of queries, and package archives. */
const REMOVED = [
  "var/cache/apt/archives",
  "var/lib/apt/lists",
  "usr/lib/*/libLLVM*",
  "usr/lib/*/libz3*",
  "usr/lib/postgresql/*/lib/bitcode",
  "var/cache/debconf/*-old",
  "var/log/*.log",
];

/** A real service of the distribution, and how to load it. Commands are run in its container (docker exec). */
export interface Service {
  readonly name: "postgresql" | "nginx" | "redis" | "python" | "cron";
  /** Exit code 0 once it serves. */
  readonly ready: readonly string[];
  /** Runs for about a second and makes the service read and write as it does in production. */
  readonly load: readonly string[];
  /** What it rightly changes: absolute globs of data, never of code. */
  readonly mutable: readonly string[];
  readonly config: Readonly<Record<string, unknown>>;
  /** Files of its own layer: path without leading slash → content. */
  readonly files: Readonly<Record<string, string>>;
}

const sh = (script: string): readonly string[] => ["/bin/sh", "-c", script];
const psql = 'su postgres -s /bin/sh -c "psql -q';

/** The five services; all share the one base layer. */
export const SERVICES: readonly Service[] = [
  {
    name: "postgresql",
    ready: sh(`${psql} -c 'select 1'"`),
    load: sh(
      `${psql} -c 'create table if not exists t (id serial, v text); insert into t (v) select md5(i::text) from generate_series(1, 2000) i; update t set v = v where id % 7 = 0' -c 'vacuum t'"`,
    ),
    mutable: ["/var/lib/postgresql/**", "/run/postgresql/**", "/var/log/postgresql/**", "/tmp/**"],
    config: { User: "postgres", Entrypoint: ["/usr/local/bin/start-postgresql"], ExposedPorts: { "5432/tcp": {} }, StopSignal: "SIGINT" },
    files: {
      "usr/local/bin/start-postgresql":
        '#!/bin/sh\nset -e\ncd /usr/lib/postgresql/*/\nv=$(basename "$PWD")\nexec bin/postgres -D /var/lib/postgresql/$v/main -c config_file=/etc/postgresql/$v/main/postgresql.conf -c jit=off\n',
    },
  },
  {
    name: "nginx",
    ready: sh("test -s /run/nginx.pid"),
    load: sh("exec python3 -c \"import urllib.request as u\nfor i in range(300): u.urlopen('http://127.0.0.1/').read()\""),
    mutable: ["/var/log/nginx/**", "/var/lib/nginx/**", "/run/nginx.pid"],
    config: { Cmd: ["nginx", "-g", "daemon off;"], ExposedPorts: { "80/tcp": {} }, StopSignal: "SIGQUIT" },
    files: { "var/www/html/index.html": "<p>hullmark soak</p>\n" },
  },
  {
    name: "redis",
    ready: sh("redis-cli ping | grep -q PONG"),
    load: sh("redis-benchmark -q -n 3000 -c 8 -t set,get,lpush >/dev/null && redis-cli bgsave"),
    mutable: ["/var/lib/redis/**", "/var/log/redis/**", "/run/redis/**"],
    config: { User: "redis", Cmd: ["redis-server", "/etc/redis/redis.conf", "--daemonize", "no", "--supervised", "no"], WorkingDir: "/var/lib/redis" },
    files: {},
  },
  {
    name: "python",
    ready: sh("exec python3 -c \"import socket; socket.create_connection(('127.0.0.1', 8080))\""),
    load: sh("exec python3 -c \"import urllib.request as u\nfor i in range(100): u.urlopen('http://127.0.0.1:8080/').read()\""),
    mutable: ["/tmp/**", "/**/__pycache__/**"],
    config: { Cmd: ["python3", "/srv/app/server.py"], WorkingDir: "/srv/app", ExposedPorts: { "8080/tcp": {} } },
    files: {
      "srv/app/server.py":
        "import http.server, json, tempfile\nimport page\n\nclass Handler(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        with tempfile.NamedTemporaryFile() as f:\n            f.write(b'x' * 4096)\n            f.flush()\n        body = page.body().encode()\n        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(body)\n\n    def log_message(self, *args):\n        pass\n\nhttp.server.ThreadingHTTPServer(('0.0.0.0', 8080), Handler).serve_forever()\n",
      "srv/app/page.py": "def body():\n    return '<p>hullmark soak</p>'\n",
    },
  },
  {
    name: "cron",
    ready: sh("test -s /run/crond.pid"),
    load: sh("date >>/var/log/load.log; logger -f /var/log/load.log 2>/dev/null || true"),
    mutable: ["/var/log/**", "/run/crond.pid", "/var/spool/cron/**", "/run/crond.reboot", "/tmp/**"],
    config: { Cmd: ["cron", "-f"] },
    files: { "etc/cron.d/hullmark-soak": "* * * * * root date >>/var/log/every-minute.log\n" },
  },
];

/** Builds the shared base layer unless it is cached: about 80 s and a further 20 s to compress. Needs root and debootstrap. */
export async function serviceBase(): Promise<LayerBlob> {
  const release = readFileSync("/etc/os-release", "utf8");
  const suite = /^VERSION_CODENAME=(\S+)/m.exec(release)?.[1] ?? "stable";
  const components = /^ID=ubuntu/m.test(release) ? "main,universe" : "main";
  const key = createHash("sha256")
    .update(JSON.stringify([suite, PACKAGES, REMOVED, 1]))
    .digest("hex")
    .slice(0, 12);
  const folder = join(CACHE, `services-${key}`);
  const meta = join(folder, "layer.json");
  const path = join(folder, "layer.tar.gz");
  if (existsSync(meta)) return { ...(JSON.parse(readFileSync(meta, "utf8")) as Omit<LayerBlob, "content">), content: { path } };
  const root = join(folder, "root");
  await run(["rm", "-rf", folder]);
  mkdirSync(folder, { recursive: true });
  const mirrors = await run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", `Release: ${suite}`]);
  const mirror = mirrors.split("\n", 1)[0] ?? "";
  await run(["debootstrap", "--variant=minbase", `--components=${components}`, `--include=${PACKAGES.join(",")}`, suite, root, ...(mirror ? [mirror] : [])], {
    LC_ALL: "C",
  });
  await run(["/bin/sh", "-c", `cd "$1" && rm -rf ${REMOVED.join(" ")}`, "sh", root]);
  const layer = await pack(root, path);
  await run(["rm", "-rf", "--one-file-system", root]);
  writeFileSync(meta, JSON.stringify(layer));
  return { ...layer, content: { path } };
}

/** Tars and compresses a root file system, digesting both on the way. Device nodes and kernel file systems stay out. */
async function pack(root: string, path: string): Promise<Omit<LayerBlob, "content">> {
  const flags = ["--sort=name", "--mtime=@1767225600", "--numeric-owner", "--xattrs", "--xattrs-include=security.capability"];
  const child = spawn("tar", ["-C", root, ...flags, "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "-c", "."], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once("close", resolve);
  });
  const plain = createHash("sha256");
  const compressed = createHash("sha256");
  let size = 0;
  await pipeline(
    child.stdout,
    tap((chunk) => plain.update(chunk)),
    createGzip({ level: 1 }),
    tap((chunk) => {
      compressed.update(chunk);
      size += chunk.length;
    }),
    createWriteStream(path),
  );
  const code = await ended;
  if (code !== 0) throw new Error(`tar ended with ${code}`);
  return { digest: `sha256:${compressed.digest("hex")}`, diffId: `sha256:${plain.digest("hex")}`, size };
}

function tap(see: (chunk: Buffer) => void): (source: AsyncIterable<Buffer>) => AsyncGenerator<Buffer> {
  return async function* (source) {
    for await (const chunk of source) {
      see(chunk);
      yield chunk;
    }
  };
}

/** The image of one service over the shared base, which has some 13,000 files. */
export function serviceImage(base: LayerBlob, service: Service): ImageDefinition {
  const names = Object.entries(service.files);
  const folders = names.some(([name]) => name.startsWith("srv/app/")) ? [directory("srv/app")] : [];
  const own = tar(...folders, ...names.map(([name, content]) => file(name, content, { mode: name.includes("/bin/") ? 0o755 : 0o644 })));
  const steps = [{ createdBy: `RUN /bin/sh -c apt-get install -y ${PACKAGES.join(" ")} # buildkit`, layer: base }];
  return {
    config: { Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], ...service.config },
    steps: names.length > 0 ? [...steps, { createdBy: `COPY ${service.name} / # buildkit`, layer: layerOf(own) }] : steps,
  };
}
