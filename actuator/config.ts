/** The actuator's configuration file: YAML, strict keys, errors with their places. deploy/config/actuator.example.yaml explains every key. */
import { hostPort, parseConfigFile, readConfigFile } from "@hullmark/daemon";
import { compileGlob } from "@hullmark/proto/codec";
import { Encrypter } from "age-encryption";
import { z } from "zod";

const glob = z.string().refine((text) => {
  try {
    compileGlob(text);
    return true;
  } catch {
    return false;
  }
}, "want a glob");

const recipient = z.string().refine((text) => {
  try {
    new Encrypter().addRecipient(text);
    return true;
  } catch {
    return false;
  }
}, "want an age recipient (age1…), as age-keygen prints it");

const ConfigSchema = z.strictObject({
  stateDirectory: z.string().startsWith("/", "want an absolute path"),
  credentialDirectory: z.string().startsWith("/", "want an absolute path"),
  verifier: z.strictObject({ address: hostPort }),
  docker: z.strictObject({ socket: z.string().startsWith("/").default("/var/run/docker.sock") }).prefault({}),
  limits: z
    .strictObject({
      pauseSeconds: z.int().min(1).max(86_400).default(600),
      hourlyPercent: z.int().min(0).max(100).default(2),
      protect: z.array(glob).max(1000).default([]),
    })
    .prefault({}),
  capture: z
    .strictObject({
      recipients: z.array(recipient).max(16).default([]),
      keepHours: z.int().min(1).max(8760).default(168),
      maxBytes: z.int().min(65_536).max(268_435_456).default(67_108_864),
      maxSeconds: z.int().min(1).max(120).default(15),
      required: z.boolean().default(false),
    })
    .refine(({ recipients, required }) => recipients.length > 0 || !required, "required: want recipients, or nothing would ever be acted on")
    .prefault({}),
  log: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
});

export type ActuatorConfig = z.infer<typeof ConfigSchema>;

/** @throws ConfigError with every mistake, or where the file cannot be read */
export function loadConfig(file: string): ActuatorConfig {
  return parseConfig(readConfigFile(file), file);
}

/** @throws ConfigError */
export function parseConfig(text: string, file: string): ActuatorConfig {
  return parseConfigFile(ConfigSchema, text, file);
}
