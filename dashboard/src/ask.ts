/** Asks the verifier what the command asks too, over the page's own session. */
import { create, type DescMethodUnary, fromBinary, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";

/** `page`: it asks by itself, which keeps no session alive. */
export type By = "person" | "page";

/** What the verifier says is the matter; texts are its own, with names from anywhere in them: not printable yet. */
export class AskError extends Error {
  /** A gRPC status name; `OFFLINE` where nobody answers. */
  readonly code: string;
  readonly reason: string;
  readonly fix: string;

  constructor({ code, message, reason = "", fix = "" }: { code: string; message: string; reason?: string; fix?: string }) {
    super(message);
    this.name = "AskError";
    this.code = code;
    this.reason = reason;
    this.fix = fix;
  }
}

export interface Session {
  readonly name: string;
  /** What their issuer calls them besides, for show; empty: nothing. */
  readonly shownAs: string;
  readonly role: "viewer" | "responder" | "approver" | "admin";
  /** Where alone the role holds; empty: in the whole cluster. */
  readonly namespaces: readonly string[];
  readonly endsAt: string;
}

/** For what a page offers; whether somebody may is decided where it is asked. */
export const mayAct = ({ role }: Session): boolean => role !== "viewer";
/** An incident is about all places where it is, also those that a role in single namespaces does not reach. */
export const mayDecideIncidents = (session: Session): boolean => mayAct(session) && session.namespaces.length === 0;
export const mayApprove = ({ role }: Session): boolean => role === "approver" || role === "admin";

const TIMEOUT_MS = 20_000;
/** What takes longer: the verifier reads a layer of the image first. */
const PATIENCE_MS: Readonly<Record<string, number>> = { DiffDrift: 75_000 };
const signedOut = new Set<() => void>();

/** @returns ends it */
export function onSignedOut(run: () => void): () => void {
  signedOut.add(run);
  return () => signedOut.delete(run);
}

/** @throws AskError */
export async function ask<M extends DescMethodUnary>(
  method: M,
  request: MessageInitShape<M["input"]>,
  by: By,
  signal?: AbortSignal,
): Promise<MessageShape<M["output"]>> {
  const body = toBinary(method.input, create(method.input, request)) as Uint8Array<ArrayBuffer>;
  const answer = await send(`/api/${method.parent.typeName}/${method.name}`, "POST", by, {
    body,
    type: "application/proto",
    signal,
    timeoutMs: PATIENCE_MS[method.name],
  });
  return fromBinary(method.output, new Uint8Array(await answer.arrayBuffer())) as MessageShape<M["output"]>;
}

/** Issuers at which people may sign in; none where that cannot be told. */
export async function readIssuers(): Promise<readonly string[]> {
  try {
    return (await (await send("/api/sign-in", "GET", "page", {})).json()) as string[];
  } catch {
    return [];
  }
}

/** undefined: nobody is signed in. @throws AskError */
export async function readSession(): Promise<Session | undefined> {
  try {
    return (await (await send("/api/session", "GET", "person", {})).json()) as Session;
  } catch (error) {
    if (error instanceof AskError && error.code === "UNAUTHENTICATED") return undefined;
    throw error;
  }
}

/** @throws AskError UNAUTHENTICATED where the code is not good */
export async function signIn(code: string): Promise<Session> {
  return (await (await send("/api/session", "POST", "person", { body: code, type: "text/plain" })).json()) as Session;
}

export async function signOut(): Promise<void> {
  await send("/api/session", "DELETE", "person", {});
}

interface Sending {
  readonly body?: BodyInit;
  readonly type?: string;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

async function send(path: string, method: string, by: By, { body, type, signal, timeoutMs = TIMEOUT_MS }: Sending): Promise<Response> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const headers = { "hullmark-by": by, ...(type && { "content-type": type }) };
  let answer: Response;
  try {
    answer = await fetch(path, { method, headers, ...(body && { body }), signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new AskError({ code: "OFFLINE", message: "the verifier does not answer" });
  }
  if (answer.ok) return answer;
  const told = (await answer.json().catch(() => ({ code: "INTERNAL", message: `the verifier answered ${answer.status}` }))) as ConstructorParameters<
    typeof AskError
  >[0];
  if (told.code === "UNAUTHENTICATED") for (const run of signedOut) run();
  throw new AskError(told);
}
