/** The agent's configuration file: YAML, strict keys, errors with their places. deploy/config/agent.example.yaml explains every key. */
import { hostname } from "node:os";
import { captureSettings } from "@hullmark/capture/settings";
import { hostPort, parseConfigFile, readConfigFile } from "@hullmark/daemon";
import { compileGlob } from "@hullmark/proto/codec";
import * as z from "zod";

const pathGlob = z.string().refine((text) => {
  try {
    compileGlob(text);
    return /^(?:\/|\*\*)/.test(text);
  } catch {
    return false;
  }
}, "want a glob over whole paths: it begins with / or **");

const ConfigSchema = z.strictObject({
  /** Name of this node for people; its identity is the TPM's. */
  nodeName: z
    .string()
    .min(1)
    .max(253)
    .default(() => process.env["HULLMARK_NODE_NAME"] || hostname()),
  /** Private to the agent, mode 0700: spool, AK blobs. */
  stateDirectory: z.string().startsWith("/"),
  verifier: z.strictObject({
    /** Main listener (mutual TLS). */
    address: hostPort,
    /** Enrolment listener (server TLS). */
    enrolmentAddress: hostPort,
    /** PEM of the verifier's CA. */
    caFile: z.string(),
  }),
  tpm: z
    .strictObject({
      /** `device:/dev/tpmrm0`, `swtpm:path=…`; `none`: join by token, trust level none. */
      tcti: z.string().default("device:/dev/tpmrm0"),
      pcrs: z.array(z.int().min(0).max(23)).min(1).max(24).default([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]),
      pcrBanks: z.union([z.tuple([z.enum(["sha256", "sha384"])]), z.tuple([z.literal("sha256"), z.literal("sha384")])]).default(["sha256"]),
    })
    .prefault({}),
  measuredBoot: z
    .strictObject({
      /** Event log of the firmware, as the kernel shows it; `none`: this node has none. */
      eventLog: z.union([z.string().startsWith("/"), z.literal("none")]).default("/sys/kernel/security/tpm0/binary_bios_measurements"),
      /** What the kernel measured (IMA), in its binary form; `none`: do not look. */
      imaList: z.union([z.string().startsWith("/"), z.literal("none")]).default("/sys/kernel/security/ima/binary_runtime_measurements"),
    })
    .prefault({}),
  /** File that holds a one-time join token; only for `tcti: none`. */
  joinTokenFile: z.string().optional(),
  /** In Kubernetes: the projected service-account token, instead of a join token; only for `tcti: none`. */
  serviceAccountTokenFile: z.string().optional(),
  runtime: z
    .strictObject({
      docker: z.strictObject({ socket: z.string().startsWith("/").default("/var/run/docker.sock") }).optional(),
      /** Kubernetes' Container Runtime Interface: containerd, CRI-O. */
      cri: z
        .strictObject({
          socket: z.string().startsWith("/").default("/run/containerd/containerd.sock"),
          kubeletDirectory: z.string().startsWith("/").default("/var/lib/kubelet"),
          /** Containers that the runtime does not tell of: `ignore` where another engine runs on the node on purpose. */
          otherContainers: z.enum(["report", "ignore"]).default("report"),
        })
        .optional(),
      /** No container is looked at: of a node that has none, or is not meant to be told of them. The node says so. */
      none: z.literal(true).optional(),
    })
    .refine(({ docker, cri, none }) => [docker, cri, none].filter((each) => each !== undefined).length < 2, "one of docker, cri and none")
    .transform(({ docker, cri, none }) => (cri ? { cri } : none ? { none } : { docker: docker ?? { socket: "/var/run/docker.sock" } }))
    .prefault({}),
  changes: z
    .strictObject({
      /** `auto`: fanotify where its self-test passes, else chokidar. */
      source: z.enum(["auto", "fanotify", "chokidar"]).default("auto"),
    })
    .prefault({}),
  scrub: z.strictObject({ bytesPerSecond: z.int().min(0).max(1_000_000_000).default(4_000_000) }).prefault({}),
  /** Which files' contents may leave the node, so that people see what changed in them. Nothing, unless paths are allowed. */
  contents: z
    .strictObject({
      allow: z.array(pathGlob).max(1000).default([]),
      deny: z.array(pathGlob).max(1000).default([]),
      maxBytes: z.int().min(1).max(1_048_576).default(65_536),
      hourly: z.int().min(1).max(1000).default(60),
    })
    .prefault({}),
  /** What is kept of a pod before it is evicted, and whom it is sealed to. Nothing, unless there are recipients. */
  capture: captureSettings(16_777_216).prefault({}),
  spool: z.strictObject({ maxBytes: z.int().min(1_048_576).max(4_294_967_296).default(67_108_864) }).prefault({}),
  log: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
});

export type AgentConfig = z.infer<typeof ConfigSchema>;

/** @throws ConfigError with every mistake, or where the file cannot be read */
export function loadConfig(file: string): AgentConfig {
  return parseConfig(readConfigFile(file), file);
}

/** @throws ConfigError */
export function parseConfig(text: string, file: string): AgentConfig {
  return parseConfigFile(ConfigSchema, text, file);
}
