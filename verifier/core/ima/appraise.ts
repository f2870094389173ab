/** Measurements against policy: which files the node's kernel has seen run that nothing vouches for. Pure. */
import type { ImaEntry } from "@hullmark/proto/codec";
import type { QuotedPcr } from "../measured-boot/replay.ts";
import { BOOT_AGGREGATE, isBootAggregate } from "./boot-aggregate.ts";
import { measuredFile } from "./fields.ts";
import { isViolation } from "./replay.ts";

/** What policy says of a node's measurement list, compiled. */
export interface ImaRules {
  readonly list: "required" | "optional";
  /** Changes when anything below does: the list is then judged from its start. */
  readonly digest: string;
  /** Hex SHA-256 of files that are known. */
  baseline(sha256: string): boolean;
  /** Paths that are not looked at. */
  ignored(path: Buffer): boolean;
  readonly violations: "refuse" | "accept";
}

/** A measurement that nothing vouches for. */
export interface ImaItem {
  /** Raw bytes. */
  readonly path: Buffer;
  /** `sha256:…`, or `violation`. */
  readonly digest: string;
  /** Position in the list, from 0. */
  readonly index: number;
}

/** Whether a signed image holds this content at this path, which has no leading slash. */
export type Vouches = (path: Buffer, sha256: Buffer) => boolean;

/** Where a container's files lie on the node: Docker's and containerd's overlay directories. */
const LAYER_PATH =
  /^\/.*\/(?:overlay2\/[^/]+\/(?:diff|merged)|rootfs\/overlayfs\/[0-9a-f]{64}|snapshots\/\d+\/fs|io\.containerd\.runtime\.v2\.task\/[^/]+\/[^/]+\/rootfs)\//;
const MAX_SHOWN_PATH_BYTES = 512;

/**
 * @param quoted PCRs of the quote that came with the list
 * @returns undefined where the entry is vouched for, or is none of policy's business
 */
export function unvouched(entry: ImaEntry, index: number, rules: ImaRules, vouches: Vouches, quoted: readonly QuotedPcr[]): ImaItem | undefined {
  const file = readFile(entry);
  if (!file) return { path: Buffer.from(`(template ${entry.template})`), digest: "unreadable", index };
  const { path, algorithm, digest, buffer } = file;
  if (rules.ignored(path)) return undefined;
  const shown = path.subarray(0, MAX_SHOWN_PATH_BYTES);
  if (isViolation(entry)) return rules.violations === "accept" ? undefined : { path: shown, digest: "violation", index };
  if (buffer) return undefined; // no code
  const item = { path: shown, digest: `${algorithm}:${digest}`.slice(0, 160), index };
  if (path.toString("latin1") === BOOT_AGGREGATE) {
    // A kernel that was started by kexec goes on with the list, and adds its own.
    const held = isBootAggregate(algorithm, digest, quoted);
    return held || (held === undefined && index === 0) ? undefined : item;
  }
  if (algorithm === "sha256" && (rules.baseline(digest) || vouches(containerPath(path), Buffer.from(digest, "hex")))) return undefined;
  return item;
}

/** Looks again at what nothing vouched for: an image may have become known since. */
export function stillUnvouched({ path, digest }: ImaItem, vouches: Vouches): boolean {
  const [algorithm, hex] = digest.split(":");
  return algorithm !== "sha256" || hex === undefined || !vouches(containerPath(path), Buffer.from(hex, "hex"));
}

function readFile(entry: ImaEntry): ReturnType<typeof measuredFile> {
  try {
    return measuredFile(entry);
  } catch {
    return undefined;
  }
}

/** The path as the container sees it, without the leading slash. */
function containerPath(path: Buffer): Buffer {
  const text = path.toString("latin1");
  return Buffer.from(text.replace(LAYER_PATH, "/").replace(/^\/+/, ""), "latin1");
}
