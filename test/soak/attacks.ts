/** What is planted while the services work: every one must be found, and must be resolved once it is undone. */
import type { Hands } from "./hands.ts";

export interface Attack {
  readonly name: string;
  plant(hands: Hands, container: string): Promise<unknown>;
  /** Puts everything back; absent: what was planted ends by itself, or goes with the container. */
  undo?(hands: Hands, container: string): Promise<unknown>;
  /** One drift that has all of this must be found. */
  readonly expected: { readonly path: RegExp; readonly kinds: readonly string[] };
  /** Further drift that rightly comes with it: a path on any container. */
  readonly alsoPaths?: RegExp;
  /** The container is removed and made anew instead of being put right. */
  readonly recreate?: boolean;
}

/** Long enough to be found by the slowest look, short enough to end by itself. */
const STAY_SECONDS = 20;

const MEMFD = `import os, sys
fd = os.memfd_create("planted", 0)
os.write(fd, open("/bin/sleep", "rb").read())
os.execv("/proc/self/fd/%d" % fd, ["sleep", "${STAY_SECONDS}"])`;
const CAPABILITY = "import os; os.setxattr('/usr/bin/env', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))";

export const ATTACKS: readonly Attack[] = [
  {
    name: "configuration edited",
    plant: (h, c) => h.sh(c, "echo '# planted' >>/etc/adduser.conf"),
    undo: (h, c) => h.sh(c, "sed -i '$d' /etc/adduser.conf"),
    expected: { path: /^\/etc\/adduser\.conf$/, kinds: ["content"] },
  },
  {
    name: "new executable, run",
    plant: (h, c) => h.background(c, `cp /bin/sleep /usr/local/bin/planted && exec /usr/local/bin/planted ${STAY_SECONDS}`),
    undo: (h, c) => h.sh(c, "rm -f /usr/local/bin/planted"),
    expected: { path: /^\/usr\/local\/bin\/planted$/, kinds: ["code-upper"] },
  },
  {
    name: "memfd",
    plant: (h, c) => h.docker("exec", "--detach", c, "python3", "-c", MEMFD),
    expected: { path: /memfd:planted/, kinds: ["code-memfd"] },
  },
  {
    name: "run from /dev",
    plant: (h, c) => h.background(c, `cp /bin/sleep /dev/.planted && exec /dev/.planted ${STAY_SECONDS}`),
    undo: (h, c) => h.sh(c, "rm -f /dev/.planted"),
    expected: { path: /^\/dev\/\.planted$/, kinds: ["code-tmpfs"] },
  },
  {
    name: "library preloaded from scratch space",
    plant: (h, c) => h.background(c, `cp /lib/*/libm.so.6 /var/tmp/planted.so && LD_PRELOAD=/var/tmp/planted.so exec sleep ${STAY_SECONDS}`),
    undo: (h, c) => h.sh(c, "rm -f /var/tmp/planted.so"),
    expected: { path: /^\/var\/tmp\/planted\.so$/, kinds: ["code-upper"] },
  },
  {
    name: "setuid",
    plant: (h, c) => h.sh(c, "chmod u+s /usr/bin/env"),
    undo: (h, c) => h.sh(c, "chmod u-s /usr/bin/env"),
    expected: { path: /^\/usr\/bin\/env$/, kinds: ["setuid"] },
  },
  {
    name: "capability",
    plant: (h, c) => h.docker("exec", "--user", "0", c, "python3", "-c", CAPABILITY),
    undo: (h, c) => h.docker("exec", "--user", "0", c, "python3", "-c", "import os; os.removexattr('/usr/bin/env', 'security.capability')"),
    expected: { path: /^\/usr\/bin\/env$/, kinds: ["capability"] },
  },
  {
    name: "deleted",
    plant: (h, c) => h.sh(c, "mv /etc/issue /var/tmp/planted"),
    undo: (h, c) => h.sh(c, "mv /var/tmp/planted /etc/issue"),
    expected: { path: /^\/etc\/issue$/, kinds: ["removed"] },
  },
  {
    name: "another owner",
    plant: (h, c) => h.sh(c, "chown 33:33 /etc/login.defs"),
    undo: (h, c) => h.sh(c, "chown 0:0 /etc/login.defs"),
    expected: { path: /^\/etc\/login\.defs$/, kinds: ["owner"] },
  },
  {
    name: "name server of the engine's file",
    plant: (h, c) => h.sh(c, "cat /etc/hosts >/var/tmp/hosts; echo '203.0.113.9 deb.debian.org' >>/etc/hosts"),
    undo: (h, c) => h.sh(c, "cat /var/tmp/hosts >/etc/hosts; rm /var/tmp/hosts"),
    expected: { path: /^\/etc\/hosts$/, kinds: ["bind-file"] },
  },
  {
    name: "layer edited on the node",
    plant: async (h, c) => h.onHost(`echo planted >>"${await h.layerDirectory(c, 0)}/usr/bin/clear_console"`),
    undo: async (h, c) => h.onHost(`truncate -s -8 "${await h.layerDirectory(c, 0)}/usr/bin/clear_console"`),
    expected: { path: /^\/usr\/bin\/clear_console$/, kinds: ["content"] },
    alsoPaths: /^\/usr\/bin\/clear_console$/,
  },
  {
    name: "edited, and the container made anew",
    plant: (h, c) => h.sh(c, "echo 'root::0:0:::' >>/etc/shadow"),
    expected: { path: /^\/etc\/shadow$/, kinds: ["content"] },
    recreate: true,
  },
];
