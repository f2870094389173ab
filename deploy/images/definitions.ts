/** What is in each image. One base of Debian's libraries and Node for all of them, so that a node holds it once. */

export interface ImageDefinition {
  readonly name: "hullmark-agent" | "hullmark-verifier" | "hullmark-actuator" | "hullmark-cli";
  readonly title: string;
  readonly description: string;
  /** Package whose production dependencies are in the bundle. */
  readonly workspace: string;
  /** Files of dist/, or globs for them; the first is what the image runs. */
  readonly files: readonly string[];
  /** Numeric, so that Kubernetes can see that it is not root. */
  readonly user: string;
  readonly ports: readonly number[];
}

/** The user of images that need no right on the host; also nobody's in distroless images. */
const NOBODY = "65532:65532";

export const IMAGES: readonly ImageDefinition[] = [
  {
    name: "hullmark-agent",
    title: "Hullmark agent",
    description: "Measures the containers of its node and tells the verifier",
    workspace: "agent",
    files: ["agent.js", "agent.js.LEGAL.txt", "hullmark.node"],
    // Root for its capabilities: what it may do is what the pod's securityContext adds.
    user: "0:0",
    ports: [],
  },
  {
    name: "hullmark-verifier",
    title: "Hullmark verifier",
    description: "Judges what agents measure against signed images and policy",
    workspace: "verifier",
    files: [
      "verifier.js",
      "verifier.js.LEGAL.txt",
      "sqlite-thread.js",
      "replay-thread.js",
      "better_sqlite3.node",
      "pkcs11-thread.js",
      "pkcs11.node",
      "dashboard.html",
      "dashboard.js",
      "dashboard.css",
    ],
    user: NOBODY,
    ports: [7443, 7444, 7480],
  },
  {
    name: "hullmark-actuator",
    title: "Hullmark actuator",
    description: "Has pods evicted that the verifier names, within limits of its own",
    workspace: "actuator",
    files: ["actuator.js", "actuator.js.LEGAL.txt"],
    user: NOBODY,
    ports: [],
  },
  {
    name: "hullmark-cli",
    title: "hullmark",
    description: "The hullmark command: drift, verify, sign, attest, policy, log",
    workspace: "hullmark",
    files: ["hullmark.js", "hullmark-*.mjs", "hullmark*.LEGAL.txt", "pkcs11-thread.js", "pkcs11.node"],
    user: NOBODY,
    ports: [],
  },
];

/** Where an image's own files lie. */
export const PROGRAM_FOLDER = "usr/lib/hullmark";

/** Files of the base that no package has. */
export const BASE_FILES: Readonly<Record<string, string>> = {
  "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nhullmark:x:65532:65532:hullmark:/:/sbin/nologin\n",
  "etc/group": "root:x:0:\nhullmark:x:65532:\n",
  "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
};
