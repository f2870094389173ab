/** A node of a drill's own: the agent's program, beside that of this host, with a name, a join token and a state directory that go with the drill. It looks at no container. */
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { type GetNodeResponse, Query } from "@hullmark/proto/v1/query";
import { parse, stringify } from "yaml";
import * as z from "zod";
import { ContextError } from "../connection/context-error.ts";
import { detachedServices } from "../host/detached.ts";
import { HostError } from "../host/error.ts";
import { type Layout, layoutOf } from "../host/layout.ts";
import { findBundle } from "../host/program.ts";
import type { ServiceKeeper } from "../host/services.ts";
import { writeJoinToken } from "../host/verifier-client.ts";
import { because } from "../output/because.ts";
import { ifKnown } from "./judged.ts";
import { DrillError } from "./target.ts";

const PREFIX = "hullmark-drill-";
const DIRECTORY = /^hullmark-drill-([0-9a-f]{10})-\w+$/;
/** Above the longest drill: what is older was left by a command that was killed. */
const LEFT_MS = 3 * 3_600_000;

const agentSettings = z.object({ verifier: z.object({ address: z.string(), enrolmentAddress: z.string(), caFile: z.string() }) });
export type VerifierOfAgent = z.infer<typeof agentSettings>["verifier"];

/** How an agent of this host reaches the verifier. @throws ContextError */
export function verifierOf(agentConfig: string): VerifierOfAgent {
  try {
    return agentSettings.parse(parse(readFileSync(agentConfig, "utf8"))).verifier;
  } catch (error) {
    const why = error instanceof z.ZodError ? "it does not say verifier.address, enrolmentAddress and caFile" : because(error);
    throw new ContextError(`name the configuration of an agent of this verifier: --agent-config FILE (${agentConfig}: ${why})`);
  }
}

export class CanaryNode {
  readonly name: string;
  readonly #run: string;
  readonly #channel: RpcChannel;
  readonly #verifier: VerifierOfAgent;
  #layout: Layout | undefined;
  #services: ServiceKeeper | undefined;

  constructor(run: string, channel: RpcChannel, verifier: VerifierOfAgent) {
    this.name = `${PREFIX}${run}`;
    this.#run = run;
    this.#channel = channel;
    this.#verifier = verifier;
  }

  /** Its agent runs, with a token to join by. @throws DrillError NO_START; RpcError */
  async start(): Promise<void> {
    await clearLeft(this.#channel);
    const state = mkdtempSync(join(tmpdir(), `${PREFIX}${this.#run}-`));
    this.#layout = layoutOf(state);
    this.#services = detachedServices(this.#layout);
    writeFileSync(this.#layout.settings("agent"), stringify(this.#settings(this.#layout)), { mode: 0o600 });
    await this.wake();
  }

  /** Ends the agent: nothing is heard of the node from now on. @throws DrillError FAILED */
  async silence(): Promise<void> {
    await asDrill("FAILED", async () => this.#services?.stop("agent"));
  }

  /** The agent runs (again). Its certificate may be over by now: it has a new token. @throws DrillError NO_START; RpcError */
  async wake(): Promise<void> {
    const [layout, services] = [this.#layout, this.#services];
    if (!layout || !services) throw new DrillError("NO_START", "it was not started");
    await writeJoinToken(this.#channel, layout.joinToken, this.name);
    await asDrill("NO_START", async () => {
      const argv = [process.execPath, join(findBundle(), "agent.js"), "--config", layout.settings("agent")];
      await services.start({ name: "agent", description: "Hullmark agent of a drill", argv });
    });
  }

  /** undefined: the verifier does not know it. */
  async look(signal?: AbortSignal): Promise<GetNodeResponse | undefined> {
    return await lookUp(this.#channel, this.name, signal);
  }

  /** What its agent complained of last; empty: of nothing. */
  async lastWords(): Promise<string> {
    const lines = ((await this.#services?.logTail("agent")) ?? "").split("\n").toReversed();
    for (const line of lines) {
      const said = complaint.safeParse(parsed(line));
      if (said.success) return said.data.err.message.slice(0, 300);
    }
    return "";
  }

  /** Ends the agent, removes all that it wrote, revokes the node and removes that, also where it was not finished. Idempotent. @throws DrillError FAILED, where something of it is left */
  async remove(): Promise<void> {
    if (!this.#layout) return;
    await removeNode(this.#channel, this.#layout, this.name, `drill ${this.#run} is over`);
  }

  #settings(layout: Layout): object {
    return {
      nodeName: this.name,
      stateDirectory: layout.data("agent"),
      verifier: this.#verifier,
      tpm: { tcti: "none" },
      joinTokenFile: layout.joinToken,
      measuredBoot: { eventLog: "none", imaList: "none" },
      runtime: { none: true },
      // With no container nothing is watched: fanotify's self-test would only mount for nothing.
      changes: { source: "chokidar" },
      spool: { maxBytes: 1_048_576 },
    };
  }
}

const complaint = z.object({ err: z.object({ message: z.string() }) });

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function lookUp(channel: RpcChannel, name: string, signal?: AbortSignal): Promise<GetNodeResponse | undefined> {
  return await ifKnown(channel.client(Query).getNode({ id: name }, signal && { signal }));
}

/** Its agent first, or it would join again; then what nobody else would remove. */
async function removeNode(channel: RpcChannel, layout: Layout, name: string, reason: string): Promise<void> {
  await asDrill("FAILED", () => detachedServices(layout).stop("agent"));
  rmSync(layout.state, { recursive: true, force: true });
  try {
    const { node } = (await lookUp(channel, name)) ?? {};
    if (node && !node.revoked) await channel.client(Admin).revokeNode({ nodeId: node.id, reason });
    // Its token is spent: nobody comes back as it, and nobody wants to see it.
    if (node) await channel.client(Admin).removeNode({ nodeId: node.id, reason });
  } catch (cause) {
    throw new DrillError("FAILED", `${name} could not be revoked (${because(cause)}): revoke it by node revoke ${name} --reason "${reason}"`, { cause });
  }
}

/** Nodes of drills whose command was killed. Only what this user made counts: the directory is everybody's. */
async function clearLeft(channel: RpcChannel): Promise<void> {
  for (const entry of readdirSync(tmpdir())) {
    const run = DIRECTORY.exec(entry)?.[1];
    const state = join(tmpdir(), entry);
    const found = run === undefined ? undefined : lstatSync(state, { throwIfNoEntry: false });
    if (!found?.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0 || Date.now() - found.mtimeMs < LEFT_MS) continue;
    await removeNode(channel, layoutOf(state), `${PREFIX}${run}`, `drill ${run} was left`);
  }
}

async function asDrill<T>(code: "NO_START" | "FAILED", work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof HostError) throw new DrillError(code, cause.message, { cause });
    throw cause;
  }
}
