/** The agent as a process, on a real TPM and without an engine: what it reads of boot and kernel reaches the verifier, and holds. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileSpool } from "@hullmark/agent/adapters/file-spool/file-spool";
import { bootId } from "@hullmark/agent/adapters/host/host-facts";
import { Tpm } from "@hullmark/native";
import { afterAll, beforeAll, expect, test } from "vitest";
import { aggregated, boot, linuxBoot, sha256, writeLog } from "../fakes/boot-log.ts";
import { measured, textOf } from "../fakes/ima-list.ts";
import { program } from "../fakes/program.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const FILES = [
  measured({ path: "boot_aggregate", content: aggregated(linuxBoot()) }),
  ...["a", "b"].map((content) => measured({ path: `/usr/bin/${content}`, content, template: "ima-sig" })),
];
let tpm: Swtpm;
let verifier: TestVerifier;
let directory: string;
let agent: ChildProcess | undefined;

beforeAll(async () => {
  tpm = await Swtpm.start({ withoutEkCertificate: true });
  await boot(tpm.tcti, linuxBoot());
  const chip = new Tpm();
  await chip.open(tpm.tcti);
  for (const { hashed } of FILES) await chip.extendPcr(10, "sha256", hashed);
  await chip.close();
  verifier = new TestVerifier();
  writeFileSync(join(verifier.directory, "known"), ["a", "b"].map((content) => `${sha256(content).toString("hex")}\n`).join(""));
  const policy = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  nodes:\n    - name: all\n      boot: { secureBoot: required }\n      ima: { baselines: [known] }\n`;
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(policy)}`);
  directory = mkdtempSync(join(tmpdir(), "hullmark-agent-"));
});
afterAll(async () => {
  if (agent && agent.exitCode === null) {
    const ended = new Promise((resolve) => agent?.once("exit", resolve));
    agent.kill();
    await ended;
  }
  await verifier.dispose();
  await tpm.stop();
  rmSync(directory, { recursive: true });
});

test("event log and measurement list of a running agent are read, sent, proven and judged", async () => {
  const file = (name: string, content: string | Buffer): string => {
    writeFileSync(join(directory, name), content);
    return join(directory, name);
  };
  const config = file(
    "agent.yaml",
    `nodeName: w-1
stateDirectory: ${join(directory, "state")}
verifier: { address: "localhost:${verifier.running?.mainPort}", enrolmentAddress: "localhost:${verifier.running?.enrolmentPort}", caFile: ${file("ca.crt", verifier.ca)} }
tpm: { tcti: "${tpm.tcti}" }
measuredBoot: { eventLog: ${file("log", writeLog(linuxBoot()))}, imaList: ${file("ascii_runtime_measurements", textOf(FILES))} }
runtime: { docker: { socket: ${join(directory, "none.sock")} } }
changes: { source: chokidar }
`,
  );
  let said = "";
  agent = spawn(process.execPath, [program("agent"), "--config", config], { stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [agent.stdout, agent.stderr]) stream?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const node = async () => await verifier.query.getNode({ id: "w-1" }).catch(() => undefined);
  await expect
    // Of a node that is not known yet, what the agent says explains the failure.
    .poll(async () => (await node()) ?? said.slice(-4000), { timeout: 45_000 })
    .toMatchObject({ boot: { eventLog: "read", secureBoot: "on", differingPcrs: [] }, ima: { standing: "proven", entries: 3n, unvouched: [] } });
  const codes = (await node())?.node?.reasons.map(({ code }) => code) ?? [];
  // No engine answers here, and that is all that is wrong.
  expect(codes).toContain("runtime-unreachable");
  for (const code of ["event-log", "secure-boot", "boot", "ima", "no-event-log", "no-ima-list"]) expect(codes).not.toContain(code);
});

test("asked to end, it ends well, and the verifier has acknowledged all that it had spooled", async () => {
  const ended = new Promise<number | null>((resolve) => agent?.once("exit", resolve));
  agent?.kill("SIGTERM");
  expect(await ended).toBe(0);
  const spool = new FileSpool({ directory: join(directory, "state/spool"), bootId: bootId() });
  try {
    expect(spool.head().seq).toBeGreaterThan(0n);
    expect(spool.pending()).toEqual({ evidence: 0, bytes: 0 });
  } finally {
    spool.close();
  }
});
