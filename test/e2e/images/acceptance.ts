import { directory, type Entry, file, hardlink, opaque, symlink, tar, whiteout } from "../../fakes/tar-writer.ts";
import type { Programs } from "./programs.ts";
import { type ImageDefinition, layerOf } from "./push.ts";

/** `vfs_cap_data` version 2, cap_net_raw permitted and effective (linux/capability.h). */
const CAP_NET_RAW = Buffer.from("0100000200200000000000000000000000000000", "hex");

const APPLETS = [
  ..."sh ash cat chmod chown cp cut date dd echo env find grep head hostname id kill ln ls mkdir mknod mount mv nc printf ps rm rmdir sed seq sha256sum".split(
    " ",
  ),
  ..."sleep sort stat sync tail tee test touch tr true truncate umount uname wc wget httpd vi xargs yes".split(" "),
];

/** What this image has, by path: the end-to-end test and the demo name these. */
export const ACCEPTANCE = {
  /** Edited in place and replaced by the attacks. */
  configFile: "/etc/nginx/nginx.conf",
  /** Layer 1, from "RUN apt-get install curl". */
  curl: "/usr/bin/curl",
  /** Layer 1, three names of one inode. */
  hardLinks: ["/usr/bin/perl", "/usr/bin/perl5", "/usr/bin/perl5.36"],
  setuid: "/usr/bin/passwd",
  capability: "/usr/bin/ping",
  /** Removed and emptied by layer 2. */
  removed: "/etc/removed.conf",
  opaque: "/opt/vendor",
  /** Layer 3: a Latin-1 name (byte E9), not UTF-8. */
  notUtf8: Buffer.from("/srv/caf\xe9.txt", "latin1"),
  /** Layer 3: only the file is in the tar, its folders are implied. */
  implied: "/var/lib/app/state",
  script: "/app/serve.sh",
  tool: "/usr/local/bin/hullmark-tool",
  hello: "/usr/local/bin/hello",
  source: "https://example.com/acme/web",
  revision: "3e1f0c1d5b8f4a7c9d2e6b0a4c8f1e3d5a7b9c0d",
} as const;

/** What these files hold, for those who tell what became of it. */
export const CONTENT = {
  configFile: Buffer.from("worker_processes 1;\nevents {}\nhttp { server { listen 8080; root /srv; } }\n"),
  curl: Buffer.from(script("curl")),
  /** /app/data.bin. */
  data: Buffer.alloc(256 * 1024, "hullmark "),
  /** /app/config.yml of the first edition. */
  settings: settings("1"),
};

/** A stand-in of known size for what a package manager would have put there; run by the shell that the base layer has. */
function script(name: string): string {
  return `#!/bin/sh\n# ${name}\necho ${name} "$@"\n${`# ${"x".repeat(76)}\n`.repeat(512)}`;
}

function settings(edition: string): Buffer {
  return Buffer.from(`edition: ${edition}\nworkers: 2\n`);
}

/** The loader's path in the image, for `ld.so ./prog`. */
export function loaderPath(programs: Programs): string {
  const found = [...programs.libraries.keys()].find((path) => path.includes("/ld-"));
  if (!found) throw new Error("the dynamic program has no loader");
  return found;
}

/**
 * The image that the end-to-end test and the demo run: four layers with whiteouts, an opaque folder, hard links, setuid,
 * security.capability, a name that is not UTF-8 and implied folders. `edition` changes one file, for rollouts and moved tags.
 */
export function acceptanceImage(programs: Programs, edition = "1"): ImageDefinition {
  const tag = `org.opencontainers.image`;
  return {
    index: true,
    config: {
      Cmd: [ACCEPTANCE.script],
      Env: ["PATH=/usr/local/bin:/usr/bin:/bin", "APP_MODE=production"],
      WorkingDir: "/app",
      Labels: { [`${tag}.source`]: ACCEPTANCE.source, [`${tag}.revision`]: ACCEPTANCE.revision, [`${tag}.title`]: "acme/web" },
    },
    steps: [
      { createdBy: "/bin/sh -c #(nop) ADD file:rootfs.tar in / ", layer: layerOf(tar(...base(programs))) },
      { createdBy: "/bin/sh -c #(nop)  ENV PATH=/usr/local/bin:/usr/bin:/bin APP_MODE=production" },
      { createdBy: "RUN /bin/sh -c apt-get install -y curl perl iputils-ping passwd # buildkit", layer: layerOf(tar(...packages())) },
      { createdBy: "RUN /bin/sh -c rm -rf /etc/removed.conf /opt/vendor && mkdir /opt/vendor # buildkit", layer: layerOf(tar(...removals())) },
      { createdBy: "COPY app / # buildkit", layer: layerOf(tar(...application(programs, edition))) },
      { createdBy: `CMD ["${ACCEPTANCE.script}"]` },
    ],
  };
}

const executable = (path: string, content: Buffer | string, mode = 0o755): Entry => file(path, content, { mode });

function base(programs: Programs): Entry[] {
  const libraries = [...programs.libraries].map(([path, content]) => executable(path.slice(1), content));
  const folders = new Set(
    libraries.flatMap(({ name }) =>
      name
        .split("/")
        .slice(0, -1)
        .map((_, i, all) => all.slice(0, i + 1).join("/")),
    ),
  );
  return [
    ...["bin", "etc", "etc/nginx", "home", "opt", "opt/vendor", "root", "run", "srv", "usr", "usr/bin", "usr/local", "usr/local/bin", "var", "var/log"].map(
      (name) => directory(name),
    ),
    ...[...folders].filter((name) => !["bin", "usr"].includes(name)).map((name) => directory(name)),
    directory("tmp", 0o1777),
    executable("bin/busybox", programs.busybox),
    ...APPLETS.map((name) => symlink(`bin/${name}`, "busybox")),
    ...libraries,
    file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n"),
    file("etc/group", "root:x:0:\nwww-data:x:33:\n"),
    file("etc/os-release", 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'),
    file("etc/removed.conf", "removed by the next layer but one\n"),
    file("etc/shadow", "root:*:19700::::::\n", { mode: 0o640, gid: 42 }),
    file("opt/vendor/old-a", "a\n"),
    file("opt/vendor/old-b", "b\n"),
    file("etc/nginx/nginx.conf", CONTENT.configFile),
  ];
}

function packages(): Entry[] {
  const status = [
    "Package: curl",
    "Status: install ok installed",
    "Version: 7.88.1-10+deb12u14",
    "Architecture: amd64",
    "Maintainer: nobody",
    "Description: transfer a URL",
    "",
    "",
  ];
  return [
    executable("usr/bin/curl", CONTENT.curl),
    executable("usr/bin/perl", script("perl")),
    hardlink("usr/bin/perl5", "usr/bin/perl", { mode: 0o755 }),
    hardlink("usr/bin/perl5.36", "usr/bin/perl", { mode: 0o755 }),
    executable("usr/bin/passwd", script("passwd"), 0o4755),
    { ...executable("usr/bin/ping", script("ping")), xattrs: { "security.capability": CAP_NET_RAW } },
    directory("var/lib"),
    directory("var/lib/dpkg"),
    directory("var/lib/dpkg/info"),
    file("var/lib/dpkg/status", status.join("\n")),
    file("var/lib/dpkg/info/curl.list", "/.\n/usr\n/usr/bin\n/usr/bin/curl\n"),
    directory("var/spool", 0o755),
    directory("var/spool/mail", 0o2775, { gid: 8 }),
  ];
}

function removals(): Entry[] {
  return [whiteout("etc/removed.conf"), directory("opt/vendor", 0o750), opaque("opt/vendor"), file("opt/vendor/new", "the only one\n")];
}

function application(programs: Programs, edition: string): Entry[] {
  const serve =
    "#!/bin/sh\n# Serves /srv until it is stopped; a child is reaped, a signal ends it.\ntrap 'exit 0' TERM INT\nhttpd -f -p 8080 -h /srv &\nwait\n";
  return [
    directory("app"),
    executable("app/serve.sh", serve),
    file("app/config.yml", settings(edition)),
    file("app/data.bin", CONTENT.data),
    file("srv/index.html", `<p>edition ${edition}</p>\n`),
    file(ACCEPTANCE.notUtf8.toString("latin1").slice(1), "a name in Latin-1\n"),
    symlink("srv/current", "index.html"),
    // No entries for var/lib/app and var/lib/app/state: the extractor makes them.
    file("var/lib/app/state/counter", "0\n", { uid: 33, gid: 33 }),
    executable("usr/local/bin/hullmark-tool", programs.tool),
    executable("usr/local/bin/hello", programs.hello),
  ];
}
