/** What `up` asks the verifier that it has just started, as its first admin. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { type RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import type { Claim } from "@hullmark/proto/v1/common";
import { Query } from "@hullmark/proto/v1/query";
import * as z from "zod";
import { makeActuatorCredentials } from "../connection/actuator-credentials.ts";
import { loadContext, openChannel } from "../connection/context.ts";
import { PAGE_SIZE } from "../connection/pages.ts";
import { unsettled } from "../connection/settled.ts";
import type { Layout } from "./layout.ts";

const TOKEN_SECONDS = 900;
const POLL_MS = 500;
const CALL_MS = 30_000;
/** A certificate that ends within this is as good as none. */
const SPARE_MS = 60_000;

export function openAdminChannel(layout: Layout): RpcChannel {
  return openChannel(loadContext(layout.adminConfig, undefined));
}

/** Whether who listens there has this host's CA and serves. @throws RpcError where not */
export async function isOurs(channel: RpcChannel): Promise<boolean> {
  await channel.client(Query).getStatus({}, { timeoutMs: CALL_MS });
  return true;
}

/** Whether the kept certificate of an agent without TPM has ended, or is not there. */
export function needsToken({ credential }: Layout, nowMs: number): boolean {
  try {
    const { notAfterMs } = z.object({ notAfterMs: z.number() }).parse(JSON.parse(readFileSync(credential, "utf8")));
    return nowMs + SPARE_MS > notAfterMs;
  } catch {
    return true;
  }
}

/** A one-time token for the node of this name, in a file of mode 0600. @throws RpcError */
export async function writeJoinToken(channel: RpcChannel, path: string, nodeName: string): Promise<void> {
  const { token } = await channel.client(Admin).createJoinToken({ nodeName, ttlSeconds: TOKEN_SECONDS });
  writeFileSync(`${path}.new`, `${token}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** As soon as the agent has enrolled: the actuator's certificate names its node. @throws RpcError where that takes longer than `withinMs` */
export async function writeActuatorCredentials(channel: RpcChannel, layout: Layout, node: string, withinMs: number): Promise<void> {
  mkdirSync(layout.data("actuator"), { recursive: true, mode: 0o700 });
  for (const untilMs = Date.now() + withinMs; ; await new Promise((resolve) => setTimeout(resolve, POLL_MS))) {
    try {
      await makeActuatorCredentials(channel, { node, cluster: false }, layout.actuatorCredentials);
      return;
    } catch (error) {
      if (!(error instanceof RpcError && error.code === "NOT_FOUND") || Date.now() > untilMs) throw error;
    }
  }
}

export interface FirstPicture {
  /** The agent's stream is open, and its node attested. */
  readonly attested: boolean;
  /** Nothing is being looked up or measured any more. */
  readonly settled: boolean;
  /** What the verifier has to say of itself, such as a policy that it could not load. */
  readonly claims: readonly Claim[];
}

/**
 * Waits until the node is connected and attested, all its containers are reported, and nothing is being looked up. A verifier that was
 * restarted still knows yesterday's picture: a stream must be open.
 * @param running how many containers the engine runs now
 * @param alive rejects when a service has ended
 */
export async function waitSettled(channel: RpcChannel, untilMs: number, running: () => Promise<number>, alive: () => Promise<void>): Promise<FirstPicture> {
  const client = channel.client(Query);
  for (;;) {
    const { nodes } = await client.listNodes({ pageSize: PAGE_SIZE }, { timeoutMs: CALL_MS });
    const status = await client.getStatus({}, { timeoutMs: CALL_MS });
    const attested = nodes.some(({ connected }) => connected) && status.nodesAttested > 0;
    const reported = status.containersClean + status.containersWarning + status.containersDrifted + status.containersUnknown;
    const settled = attested && !unsettled(status) && reported >= (await running());
    if (settled || Date.now() > untilMs) return { attested, settled, claims: status.claims };
    await alive();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
