/** What a session stands between: the services of the verifier and the stream of one node. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AttestResponseSchema } from "@hullmark/proto/v1/attestation";
import type { CaptureTaken } from "@hullmark/proto/v1/capture";
import type { Clock } from "../../ports/clock.ts";
import type { Meter } from "../../ports/meter.ts";
import type { Committer } from "../fleet/committer.ts";
import type { Policy } from "../policy/types.ts";
import type { SessionError } from "./errors.ts";
import type { Pacer } from "./pacer.ts";
import type { QuoteAuthority } from "./quotes.ts";

export type AttestResponseInit = MessageInitShape<typeof AttestResponseSchema>;
export type Outgoing = NonNullable<AttestResponseInit["message"]>;

/** What an agent that captures is asked. */
export interface CaptureStream {
  ask(asked: { readonly id: Buffer; readonly actionId: string; readonly containerId: string }): void;
  want(wanted: { readonly requestId: Buffer; readonly actionId: string; readonly digest: string }): void;
}

/** Whoever wants something captured before it is acted on. */
export interface CaptureAsker {
  /** @returns ends it */
  connect(nodeId: string, stream: CaptureStream): () => void;
  /** Whoever holds the node chooses what is in it. Never throws, never waits. */
  taken(nodeId: string, answer: CaptureTaken): void;
}

export interface SessionServices {
  readonly clock: Clock;
  readonly meter: Meter;
  readonly committer: Committer;
  readonly quotes: QuoteAuthority;
  readonly pacer: Pacer;
  readonly policy: () => Policy;
  /** Node → losses that its agent has told of: outlives sessions. */
  readonly losses: Map<string, number>;
  /** The log's newest signed checkpoint, for the agent to keep; empty before the first. */
  readonly checkpoint: () => string;
  readonly captures: CaptureAsker;
  readonly verifierId: string;
  readonly region: string;
}

export interface SessionPeer {
  /** SHA-256 of the client key's SubjectPublicKeyInfo. */
  readonly spkiSha256: Buffer;
  readonly certificateNotAfterMs: number;
}

/** The stream: `send` never blocks; after `close` it takes nothing more. */
export interface Transport {
  send(message: AttestResponseInit): void;
  close(error: SessionError | undefined): void;
}
