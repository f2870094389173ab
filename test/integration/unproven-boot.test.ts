/**
 * Nodes that do not prove the boot that policy asks them to prove: told by the policy's routes once for all of them, after its patience, over restarts; over when they prove
 * it. Nothing is done to them. The agent and the verifier are processes, the TPM is a real one in software.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DriftState, Query } from "@hullmark/proto/v1/query";
import { Response } from "@hullmark/proto/v1/response";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { fetchIncidents } from "../../cli/incident/fetch.ts";
import type { Attester } from "../fakes/attester.ts";
import { boot, linuxBoot, writeLog } from "../fakes/boot-log.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { program } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";
import { VerifierProcess } from "../fakes/verifier-process.ts";

const AGENT = program("agent");
const POLL = { timeout: 120_000, interval: 100 };
const LOG = writeLog(linuxBoot());

let receiver: HttpReceiver;
beforeEach(async () => {
  receiver = await new HttpReceiver().start();
});
afterEach(async () => {
  await receiver[Symbol.asyncDispose]();
});

/** Everything that could be done to a container or node is asked for, by rules that select all of them. */
const policyOf = (nodes: string, { heartbeat = "5m", after = "5s" } = {}): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  mode: enforce
  nodes: ${nodes}
  intervals: { heartbeat: ${heartbeat}, quote: 1h }
  alerts:
    bootUnprovenAfter: ${after}
    routes: [{ name: hook, type: webhook, url: "${receiver.url}", minSeverity: info }]
  response:
    rules: [{ name: all, ladder: { info: [stop], low: [stop], medium: [stop], high: [stop], critical: [stop] }, unmeasurable: [stop], unmeasurableAfter: 1m }]
    nodes: { rules: [{ name: all, marks: [label, taint, cordon], actuators: ["**"], lift: automatic, withholdCertificate: true }] }
`;
const SECURE_BOOT = "[{ name: all, boot: { secureBoot: required } }]";

const told = () => alertsOf(receiver, "boot-unproven");
const statuses = () => told().map(({ status }) => status);

type Channel = ReturnType<TestVerifier["admin"]>;
const incidents = async (channel: Channel) =>
  (await fetchIncidents({ channel, signal: new AbortController().signal, namespace: undefined }, true)).incidents.filter(
    ({ kind }) => kind === "boot-unproven",
  );

/** No action, none that waits, and no certificate withheld. */
async function nothingDone(channel: Channel, name: string): Promise<void> {
  const { actions, held } = await channel.client(Response).listActions({ pageSize: 100 });
  const { "node-not-attested": _, ...others } = held;
  expect({ actions, others }).toEqual({ actions: [], others: {} });
  expect((await channel.client(Query).getNode({ id: name })).certificateWithheld).toBe(false);
}

/** The machine: its TPM, the kernel's boot id, the log that its firmware left, and the agent that runs on it. */
class Machine {
  readonly directory = mkdtempSync(join(tmpdir(), "hullmark-machine-"));
  readonly tpm: Swtpm;
  bootId: string = randomUUID();
  log: Buffer | undefined = LOG;
  #agent: ChildProcess | undefined;

  constructor(tpm: Swtpm) {
    this.tpm = tpm;
  }

  async stopAgent(): Promise<void> {
    const agent = this.#agent;
    if (!agent || agent.exitCode !== null || agent.signalCode !== null) return;
    agent.kill("SIGTERM");
    await once(agent, "exit");
  }

  startAgent({ addresses: { mainAddress, enrolmentAddress }, ca }: Pick<VerifierProcess, "addresses" | "ca">): void {
    const file = (name: string, content: string | Buffer): string => {
      writeFileSync(join(this.directory, name), content);
      return join(this.directory, name);
    };
    rmSync(join(this.directory, "log"), { force: true });
    if (this.log) file("log", this.log);
    const config = file(
      "agent.yaml",
      `nodeName: w-1
stateDirectory: ${join(this.directory, "state")}
verifier: { address: "${mainAddress}", enrolmentAddress: "${enrolmentAddress}", caFile: ${file("ca.crt", ca)} }
tpm: { tcti: "${this.tpm.tcti}" }
measuredBoot: { eventLog: ${join(this.directory, "log")} }
runtime: { none: true }
changes: { source: chokidar }
`,
    );
    // The kernel's own boot id is this machine's: another one lies over it, for the agent alone.
    const script = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && exec "$2" "$3" --config "$4"';
    const args = ["-m", "sh", "-c", script, "sh", file("boot_id", `${this.bootId}\n`), process.execPath, AGENT, config];
    this.#agent = spawn("unshare", args, { stdio: "ignore" });
  }

  /** The chip starts anew, and is told what a machine measures that starts. */
  async resetTpm(): Promise<void> {
    await this.tpm.powerOff();
    await this.tpm.powerOn();
    await boot(this.tpm.tcti, linuxBoot());
  }

  async dispose(): Promise<void> {
    await this.stopAgent();
    await this.tpm.stop();
    rmSync(this.directory, { recursive: true });
  }
}

let machine: Machine;
beforeAll(async () => {
  machine = new Machine(await Swtpm.start({ withoutEkCertificate: true }));
  await boot(machine.tpm.tcti, linuxBoot());
}, 120_000);
afterAll(async () => {
  await machine.dispose();
});

test("a kernel started by another, a chip reset by itself and a log that is taken away are told on real parts, over a verifier that is killed, and over with a boot that is proven", {
  timeout: 900_000,
}, async () => {
  const verifier = new VerifierProcess(policyOf(SECURE_BOOT, { heartbeat: "1s" }));
  const node = async () => (await verifier.query.getNode({ id: "w-1" }).catch(() => undefined))?.node;
  const TOLD = ["no-quote", "kexec", "tpm-reset", "no-event-log", "event-log-pending", "boot-unproven"];
  const unproven = async () => (await node())?.reasons.map(({ code }) => code).filter((code) => TOLD.includes(code)) ?? ["unknown"];
  const drift = async () =>
    (await verifier.query.listDrift({ pageSize: 10 })).drifts.find(({ kind, state }) => kind === "boot-unproven" && state === DriftState.OPEN);
  const quoteMs = async () => {
    const { seconds = 0n, nanos = 0 } = (await node())?.lastQuote ?? {};
    return Number(seconds) * 1000 + nanos / 1e6;
  };
  /** What happens to the machine while its agent does not run. @param standing what is said of it once it has quoted anew: one boot is held against the one that quoted before */
  const after = async (happens: () => unknown, ...standing: string[]): Promise<void> => {
    await machine.stopAgent();
    const before = await quoteMs();
    await happens();
    machine.startAgent(verifier);
    await expect.poll(async () => (await quoteMs()) > before, POLL).toBe(true);
    expect((await node())?.bootId).toBe(machine.bootId);
    await expect.poll(unproven, POLL).toEqual(standing);
  };
  const reboot = async (): Promise<void> => {
    machine.bootId = randomUUID();
    machine.log = LOG;
    await machine.resetTpm();
  };
  try {
    await verifier.start();
    await after(() => undefined);
    // An agent that is replaced, and a machine that is restarted, are told to nobody.
    await after(() => undefined);
    await after(reboot);
    expect(statuses()).toEqual([]);

    // kexec: another kernel, and the TPM knows nothing of it.
    const kexec = (): void => {
      machine.bootId = randomUUID();
    };
    await after(kexec, "kexec", "boot-unproven");
    await expect.poll(statuses, POLL).toEqual(["firing"]);
    expect(told()[0]).toMatchObject({
      ...{ severity: "high", playbook: "docs/playbooks.md#unproven-boots", nextCommand: "hullmark nodes w-1" },
      summary: "HIGH node w-1 does not prove its boot, which policy asks for",
      description: expect.stringContaining("its kernel was started by another one (kexec)"),
    });
    await nothingDone(verifier.admin(), "w-1");
    // What is told stands while the verifier has forgotten how long it has lasted, and is not told anew.
    await verifier.kill();
    await verifier.start();
    await expect.poll(unproven, POLL).toEqual(["kexec", "boot-unproven"]);
    expect(statuses()).toEqual(["firing"]);
    await after(reboot);
    await expect.poll(statuses, POLL).toEqual(["firing", "resolved"]);

    // The chip is reset under a kernel that runs on, and told what it would have measured.
    await after(() => machine.resetTpm(), "tpm-reset", "boot-unproven");
    await expect.poll(statuses, POLL).toEqual(["firing", "resolved", "firing"]);
    expect(told()[2]?.description).toContain("its TPM was reset under a kernel that runs on (tpm-reset)");

    // The log is gone with the next boot: it is one drift that goes on, of which something else is said.
    const { id } = (await drift()) ?? { id: "none" };
    await after(
      async () => {
        await reboot();
        machine.log = undefined;
      },
      "no-event-log",
      "boot-unproven",
    );
    await expect.poll(async () => (await drift())?.summary, POLL).toContain("it has no event log (no-event-log)");
    expect((await drift())?.id).toBe(id);
    expect(statuses()).toEqual(["firing", "resolved", "firing"]);
    await after(reboot);
    await expect.poll(statuses, POLL).toEqual(["firing", "resolved", "firing", "resolved"]);
    await nothingDone(verifier.admin(), "w-1");
  } finally {
    await machine.stopAgent();
    await verifier.dispose();
  }
});

const NODES = 300;
const chunked = async <T>(items: readonly T[], work: (item: T, index: number) => Promise<unknown>): Promise<void> => {
  for (let at = 0; at < items.length; at += 20) await Promise.all(items.slice(at, at + 20).map((item, i) => work(item, at + i)));
};

test(`${NODES} nodes that restart without a log are one incident and one page, in words for people; nodes without TPM of which policy asks nothing page nobody`, {
  timeout: 600_000,
}, async () => {
  const verifier = new TestVerifier();
  try {
    const file = verifier.policy(policyOf('[{ name: workers, select: { nodes: ["w-*"] }, boot: { eventLog: required } }]'));
    await verifier.start(`policyFile: ${file}\nenrolment: { mode: tofu, acceptWithoutCertificate: true, acceptJoinTokens: true, perSecond: 1000 }`);
    const hullmark = await hullmarkOf(verifier);
    const standing = async () => (await verifier.query.listDrift({ pageSize: 1000, states: [DriftState.OPEN] })).drifts.length;
    const boots = async (quoter: FakeQuoter, at: number, log: Buffer): Promise<Attester> => {
      quoter.reset();
      const node = verifier.attester({ name: `w-${at}`, quoter });
      node.bootLog = log;
      await node.connect();
      await node.report();
      return node;
    };
    // Its PCRs are as they start: a log without events leads there.
    const quoters = Array.from({ length: NODES }, () => new FakeQuoter());
    const nodes: Attester[] = [];
    const restarted = async (log: Buffer, count = NODES): Promise<void> =>
      await chunked(quoters.slice(0, count), async (quoter, at) => {
        nodes[at] = await boots(quoter, at, log);
      });
    await restarted(writeLog([]), 20);
    const { token } = await verifier.adminClient.createJoinToken({ nodeName: "x-1", ttlSeconds: 600 });
    const without = verifier.attester({ name: "x-1", joinToken: token });
    await without.connect();
    await without.report();
    await expect.poll(async () => (await verifier.query.getStatus({})).nodesUnattested.length, POLL).toBe(0);

    // Another boot is let in once the one before was not heard for two heartbeats.
    await chunked(nodes, (node) => node.close());
    verifier.clock.shiftMs += 11 * 60_000;
    await restarted(Buffer.alloc(0));
    await expect.poll(standing, POLL).toBe(NODES);
    await expect.poll(statuses, POLL).toEqual(["firing"]);
    const [incident, ...others] = await incidents(verifier.admin());
    expect([incident?.nodes.length, others.length]).toEqual([NODES, 0]);
    await nothingDone(verifier.admin(), "w-0");

    const { drifts } = await verifier.query.listDrift({ pageSize: 1000, states: [DriftState.OPEN] });
    const drift = drifts.find(({ kind }) => kind === "boot-unproven");
    expect((await hullmark("drift", "show", drift?.id ?? "")).out).toMatch(
      /HIGH {2}node {2}\(boot-unproven, open\)\nWhere {3}node w-\d+\nWhat {4}what policy asks of its boot is not proven: it has no event log \(no-event-log\)\nTime/,
    );
    const explained = (await hullmark("drift", "explain", drift?.id ?? "")).out;
    expect(explained).toMatch(
      /node w-\d+: does not prove its boot, which policy asks for\.\n[\s\S]*It leads to no action\.[\s\S]*asks for it: spec\.nodes\[\]/,
    );
    expect((await hullmark("playbook", "show", incident?.id ?? "")).out).toMatch(/## Unproven boots[\s\S]*hullmark node show w-\d+/);

    // A policy that asks for no log any more, and one that is met.
    verifier.policy(policyOf("[]"));
    await verifier.adminClient.reloadPolicy({});
    await expect.poll(statuses, POLL).toEqual(["firing", "resolved"]);
    await nothingDone(verifier.admin(), "w-0");
  } finally {
    await verifier.dispose();
  }
});
