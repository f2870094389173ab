/** Response: what people see and decide of actions. Actuation: what actuators are handed, and what they tell. */
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type CallContext, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import { CaptureTeller } from "@hullmark/proto/v1/capture";
import { ActionState, type Actuation, type Response } from "@hullmark/proto/v1/response";
import { timestampMs } from "../../core/appraisal/time.ts";
import { keyOfNumber } from "../../core/fleet/row-pages.ts";
import { reaches } from "../../core/people/grants.ts";
import {
  CaptureTransferError,
  type CaptureTransfers,
  type CaptureWanted,
  keeperOf,
  LISTS_ACTIONS,
  noSuchAction,
  type ResponseEngine,
  ResponseError,
  toRevision,
} from "../../core/response/index.ts";
import type { ActionRow, CaptureRow } from "../../ports/rows.ts";
import type { Page, Store } from "../../ports/store.ts";
import { type AccessServices, actuatorOf, operatorOf, reachIn } from "./access.ts";
import { rpcErrorOf } from "./errors.ts";
import { rowsOf } from "./pages.ts";
import { PushQueue } from "./queue.ts";
import { reachedPage } from "./reach.ts";

export interface ResponseServices extends AccessServices {
  readonly engine: ResponseEngine;
  readonly store: Store;
  readonly captures: CaptureTransfers;
  /** Writes into the log what a person does: durable when it resolves. @throws StoreError */
  readonly note: (action: string, fields: Readonly<Record<string, string | number | null>>) => Promise<void>;
}

const MAX_REASON_CHARS = 500;
const MAX_DETAIL_CHARS = 4096;
/** The end of the year 9999. */
const MAX_TIME_MS = 253_402_300_799_999;
/** Intents that wait for one actuator to read them. */
const MAX_WAITING_INTENTS = 1000;
const OPEN = [ActionState.AWAITING, ActionState.CAPTURING, ActionState.ISSUED];

const time = (ms: number | undefined) => (ms === undefined ? undefined : timestampFromMs(ms));

export function actionMessage(row: ActionRow) {
  const {
    intent: _intent,
    number: _number,
    driftLogIndex: _index,
    owners: _owners,
    pod: _pod,
    target,
    rollout,
    capture,
    capturing: _capturing,
    captureMissed,
    node,
    logIndex,
    approvals,
    undoes,
    purge,
    ...same
  } = row;
  return {
    ...same,
    logIndex: BigInt(logIndex),
    ...(captureMissed && { captureMissed: captureMissed.code, captureProblem: captureMissed.problem, captureMissedAt: time(captureMissed.atMs) }),
    ...(undoes !== undefined && { undoes }),
    ...(purge && { purge: { chainId: purge.chainId, imageDigests: [...purge.imageDigests] } }),
    ...(target && { targetReference: target.reference, targetConfigDigest: target.configDigest }),
    ...(rollout && { targetRevisions: rollout.revisions.map(toRevision) }),
    ...(capture && { capture: captureMessage(capture) }),
    ...(node && { marks: [...node.marks], marksDone: [...node.done], actuatorNodeName: node.actuator?.name ?? "" }),
    approvals: approvals.map(({ by, atMs }) => ({ by, at: timestampFromMs(atMs) })),
    ...{ createdAt: time(row.createdAtMs), issuedAt: time(row.issuedAtMs), expiresAt: time(row.expiresAtMs), settledAt: time(row.settledAtMs) },
  };
}

function captureMessage({ digest, bytes, complete, files = 0, processes = 0, teller = CaptureTeller.UNSPECIFIED, expiresAtMs, toldAtMs }: CaptureRow) {
  const told = { expiresAt: time(expiresAtMs), toldAt: time(toldAtMs) };
  return { digest, bytes: BigInt(bytes), complete, files, processes, teller, ...told };
}

export function responseService(services: ResponseServices): ServiceImplementation<typeof Response> {
  const { engine, store } = services;
  const readAction = async (id: string, context: CallContext): Promise<ActionRow | undefined> => {
    const row = await store.readAction(id);
    return row && reaches(reachIn(context, services), row) ? row : undefined;
  };
  /** What is out of the caller's namespaces is refused as what is not there: in the words that the core has for that. @returns the id */
  const inReach = async (given: string, context: CallContext): Promise<string> => {
    const id = given.slice(0, 32).toUpperCase();
    if (reachIn(context, services) !== "cluster" && !(await readAction(id, context))) throw noSuchAction();
    return id;
  };
  return {
    async listActions({ openOnly, pageSize, pageToken }, context) {
      if (pageToken !== "" && !/^[0-9]{1,15}$/.test(pageToken))
        throw new RpcError("INVALID_ARGUMENT", "not a page token of this list", { reason: "PAGE_TOKEN", field: "pageToken" });
      const limit = rowsOf(pageSize);
      const reach = reachIn(context, services);
      const filter = { states: openOnly ? OPEN : [], sinceMs: 0 };
      const { page, next } = await reachedPage(reach, (page: Page) => store.listActions(filter, page), keyOfNumber, { after: pageToken, limit });
      const { pause } = engine;
      return {
        actions: page.map(actionMessage),
        nextPageToken: next,
        // Why, and what else is held, is of the whole cluster.
        ...(pause && { pause: { by: pause.by, reason: reach === "cluster" ? pause.reason : "", since: timestampFromMs(pause.sinceMs) } }),
        held: reach === "cluster" ? ({ ...engine.held() } as Record<string, number>) : {},
      };
    },
    async getAction({ id }, context) {
      const row = await readAction(id.slice(0, 32).toUpperCase(), context);
      if (!row) throw new RpcError("NOT_FOUND", "no such action", { reason: "NOT_FOUND", field: "id", fix: LISTS_ACTIONS });
      return { action: actionMessage(row) };
    },
    async *fetchCapture({ actionId, reason }, context) {
      const why = reasonOf(reason);
      const row = await readAction(actionId.slice(0, 32).toUpperCase(), context);
      if (!row) throw new RpcError("NOT_FOUND", "no such action", { reason: "NOT_FOUND", field: "actionId", fix: LISTS_ACTIONS });
      const { id, nodeId, capture } = row;
      if (!capture) throw new RpcError("FAILED_PRECONDITION", "nothing was captured for this action", { reason: "NO_CAPTURE", fix: "hullmark capture ls" });
      const { name } = operatorOf(context, services);
      await acting(() => services.note("capture-fetched", { of: id, node: nodeId, capture: capture.digest, by: name, reason: why }));
      const parts = services.captures.fetch(keeperOf(row), id, capture, context.signal);
      try {
        for await (const part of parts) {
          // It may take longer than the token or the certificate lasts, or the person is let in.
          operatorOf(context, services);
          yield { part };
        }
      } catch (error) {
        throw transferError(error);
      }
    },
    async approveAction({ id }, context) {
      const { name } = operatorOf(context, services);
      return { action: actionMessage(await acting(async () => await engine.approve(await inReach(id, context), name))) };
    },
    async denyAction({ id, reason }, context) {
      const { name } = operatorOf(context, services);
      const why = reasonOf(reason);
      await acting(async () => await engine.deny(await inReach(id, context), name, why));
      return {};
    },
    async undoAction({ id, reason }, context) {
      const { name } = operatorOf(context, services);
      const why = reasonOf(reason);
      return { action: actionMessage(await acting(async () => await engine.undo(await inReach(id, context), name, why))) };
    },
    async purgeLayer({ node, layer, reason, byHand }, context) {
      const { name } = operatorOf(context, services);
      const wanted = layer.slice(0, 80).toLowerCase();
      return { action: actionMessage(await acting(() => engine.purge(node.slice(0, 256), wanted, name, reasonOf(reason), byHand))) };
    },
    async pauseActions({ reason }, context) {
      await acting(() => engine.setPause(true, operatorOf(context, services).name, reasonOf(reason)));
      return {};
    },
    async resumeActions({ reason }, context) {
      await acting(() => engine.setPause(false, operatorOf(context, services).name, reasonOf(reason)));
      return {};
    },
  };
}

export function actuationService(services: ResponseServices): ServiceImplementation<typeof Actuation> {
  const { engine } = services;
  return {
    async *pullIntents(_request, context) {
      const actuator = actuatorOf(context, services);
      const queue = new PushQueue<ActionRow | CaptureWanted>(
        MAX_WAITING_INTENTS,
        () => new RpcError("RESOURCE_EXHAUSTED", "the actuator does not keep up", { reason: "BACKLOG", fix: "pull again", retryable: true }),
      );
      context.signal.addEventListener("abort", () => queue.end(), { once: true });
      const end = engine.connect(actuator, {
        push: (row) => queue.push(row),
        end: () => queue.end(new RpcError("UNAVAILABLE", "the verifier ended the stream: reconnect", { reason: "STOPPING", retryable: true })),
      });
      const endCaptures = services.captures.listen(actuator, (wanted) => queue.push(wanted));
      try {
        for await (const row of queue) {
          // The stream may outlive the certificate.
          actuatorOf(context, services);
          if ("requestId" in row) {
            yield { capture: row };
            continue;
          }
          const intent = await engine.signed(row);
          if (intent) yield { intent };
        }
      } finally {
        end();
        endCaptures();
      }
    },
    async uploadCapture({ requestId, offset, part, last, refusal }, context) {
      try {
        await services.captures.take(actuatorOf(context, services), { requestId, offset: Number(offset), bytes: Buffer.from(part), last, refusal });
      } catch (error) {
        throw transferError(error);
      }
      return {};
    },
    async reportOutcome({ intentId, outcome, reason, detail, newContainerId, capture, captureProblem, marks }, context) {
      const report = {
        ...{ outcome, reason: reason.slice(0, 64), detail: detail.slice(0, MAX_DETAIL_CHARS), newContainerId: newContainerId.slice(0, 64) },
        capture: capture && {
          ...{ digest: capture.digest.slice(0, 71), bytes: Number(capture.bytes), complete: capture.complete },
          ...{ expiresAtMs: expiry(capture.expiresAt), files: capture.files, processes: capture.processes },
        },
        captureProblem: captureProblem.slice(0, MAX_DETAIL_CHARS),
        marks,
      };
      await acting(() => engine.report(actuatorOf(context, services), intentId, report));
      return {};
    },
  };
}

/** The host's word: what is no day's is none. */
function expiry(at: Timestamp | undefined): number | undefined {
  const ms = at && timestampMs(at);
  return ms !== undefined && ms >= 0 && ms <= MAX_TIME_MS ? ms : undefined;
}

export function transferError(error: unknown): RpcError {
  if (!(error instanceof CaptureTransferError)) return rpcErrorOf(error);
  const { code, message } = error;
  return new RpcError(code === "NO_TRANSFER" ? "NOT_FOUND" : "FAILED_PRECONDITION", message, { reason: code });
}

const STATUS = {
  NOT_FOUND: "NOT_FOUND",
  NOT_AWAITING: "FAILED_PRECONDITION",
  NOT_UNDOABLE: "FAILED_PRECONDITION",
  NOT_PURGEABLE: "FAILED_PRECONDITION",
  HELD: "FAILED_PRECONDITION",
  BAD_OUTCOME: "INVALID_ARGUMENT",
} as const;

async function acting<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ResponseError)) throw rpcErrorOf(error);
    throw new RpcError(STATUS[error.code], error.message, { reason: error.code, fix: error.fix });
  }
}

function reasonOf(reason: string): string {
  const trimmed = reason.trim();
  if (trimmed === "" || trimmed.length > MAX_REASON_CHARS)
    throw new RpcError("INVALID_ARGUMENT", `reason: want 1 to ${MAX_REASON_CHARS} characters: it is logged`, { reason: "ARGUMENT", field: "reason" });
  return trimmed;
}
