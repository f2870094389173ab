/** The agent as a process, on a TPM that is busy, locked out, rebooted, cleared and exchanged under it: it says so, lives on, and nothing is believed that is not proven. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { DriftState } from "@hullmark/proto/v1/query";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { boot, linuxBoot, writeLog } from "../fakes/boot-log.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { logEntries } from "../fakes/log-entries.ts";
import { program } from "../fakes/program.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { clearTpm, setClock, TPM_CC, TPM_RC, TpmProxy } from "../fakes/tpm-proxy.ts";
import { TestVerifier } from "../fakes/verifier.ts";

// Quotes are made when they are asked for. Conditions are waited for at most two minutes each.
const policy = (heartbeat: string): string =>
  `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  nodes:\n    - name: all\n      boot: { secureBoot: required }\n  intervals: { heartbeat: ${heartbeat}, quote: 1h }\n  alerts: { silentAfter: 7d, bootUnprovenAfter: 7d }\n`;
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 });
const POLL = { timeout: 120_000, interval: 200 };

let directory: string;
let verifier: TestVerifier;
let tpm: Swtpm;
let proxy: TpmProxy;
let copy: Swtpm | undefined;
let other: Swtpm | undefined;
let agent: ChildProcess | undefined;
let said = "";

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-agent-"));
  verifier = new TestVerifier();
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(policy("5m"))}`);
  tpm = await Swtpm.start({ withoutEkCertificate: true });
  await boot(tpm.tcti, linuxBoot());
  proxy = await TpmProxy.start(tpm);
});
beforeEach(() => {
  proxy.fault = () => undefined;
});
afterAll(async () => {
  await ended("SIGKILL");
  await verifier.dispose();
  await proxy?.stop();
  for (const each of [tpm, copy, other]) await each?.stop();
  rmSync(directory, { recursive: true });
});

/** Starts the agent on a kernel of this boot id, in a mount namespace where that is what the kernel says. */
function start(bootId: string, tcti = proxy.tcti): void {
  const file = (name: string, content: string | Buffer): string => {
    writeFileSync(join(directory, name), content);
    return join(directory, name);
  };
  const config = file(
    "agent.yaml",
    `nodeName: w-1
stateDirectory: ${join(directory, "state")}
verifier: { address: "localhost:${verifier.running?.mainPort}", enrolmentAddress: "localhost:${verifier.running?.enrolmentPort}", caFile: ${file("ca.crt", verifier.ca)} }
tpm: { tcti: "${tcti}" }
measuredBoot: { eventLog: ${file("log", writeLog(linuxBoot()))} }
runtime: { docker: { socket: ${join(directory, "none.sock")} } }
changes: { source: chokidar }
`,
  );
  const script = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && exec "$2" "$3" --config "$4"';
  const args = ["-m", "sh", "-c", script, "sh", file("boot_id", `${bootId}\n`), process.execPath, program("agent"), config];
  said = "";
  agent = spawn("unshare", args, { stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [agent.stdout, agent.stderr]) stream?.on("data", (chunk: Buffer) => (said += chunk.toString()));
}

async function ended(signal: NodeJS.Signals): Promise<void> {
  if (!agent || agent.exitCode !== null || agent.signalCode !== null) return;
  const exit = new Promise((resolve) => agent?.once("exit", resolve));
  agent.kill(signal);
  await exit;
}

/** Power is lost. Another boot may speak as the node when the one before was not heard for two heartbeats. */
async function restarted(bootId: string, whileOff: () => Promise<void> = async () => undefined): Promise<void> {
  const heartbeats = async (interval: string): Promise<void> => {
    verifier.policy(policy(interval));
    await verifier.adminClient.reloadPolicy({});
  };
  await ended("SIGKILL");
  await whileOff();
  await heartbeats("1s");
  start(bootId);
  await expect.poll(node, POLL).toMatchObject({ bootId, connected: true });
  await heartbeats("5m");
}

const node = async () => (await verifier.query.getNode({ id: "w-1" }).catch(() => undefined))?.node;
/** Why the node is not believed; of a node that is not known, what its agent says. Not what this machine may lack. */
const codes = async (): Promise<string[]> =>
  (await node())?.reasons.map(({ code }) => code).filter((code) => !["chokidar", "missing-capabilities"].includes(code)) ?? [said.slice(-4000)];
const tpmClaim = async (): Promise<string | undefined> => (await node())?.reasons.find(({ code }) => code === "tpm")?.detail;
/** What this node was ever accused of. */
const accusations = async (): Promise<string[]> =>
  (await verifier.query.listDrift({ states: [DriftState.OPEN, DriftState.RESOLVED] })).drifts.map(({ kind, summary }) => `${kind}: ${summary}`);
const quotes = (): number => proxy.asked.get(TPM_CC.quote) ?? 0;
const lastQuote = async (): Promise<bigint> => ((await node())?.lastQuote?.seconds ?? 0n) * 1_000_000_000n + BigInt((await node())?.lastQuote?.nanos ?? 0);
/** Asks until one holds that was asked for from now on: a stream may just be ending. */
async function quoted(): Promise<void> {
  const before = await lastQuote();
  const asked = async (): Promise<boolean> => {
    await verifier.adminClient.requestQuote({ nodeId: "w-1" }).catch(() => undefined);
    return (await lastQuote()) > before;
  };
  await expect.poll(asked, POLL).toBe(true);
}
/** No engine answers here, and that is all that is wrong. */
const well = () => expect.poll(codes, POLL).toEqual(["runtime-unreachable", "tpm-tofu"]);

const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];

test("a quote that is asked for by hand is made by the TPM, and holds", async () => {
  start(first);
  await well();
  const before = quotes();
  const hullmark = await hullmarkOf(verifier);
  expect(await hullmark("node", "quote", "w-1")).toMatchObject({ code: 0, out: expect.stringMatching(/^holds: asked for at 20/) });
  expect(quotes()).toBe(before + 1);
  expect(await node()).toMatchObject({ bootId: first });
});

test.each([
  ["busy", TPM_RC.retry, /^BUSY/],
  ["locked out", TPM_RC.lockout, /^LOCKOUT/],
])("one that says that it is %s is told, and so is what cannot be quoted; when it answers again the node is believed", async (_, rc, claim) => {
  proxy.fault = (command) => (command === TPM_CC.quote ? rc : undefined);
  await verifier.adminClient.requestQuote({ nodeId: "w-1" });
  await expect.poll(tpmClaim, POLL).toMatch(claim);
  expect(logEntries(verifier, "quote-late").at(-1)).toMatchObject({ reason: "quote-failed", detail: expect.stringMatching(claim) });
  proxy.fault = () => undefined;
  await quoted();
  await well();
  expect(await accusations()).toEqual([]);
  expect(agent?.exitCode).toBeNull();
});

test("a reboot: the node comes back with its key, is unknown until it has quoted, and then what it was", async () => {
  // A software TPM forgets its clock in a crash, and says that it is safe when it has gone on for four seconds.
  await setClock(proxy, 1_000_000n);
  await quoted();
  const [before, entries] = [await node(), logEntries(verifier, "enrolment", "type").length];
  await restarted(second, async () => {
    await tpm.powerOff();
    copy = await tpm.copy();
    cpSync(join(directory, "state/tpm"), join(directory, "kept"), { recursive: true });
    await tpm.powerOn();
    await boot(tpm.tcti, linuxBoot());
    await setClock(proxy, 5000n);
    // It can enrol; then its TPM is busy.
    const enrolled = (): boolean => logEntries(verifier, "enrolment", "type").length > entries;
    proxy.fault = (command) => (command === TPM_CC.quote && enrolled() ? TPM_RC.retry : undefined);
  });
  await expect.poll(tpmClaim, POLL).toMatch(/^BUSY/);
  expect(await node()).toMatchObject({ id: before?.id, bootId: second, lastQuote: before?.lastQuote });
  await expect.poll(codes, POLL).toEqual(["no-quote", "runtime-unreachable", "tpm", "tpm-clock-lost", "tpm-tofu"]);
  proxy.fault = () => undefined;
  await quoted();
  await expect.poll(codes, POLL).toEqual(["runtime-unreachable", "tpm-clock-lost", "tpm-tofu"]);
  const lost = (await node())?.reasons.find(({ code }) => code === "tpm-clock-lost")?.detail;
  expect(lost).toMatch(/^over a reset the TPM's clock went back from [1-9]\d{6} ms to [1-9]\d{3,5} ms, and is said to be safe$/);
  expect(await accusations()).toEqual([]);
  const enrolments = logEntries(verifier, "enrolment", "type").slice(entries);
  expect(enrolments.length).toBeGreaterThan(0);
  for (const each of enrolments) expect(each).toMatchObject({ node: before?.id, keyReplaced: false, boot: second });
});

test("a kernel that is started by the one before (kexec) is told", async () => {
  await restarted(third);
  await quoted();
  await expect.poll(codes, POLL).toEqual(["kexec", "runtime-unreachable", "tpm-clock-lost", "tpm-tofu"]);
  expect(await accusations()).toEqual([]);
});

test("a TPM that is cleared under it: the key is gone, it says so, enrols with another at once, and is accused of nothing", async () => {
  const [before, entries] = [await node(), logEntries(verifier, "enrolment", "type").length];
  await clearTpm(proxy);
  await quoted();
  await expect.poll(codes, POLL).toContain("attestation-key-replaced");
  await expect.poll(tpmClaim, POLL).toBeUndefined();
  expect(logEntries(verifier, "enrolment", "type").slice(entries)).toEqual([expect.objectContaining({ node: before?.id, keyReplaced: true })]);
  expect(await node()).toMatchObject({ id: before?.id, bootId: third });
  expect(await accusations()).toEqual([]);
  expect(agent?.exitCode).toBeNull();
});

test("its key of before is refused, although the same TPM had made it", async () => {
  await ended("SIGTERM");
  mkdirSync(join(directory, "now"));
  cpSync(join(directory, "state/tpm"), join(directory, "now"), { recursive: true });
  await copy?.powerOn();
  const [now, old] = [
    new Tpm2Quoter({ tcti: proxy.tcti, stateDir: join(directory, "now") }),
    new Tpm2Quoter({ tcti: copy?.tcti ?? "", stateDir: join(directory, "kept") }),
  ];
  const attester = verifier.attester({ name: "w-1", quoter: now, bootId: third });
  try {
    attester.answering = false;
    await attester.connect();
    await attester.report();
    attester.send({ case: "quote", value: await attester.quote(await attester.next("challenge"), old) });
    await expect.poll(accusations, POLL).toEqual([expect.stringMatching(/^quote-refused: wrong-signer/)]);
    attester.answering = true;
    await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    await expect.poll(async () => (await node())?.reasons.some(({ code }) => code === "quote-refused"), POLL).toBe(false);
  } finally {
    await attester.close();
    await now.close();
    await old.close();
  }
});

test("another TPM is another node: it may not have the name until the one before is revoked by somebody, and then it is known by its own key", async () => {
  const before = await node();
  other = await Swtpm.start({ withoutEkCertificate: true });
  await boot(other.tcti, linuxBoot());
  start(randomUUID(), other.tcti);
  await expect.poll(() => said, POLL).toContain("name-taken");
  expect(said).toContain("a new attestation key was made");
  // It is silent as that node: nothing that it said before holds for long.
  verifier.clock.shiftMs += 700_000;
  await expect.poll(codes, POLL).toContain("unreachable");
  expect(await node()).toMatchObject({ id: before?.id, connected: false });
  const hullmark = await hullmarkOf(verifier);
  expect(await hullmark("node", "revoke", "w-1", "--reason", "its board was exchanged")).toMatchObject({ code: 0 });
  const known = async () => (await verifier.query.listNodes({})).nodes.find(({ name, revoked }) => name === "w-1" && !revoked);
  await expect.poll(async () => (await known())?.lastQuote, POLL).toBeDefined();
  expect((await known())?.id).not.toBe(before?.id);
  expect(agent?.exitCode).toBeNull();
});
