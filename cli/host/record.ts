/** What `up` did and was asked for, so that `up` again continues and `down` removes exactly that. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import * as z from "zod";
import { HostError } from "./error.ts";
import type { Layout } from "./layout.ts";

const RecordSchema = z.strictObject({
  version: z.literal(1),
  /** Whether systemd units were made. */
  systemd: z.boolean(),
  dockerSocket: z.string(),
  policyFile: z.string().nullable(),
  plainHttpRegistries: z.array(z.string()),
  nodeName: z.string(),
  /** `none` where the host has no TPM that can be used. */
  tcti: z.string(),
  makerRootFiles: z.array(z.string()),
  /** EK on the allow-list; null: without TPM, or a TPM that is trusted at first sight. */
  ekSha256: z.string().nullable(),
  /** Whether the verifier serves the page for browsers. */
  dashboard: z.boolean().default(false),
  /** Whether an actuator runs, which may stop and isolate containers where policy says so. */
  act: z.boolean().default(false),
  /** The operator's settings of the actuator; null: none. */
  actConfigFile: z.string().nullable().default(null),
  ports: z.strictObject({ main: z.int(), enrolment: z.int(), http: z.int(), dashboard: z.int().default(7446) }),
  /** SHA-256 over bundle, Node and settings that the services were started with; empty until then. */
  started: z.string(),
  /** The link that lets the command find its verifier; null: none was made, another configuration stood there. */
  commandConfig: z.string().nullable(),
  /** Topmost directories that did not exist before. */
  createdDirectories: z.array(z.string()),
});
export type HostRecord = z.infer<typeof RecordSchema>;

/** @returns undefined where `up` never ran with this state directory @throws HostError BAD_RECORD */
export function readRecord({ record }: Layout): HostRecord | undefined {
  let text: string;
  try {
    text = readFileSync(record, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return RecordSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HostError("BAD_RECORD", `${record} is not what "hullmark up" wrote; nothing was changed`, { cause });
  }
}

export function writeRecord({ record }: Layout, content: HostRecord): void {
  writeFileSync(`${record}.new`, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${record}.new`, record);
}
