/** Marks on nodes by an actuator's hook: a verifier that is not to be believed moves it no further than the host's own limits, and a program that misbehaves costs its time and no more. */
import { spawnSync } from "node:child_process";
import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { CommandHook } from "@hullmark/actuator/adapters/hook/command-hook";
import { parseConfig } from "@hullmark/actuator/config";
import { Actuator } from "@hullmark/actuator/core/actuator";
import { HostHands } from "@hullmark/actuator/core/host-hands";
import { NodeHands } from "@hullmark/actuator/core/node-hands";
import type { Settled } from "@hullmark/actuator/ports/ledger";
import type { NodeHook } from "@hullmark/actuator/ports/node-hook";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeEngine } from "../fakes/engine.ts";

const identity = { nodeId: "00112233445566aa", region: "eu-1" };
const T0 = 1_700_000_000_000;
const HOUR_MS = 3_600_000;
const keys = generateKeyPairSync("ed25519");
const LIMITS = { allow: ["w-*"], hourly: 1, atOnce: 2, pauseMs: 600_000 };
const [LABEL, TAINT, CORDON] = [NodeMark.LABEL, NodeMark.TAINT, NodeMark.CORDON];

let directory: string;
let nowMs: number;
let ledger: FileLedger;
let reports: Settled[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-hook-"));
  nowMs = T0;
  ledger = new FileLedger(join(directory, "state"), nowMs);
  reports = [];
});
afterEach(() => {
  ledger.close();
  // It is killed with the hook where it has not left its group yet.
  const left = join(directory, "hook.left");
  if (existsSync(left)) spawnSync("kill", ["-9", readFileSync(left, "utf8").trim()]);
  rmSync(directory, { recursive: true });
});

/** A program of the operator's that notes how it was called, then does this. */
function program(does = "exit 0"): string {
  const path = join(directory, "hook");
  const note = `printf '%s|' "$#" "$@" "$HULLMARK_VERB" "$HULLMARK_MARK" "$HULLMARK_NODE" "$HULLMARK_NODE_ID" "$HULLMARK_ACTION" "$HULLMARK_REASON" "\${SECRET-none}" >> ${directory}/calls; echo >> ${directory}/calls`;
  writeFileSync(path, `#!/bin/sh\n${note}\n${does}\n`);
  chmodSync(path, 0o755);
  return path;
}
const calls = (): string[] => (existsSync(join(directory, "calls")) ? readFileSync(join(directory, "calls"), "utf8").trimEnd().split("\n") : []);
const hook = (does?: string, timeoutMs = 60_000): CommandHook =>
  new CommandHook({ command: program(does), arguments: ["--context", "prod; reboot"], environment: {}, timeoutMs });

const handsOf = (nodeHook: NodeHook, limits = LIMITS): NodeHands => new NodeHands(nodeHook, limits, ledger);

function actuator(nodes: NodeHands | undefined): Actuator {
  return new Actuator({
    ...{ identity, ledger, nodes, hands: new HostHands({ engine: new FakeEngine(), limits: { pauseMs: 0, hourlyPercent: 100, protect: [] } }) },
    verify: (message, signature) => verify(null, message, keys.publicKey, signature),
    report: async (_id, settled) => void reports.push(settled),
    nowMs: () => nowMs,
    passing: () => {},
    told: () => {},
  });
}

function intent(number: number, kind: ActionKind, marks: NodeMark[], name = `w-${number}`) {
  const node = { nodeId: `ffeeddccbbaa99${number}0`, name, marks, reason: kind === ActionKind.MARK_NODE ? "boot" : "" };
  const at = { issuedAt: timestampFromMs(nowMs), expiresAt: timestampFromMs(nowMs + 300_000) };
  const body = toBinary(IntentSchema, create(IntentSchema, { id: randomBytes(16), actionId: "A-7K2Q", verifierId: "v1", ...identity, kind, node, ...at }));
  return { body, signatures: [sign(null, intentMessage(body), keys.privateKey)] };
}
const mark = (number: number, marks = [LABEL, CORDON], name?: string) => intent(number, ActionKind.MARK_NODE, marks, name);
const lift = (number: number, marks = [LABEL, CORDON], name?: string) => intent(number, ActionKind.LIFT_NODE, marks, name);
const told = () => reports.map(({ outcome, reason, marks = [] }) => [Outcome[outcome], reason, ...marks]);

test("marks are put on one by one by the operator's program, with fixed arguments, no shell and no environment of ours; once an intent, and lifted again", async () => {
  process.env["SECRET"] = "of the actuator";
  try {
    const own = actuator(handsOf(hook()));
    const signed = mark(1);
    await own.offer(signed);
    await own.offer(signed);
    expect(calls()).toEqual([
      "5|--context|prod; reboot|mark|label|w-1|mark|label|w-1|ffeeddccbbaa9910|A-7K2Q|boot|none|",
      "5|--context|prod; reboot|mark|cordon|w-1|mark|cordon|w-1|ffeeddccbbaa9910|A-7K2Q|boot|none|",
    ]);
    await own.offer(lift(1));
    expect(calls().slice(2)).toEqual([
      "5|--context|prod; reboot|lift|label|w-1|lift|label|w-1|ffeeddccbbaa9910|A-7K2Q||none|",
      "5|--context|prod; reboot|lift|cordon|w-1|lift|cordon|w-1|ffeeddccbbaa9910|A-7K2Q||none|",
    ]);
    expect(told()).toEqual(Array.from({ length: 3 }, () => ["DONE", "", LABEL, CORDON]));
  } finally {
    delete process.env["SECRET"];
  }
});

describe("what no verifier can make it do", () => {
  test("mark a node that the host does not allow, or more than its limits; lift what it has not put on itself, also after it was started anew", async () => {
    let own = actuator(handsOf(hook('[ "$4" != label ] || exit 10')));
    await own.offer(mark(1, [LABEL], "db-1"));
    await own.offer(lift(1));
    expect(told()).toEqual([
      ["REFUSED", "protected"],
      ["REFUSED", "not-ours"],
    ]);
    expect(calls()).toEqual([]);
    // The label was there, by somebody else: only the cordon is its own.
    await own.offer(mark(1));
    await own.offer(mark(2));
    nowMs += HOUR_MS;
    await own.offer(mark(2));
    nowMs += HOUR_MS;
    await own.offer(mark(3));
    expect(told().slice(2)).toEqual([
      ["DONE", "", CORDON],
      ["REFUSED", "breaker"],
      ["DONE", "", CORDON],
      ["REFUSED", "breaker"],
    ]);
    // Long after: what stands is not forgotten.
    nowMs += 90 * 86_400_000;
    ledger.close();
    ledger = new FileLedger(join(directory, "state"), nowMs);
    own = actuator(handsOf(hook()));
    await own.offer(mark(3));
    await own.offer(lift(1));
    await own.offer(lift(1, [CORDON]));
    await own.offer(lift(1, [CORDON]));
    await own.offer(mark(3, [TAINT]));
    expect(told().slice(6)).toEqual([
      ["REFUSED", "breaker"],
      ["REFUSED", "not-ours"],
      ["DONE", "", CORDON],
      ["REFUSED", "not-ours"],
      ["DONE", "", TAINT],
    ]);
  });

  test("lift by another name than it marked by: a node that was given another name since is lifted by the one that the hook knows, if the host allows that", async () => {
    await actuator(handsOf(hook())).offer(mark(1, [CORDON]));
    await actuator(handsOf(hook(), { ...LIMITS, allow: ["db-*"] })).offer(lift(1, [CORDON], "db-1"));
    const own = actuator(handsOf(hook()));
    await own.offer(lift(2, [CORDON], "w-1"));
    await own.offer(lift(1, [CORDON], "db-1"));
    expect(told()).toEqual([
      ["DONE", "", CORDON],
      ["REFUSED", "protected"],
      ["REFUSED", "not-ours"],
      ["DONE", "", CORDON],
    ]);
    expect(calls().slice(1)).toEqual(["5|--context|prod; reboot|lift|cordon|w-1|lift|cordon|w-1|ffeeddccbbaa9910|A-7K2Q||none|"]);
  });

  test("anything with nodes, where nothing is configured for them", async () => {
    await actuator(undefined).offer(mark(1));
    expect(told()).toEqual([["REFUSED", "unknown-kind"]]);
    expect(ledger.all()).toEqual([]);
  });
});

describe("a program", () => {
  test("that fails: what was done before it is told, and what it said, without control bytes", async () => {
    await actuator(handsOf(hook(`[ "$4" != label ] || exit 0\nprintf 'no such\\033[31mnode' >&2; exit 3`))).offer(mark(1));
    expect(told()).toEqual([["FAILED", "hook", LABEL]]);
    expect(reports[0]?.detail).toBe("mark cordon: the hook ended with 3: no such [31mnode");
  });

  test.each<[string, string, number, RegExp]>([
    ["that prints without end", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", 1500, /^mark label: the hook took longer than 1.5 s: /],
    ["that hangs, with children that keep its output open", "sleep 1000 & sleep 1000", 1500, /^mark label: the hook took longer than 1.5 s: $/],
    [
      "that ends, with a child of another group that keeps its output open",
      "setsid sleep 30 & echo $! > $0.left; exit 4",
      600_000,
      /^mark label: the hook ended with 4: $/,
    ],
    ["that is killed", "kill -9 $$", 600_000, /^mark label: the hook ended with SIGKILL: $/],
  ])("%s: it is told as failed, in few words", async (_name, does, timeoutMs, detail) => {
    await actuator(handsOf(hook(does, timeoutMs))).offer(mark(1));
    expect(told()).toEqual([["FAILED", "hook"]]);
    expect(reports[0]?.detail).toMatch(detail);
    expect(reports[0]?.detail.length).toBeLessThanOrEqual(300);
  });

  test("that is cut off may have done it: what is there afterwards is the actuator's own, and meanwhile takes its place among those at once, for a day", async () => {
    const own = actuator(handsOf(hook(`[ ! -e ${directory}/$5 ] || exit 10; : > ${directory}/$5; kill -9 $$`), { ...LIMITS, atOnce: 1 }));
    await own.offer(mark(1, [CORDON]));
    nowMs += HOUR_MS;
    await own.offer(mark(2, [CORDON]));
    await own.offer(mark(1, [CORDON]));
    await own.offer(lift(1, [CORDON]));
    nowMs += HOUR_MS;
    await own.offer(mark(2, [CORDON]));
    nowMs += 24 * HOUR_MS;
    await own.offer(mark(3, [CORDON]));
    expect(told()).toEqual([
      ["FAILED", "hook"],
      ["REFUSED", "breaker"],
      ["DONE", "", CORDON],
      ["DONE", ""],
      ["FAILED", "hook"],
      ["FAILED", "hook"],
    ]);
  });

  test("that says that it failed has left all as it was: what is there afterwards is somebody else's", async () => {
    const own = actuator(handsOf(hook(`[ ! -e ${directory}/tried ] || exit 10; : > ${directory}/tried; exit 3`)));
    await own.offer(mark(1, [CORDON]));
    nowMs += HOUR_MS;
    await own.offer(mark(1, [CORDON]));
    await own.offer(lift(1, [CORDON]));
    expect(told()).toEqual([
      ["FAILED", "hook"],
      ["DONE", ""],
      ["REFUSED", "not-ours"],
    ]);
  });

  test("with which the actuator itself ended: after the start anew the mark that it had begun is its own, the next one that is there is not", async () => {
    await expect(actuator(handsOf({ call: () => Promise.reject(new Error("killed")) })).offer(mark(1))).rejects.toThrow("killed");
    for (let starts = 0; starts < 2; starts++) {
      ledger.close();
      ledger = new FileLedger(join(directory, "state"), nowMs);
    }
    await actuator(handsOf(hook("exit 10"))).resume();
    expect(told()).toEqual([["DONE", "", LABEL]]);
  });

  test("that cannot be started for its arguments is told as failed", async () => {
    const options = { command: program(), arguments: ["a\0b"], environment: {}, timeoutMs: 1000 };
    await actuator(handsOf(new CommandHook(options))).offer(mark(1));
    expect(told()).toEqual([["FAILED", "hook"]]);
    expect(reports[0]?.detail).toMatch(/^the hook cannot be started: .*null bytes/);
  });

  test("that cannot be started since no file can be opened any more is told as failed, and runs when one can", () => {
    const options = JSON.stringify({ command: program(), arguments: [], environment: {}, timeoutMs: 600_000 });
    const call = JSON.stringify({ verb: "mark", mark: LABEL, nodeId: "", name: "w-1", actionId: "", reason: "" });
    const script = `
      import { closeSync, openSync } from "node:fs";
      const { CommandHook } = await import(${JSON.stringify(new URL("../../actuator/adapters/hook/command-hook.ts", import.meta.url))});
      const hook = new CommandHook(${options});
      const open = [];
      try { for (;;) open.push(openSync("/dev/null")); } catch {}
      const first = await hook.call(${call});
      open.forEach((fd) => closeSync(fd));
      console.log(JSON.stringify([first, await hook.call(${call})]));`;
    const { stdout } = spawnSync("sh", ["-c", 'ulimit -n 128; exec "$0" --input-type=module -e "$1"', process.execPath, script], { encoding: "utf8" });
    expect(JSON.parse(stdout)).toEqual([
      { outcome: "failed", detail: expect.stringMatching(/^the hook cannot be started: spawn .* EMFILE$/) },
      { outcome: "done" },
    ]);
  });

  test("that others may write is not run at all; nor is what is no program", async () => {
    const path = program();
    chmodSync(path, 0o777);
    const options = { arguments: [], environment: {}, timeoutMs: 1000 };
    expect(() => new CommandHook({ command: path, ...options })).toThrow("can be written by others");
    expect(() => new CommandHook({ command: directory, ...options })).toThrow("is no file");
    chmodSync(path, 0o644);
    await actuator(handsOf(new CommandHook({ command: path, ...options }))).offer(mark(1));
    expect(told()).toEqual([["FAILED", "hook"]]);
    expect(reports[0]?.detail).toMatch(/^the hook cannot be started: .*EACCES/);
  });
});

test("the configuration names the program and whom it may be asked about", () => {
  const whole = (nodes: string) => parseConfig(`stateDirectory: /s\ncredentialDirectory: /c\nverifier: { address: "v:1" }\nnodes: ${nodes}\n`, "a.yaml");
  expect(whole('{ hook: { command: /usr/local/bin/mark }, allow: ["w-*"] }').nodes).toEqual({
    hook: { command: "/usr/local/bin/mark", arguments: [], environment: {}, timeoutSeconds: 30 },
    ...{ allow: ["w-*"], hourly: 1, atOnce: 1 },
  });
  const example = readFileSync(new URL("../../deploy/config/actuator.example.yaml", import.meta.url), "utf8").replace(/^#(?=nodes:| {2})/gm, "");
  const { hook: shown, ...rest } = parseConfig(example, "a.yaml").nodes ?? {};
  expect(rest).toEqual({ allow: ["w-*"], hourly: 1, atOnce: 1 });
  expect(shown).toMatchObject({ command: "/usr/local/lib/hullmark/node-hook", arguments: [], timeoutSeconds: 30 });
  for (const bad of [
    "{ hook: { command: mark }, allow: [w] }",
    "{ hook: { command: /m } }",
    "{ hook: { command: /m }, allow: [] }",
    "{ hook: { command: /m, environment: { HULLMARK_NODE: x } }, allow: [w] }",
    '{ hook: { command: /m, arguments: ["a\\0b"] }, allow: [w] }',
    '{ hook: { command: /m, environment: { A: "a\\0b" } }, allow: [w] }',
    '{ hook: { command: "/m\\0" }, allow: [w] }',
  ])
    expect(() => whole(bad), bad).toThrow();
});
