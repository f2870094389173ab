/** The agent as a process, on a real TPM and beside a real engine, while what it rests on changes: the verifier's CA, and the TPM itself. */
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { AgentAtWork, type AgentAtWorkOptions, PATIENT } from "../fakes/agent-at-work.ts";
import { runHullmark } from "../fakes/hullmark.ts";

// Conditions are waited for at most three minutes each.
vi.setConfig({ testTimeout: 1_200_000, hookTimeout: 300_000 });

let bed: Testbed;
let scene: AgentAtWork | undefined;
beforeAll(async () => {
  bed = await startTestbed({ name: "agent-under-change", parts: { engine: true } });
});
afterEach(async () => {
  await scene?.dispose();
  scene = undefined;
});
afterAll(() => bed?.down());

/** A node that is attested. */
async function working(options: AgentAtWorkOptions = {}): Promise<AgentAtWork> {
  scene = await AgentAtWork.start({ dockerSocket: bed.engine?.socketPath ?? "", ...options });
  await scene.attested();
  return scene;
}

test("the verifier's CA is replaced under it by the commands of the runbook: it learns the new root, and neither enrols as another nor leaves a time unproven", async () => {
  const at = await working({ certificateSeconds: 15 });
  const hullmark = async (...args: string[]) => {
    const { code, out, err } = await runHullmark(["--config", join(at.verifier.directory, "state/admin/config.yaml"), ...args]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    return out;
  };
  const standing = async () => {
    const { id, verdict, trustLevel, gapFrom, reasons = [] } = (await at.node()) ?? {};
    return { id, verdict, trustLevel, gapFrom, reasons: reasons.map(({ code }) => code) };
  };
  /** What never changes where all goes on: each second that a node does not count as attested is one more, each refusal is another. */
  const marks = async () => {
    const metrics = await at.metrics();
    const refused = ["hullmark_enrolments_refused_total", "hullmark_quotes_total"].map((name, i) => metrics.value(name, i ? { result: "refused" } : {}) ?? 0);
    return { verdicts: at.verdicts(), unattestedSeconds: metrics.value("hullmark_node_unattested_seconds_total"), refused };
  };
  await at.quoted();
  const [before, marked] = [await standing(), await marks()];

  await hullmark("keys", "rotate", "ca", "-m", "the CA's key may be known to others");
  await hullmark("keys", "trust");
  await expect.poll(() => at.learntRoots, PATIENT).toBe(2);
  await at.quoted();
  const moved = at.enrolments().length;
  await hullmark("keys", "retire", "ca", "-m", "the CA's key may be known to others");
  await expect.poll(() => at.learntRoots, PATIENT).toBe(1);
  // By a certificate that it asked for since: nothing of the old CA is left.
  expect(at.enrolments().length).toBeGreaterThan(moved);
  await at.quoted();
  const { keys } = JSON.parse(await hullmark("keys", "ls", "-o", "json")) as { keys: { name: string; state: string }[] };
  expect(keys.filter(({ name }) => name === "ca")).toMatchObject([{ state: "in-use" }]);

  expect(before).toMatchObject({ gapFrom: undefined });
  await expect.poll(standing, PATIENT).toEqual(before);
  expect(await marks()).toEqual(marked);
  expect(marked.refused).toEqual([0, 0]);
  for (const each of at.enrolments()) expect(each).toMatchObject({ node: before.id, keyReplaced: false });
  expect(at.isRunning).toBe(true);
});

test("a TPM that goes away is told, the agent lives on; one that was reset under a running system is believed in nothing that it said before", async () => {
  const at = await working();
  await at.tpm.powerOff();
  await expect.poll(() => at.askedCodes(), PATIENT).toContain("tpm");
  expect(at.isRunning).toBe(true);
  await at.tpm.powerOn();
  await expect.poll(() => at.askedCodes(), PATIENT).not.toContain("tpm");
  await expect.poll(() => at.askedCodes(), PATIENT).toContain("event-log");
  expect(at.isRunning).toBe(true);
});
