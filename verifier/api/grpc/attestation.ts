/** Attestation: the stream of one node, between the wire and its session. */
import type { ServiceImplementation } from "@hullmark/proto/rpc";
import type { Attestation, AttestRequest } from "@hullmark/proto/v1/attestation";
import { agentName, type CaptureTransfers } from "../../core/response/index.ts";
import { type AttestResponseInit, type Session, SessionError, type Sessions } from "../../core/session/index.ts";
import { type AccessServices, nodeOf } from "./access.ts";
import { rpcErrorOf } from "./errors.ts";
import { PushQueue } from "./queue.ts";
import { transferError } from "./response.ts";

/** Messages for a node that does not read. */
const MAX_QUEUED_MESSAGES = 1024;
const HELLO_TIMEOUT_MS = 10_000;

export interface AttestationServices extends AccessServices {
  readonly sessions: Sessions;
  readonly captures: CaptureTransfers;
  readonly after: (delayMs: number, run: () => void) => () => void;
}

export function attestationService(services: AttestationServices): ServiceImplementation<typeof Attestation> {
  return {
    async *attest(requests, context) {
      const node = nodeOf(context, services);
      const queue = new PushQueue<AttestResponseInit>(MAX_QUEUED_MESSAGES, () => rpcErrorOf(new SessionError("OVERLOADED", "the node does not read")));
      const transport = {
        send: (message: AttestResponseInit) => queue.push(message),
        close: (error: SessionError | undefined) => queue.end(error && rpcErrorOf(error)),
      };
      const impatient = services.after(HELLO_TIMEOUT_MS, () => transport.close(new SessionError("PROTOCOL", "no Hello within 10 s")));
      let session: Session | undefined;
      const handle = async (request: AttestRequest): Promise<void> => {
        if (session) {
          services.sessions.heard(session);
          await session.receive(request);
          return;
        }
        const { message } = request;
        if (message.case !== "hello") throw new SessionError("PROTOCOL", "the first message is not Hello");
        impatient();
        session = await services.sessions.open(node.nodeId, { spkiSha256: node.spkiSha256, certificateNotAfterMs: node.notAfterMs }, message.value, transport);
      };
      const receive = async (): Promise<void> => {
        let failed = false;
        for await (const request of requests) {
          // Leaving the loop would destroy the stream, and with it the answer that says why.
          if (failed) continue;
          try {
            await handle(request);
          } catch (error) {
            failed = true;
            queue.end(rpcErrorOf(error));
          }
        }
      };
      const receiving = receive().then(
        () => queue.end(),
        () => queue.end(),
      );
      context.signal.addEventListener("abort", () => queue.end(), { once: true });
      try {
        yield* queue;
      } finally {
        impatient();
        if (session) services.sessions.ended(session);
        // Reading ends with the stream; a session that opens meanwhile must not stay behind.
        void receiving.then(() => session && services.sessions.ended(session));
      }
    },
    async uploadPodCapture({ requestId, offset, part, last, refusal }, context) {
      try {
        await services.captures.take(agentName(nodeOf(context, services).nodeId), {
          ...{ requestId, offset: Number(offset), bytes: Buffer.from(part), last, refusal },
        });
      } catch (error) {
        throw transferError(error);
      }
      return {};
    },
  };
}
