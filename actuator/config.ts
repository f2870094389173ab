/** The actuator's configuration file: YAML, strict keys, errors with their places. deploy/config/actuator.example.yaml explains every key. */
import { captureSettings } from "@hullmark/capture/settings";
import { hostPort, parseConfigFile, readConfigFile } from "@hullmark/daemon";
import { compileGlob } from "@hullmark/proto/codec";
import * as z from "zod";

const glob = z.string().refine((text) => {
  try {
    compileGlob(text);
    return true;
  } catch {
    return false;
  }
}, "want a glob");

/** Handed to a program. */
const word = z
  .string()
  .max(4096)
  .refine((text) => !text.includes("\0"), "want no NUL");

const hook = z.strictObject({
  command: word.startsWith("/", "want an absolute path"),
  arguments: z.array(word).max(64).default([]),
  environment: z.record(z.string().regex(/^(?!HULLMARK_)[A-Za-z_][A-Za-z0-9_]*$/, "want a name, and none of HULLMARK_"), word).default({}),
  timeoutSeconds: z.int().min(1).max(120).default(30),
});

const ConfigSchema = z.strictObject({
  stateDirectory: z.string().startsWith("/", "want an absolute path"),
  credentialDirectory: z.string().startsWith("/", "want an absolute path"),
  verifier: z.strictObject({ address: hostPort }),
  docker: z.strictObject({ socket: z.string().startsWith("/").default("/var/run/docker.sock") }).optional(),
  kubernetes: z
    .strictObject({
      namespace: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "want a namespace"),
      halt: z.boolean().default(false),
      networkPolicyEnforced: z.boolean().default(false),
      lease: z
        .string()
        .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, "want the name of a Lease")
        .optional(),
      apiServer: z.url({ protocol: /^https$/ }).optional(),
      caFile: z.string().startsWith("/").default("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"),
      tokenFile: z.string().startsWith("/").default("/var/run/secrets/kubernetes.io/serviceaccount/token"),
    })
    .optional(),
  limits: z
    .strictObject({
      pauseSeconds: z.int().min(1).max(86_400).default(600),
      hourlyPercent: z.int().min(0).max(100).default(2),
      purgeContainers: z.int().min(0).max(1000).default(10),
      protect: z.array(glob).max(1000).default([]),
    })
    .prefault({}),
  purge: z.boolean().default(false),
  nodes: z
    .strictObject({
      hook: hook.optional(),
      allow: z.array(glob).min(1).max(1000),
      hourly: z.int().min(1).max(1000).default(1),
      atOnce: z.int().min(1).max(1000).default(1),
    })
    .optional(),
  capture: captureSettings(67_108_864)
    .extend({ required: z.boolean().default(false) })
    .refine(({ recipients, required }) => recipients.length > 0 || !required, "required: want recipients, or nothing would ever be acted on")
    .prefault({}),
  log: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
});

const WholeSchema = ConfigSchema.refine(({ docker, kubernetes }) => !(docker && kubernetes), "want docker or kubernetes, not both")
  .refine(({ kubernetes, capture }) => !kubernetes || capture.recipients.length === 0, "capture: what a pod wrote lies on its node, where this actuator is not")
  .refine(
    ({ kubernetes, nodes }) => !nodes || (nodes.hook === undefined) === (kubernetes !== undefined),
    "nodes: want hook on a host, and none in a cluster, where the API server is asked",
  )
  .refine(({ kubernetes, purge }) => !kubernetes || !purge, "purge: a cluster's actuator is not where layers are")
  .transform(({ docker, ...rest }) => ({ ...rest, docker: docker ?? { socket: "/var/run/docker.sock" } }));

/** With `kubernetes` it is a cluster's, else a host's. */
export type ActuatorConfig = z.infer<typeof WholeSchema>;

/** @throws ConfigError with every mistake, or where the file cannot be read */
export function loadConfig(file: string): ActuatorConfig {
  return parseConfig(readConfigFile(file), file);
}

/** @throws ConfigError */
export function parseConfig(text: string, file: string): ActuatorConfig {
  return parseConfigFile(WholeSchema, text, file);
}
