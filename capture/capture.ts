/** What is kept of a container before it is acted on. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { CaptureSchema } from "@hullmark/proto/v1/capture";

/** As people are told of it; the content can be read by the responders' key alone. */
export interface Capture {
  /** `sha256:<hex>` of the encrypted file. */
  readonly digest: string;
  /** Of the encrypted file. */
  readonly bytes: number;
  /** false: a limit was reached, or something could not be read; what is left out is listed inside. */
  readonly complete: boolean;
  /** Changed paths and processes that are in it; undefined: taken before they were counted. */
  readonly files?: number | undefined;
  readonly processes?: number | undefined;
  /** Unix milliseconds, by this host's clock: it is removed then. */
  readonly expiresAtMs?: number | undefined;
}

/** As the verifier is told of it; whose word it is the verifier says itself. */
export function captureMessage({ digest, bytes, complete, expiresAtMs, files = 0, processes = 0 }: Capture): MessageInitShape<typeof CaptureSchema> {
  return { digest, bytes: BigInt(bytes), complete, files, processes, ...(expiresAtMs !== undefined && { expiresAt: timestampFromMs(expiresAtMs) }) };
}

/** The container, and what the capture is filed under. */
export interface CaptureSubject {
  /** 32 hex digits: of what asks for it. Taken once for each. */
  readonly intentId: string;
  readonly actionId: string;
  readonly containerId: string;
  readonly name: string;
}

export class CaptureError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CaptureError";
  }
}

export interface Captures {
  /** What is not captured is not acted on. */
  readonly required: boolean;
  /**
   * Takes it, or finds what was taken for this intent before. Durable on return; ends within its own limits of bytes and seconds, and, where the process dies of it,
   * is tried no more than {@link MAX_ATTEMPTS} times: containment is not to wait for ever. @throws CaptureError
   */
  take(subject: CaptureSubject): Promise<Capture>;
  /** The first that was taken for an action and is kept still: of a container that is gone by now. @throws CaptureError */
  first(actionId: string): Capture | undefined;
}

/** What was taken, until it is removed. */
export interface KeptCaptures {
  /** The encrypted file in parts of at most 256 KiB, whole, whatever is removed meanwhile. undefined: there is none of that digest. @throws the system's error */
  open(actionId: string, digest: string): Promise<AsyncIterable<Buffer> | undefined>;
}

export interface Change {
  readonly path: string;
  /** `changed`: modified or added, which is not told apart. */
  readonly kind: "modified" | "added" | "deleted" | "changed";
  /** Of a path that is no UTF-8. */
  readonly pathHex?: string;
}

/** `too-large`: more than what was allowed; nothing of it is kept. `special`: a device, a FIFO or a socket. */
export type Archived = { readonly tar: Buffer } | { readonly left: "too-large" | "directory" | "special" | "gone" | "unreadable" };

export interface FoundChanges {
  /** A directory before what is in it. */
  readonly changes: readonly Change[];
  /** Why these are not all, in words; undefined: they are. */
  readonly problem?: string;
}

/** What a container changed on its file system, whoever tells of it. Every name and byte is the container's. */
export interface ChangedFiles {
  /** @throws CaptureError; the signal's reason */
  changes(signal: AbortSignal): Promise<FoundChanges>;
  /** Where volumes and directories of the host are mounted in it: an archive of what is above would hold all of them. @throws CaptureError; the signal's reason */
  mounts(signal: AbortSignal): Promise<readonly string[]>;
  /** One path as a tar archive; a directory with all in it where `whole`, else not. @throws CaptureError; the signal's reason */
  archive(change: Change, options: { readonly whole: boolean; readonly maxBytes: number }, signal: AbortSignal): Promise<Archived>;
}

/** To the responders' keys: whoever seals cannot open it again. */
export type Seal = (plain: Buffer) => Promise<Buffer>;

/** Where a process that takes captures can be killed in the tests; each must be survived. */
export const CAPTURE_FAILPOINTS = ["capture-begun", "capture-sealed", "capture-kept"] as const;
export type CaptureFailpoint = (typeof CAPTURE_FAILPOINTS)[number];

export const MAX_ATTEMPTS = 2;
