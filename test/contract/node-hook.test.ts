/** Marks on nodes by an actuator's hook: a verifier that is not to be believed moves it no further than the host's own limits, and a program that misbehaves costs its time and no more. */
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
    const own = actuator(new NodeHands(hook(), LIMITS));
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
    let own = actuator(new NodeHands(hook('[ "$4" != label ] || exit 10'), LIMITS));
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
    own = actuator(new NodeHands(hook(), LIMITS));
    await own.offer(mark(3));
    await own.offer(lift(1));
    await own.offer(lift(1, [CORDON], "w-2"));
    await own.offer(lift(1, [CORDON]));
    await own.offer(lift(1, [CORDON]));
    await own.offer(mark(3, [TAINT]));
    expect(told().slice(6)).toEqual([
      ["REFUSED", "breaker"],
      ["REFUSED", "not-ours"],
      ["REFUSED", "not-ours"],
      ["DONE", "", CORDON],
      ["REFUSED", "not-ours"],
      ["DONE", "", TAINT],
    ]);
  });

  test("anything with nodes, where nothing is configured for them", async () => {
    await actuator(undefined).offer(mark(1));
    expect(told()).toEqual([["REFUSED", "unknown-kind"]]);
    expect(ledger.all()).toEqual([]);
  });
});

describe("a program", () => {
  test("that fails: what was done before it is told, and what it said, without control bytes", async () => {
    await actuator(new NodeHands(hook(`[ "$4" != label ] || exit 0\nprintf 'no such\\033[31mnode' >&2; exit 3`), LIMITS)).offer(mark(1));
    expect(told()).toEqual([["FAILED", "hook", LABEL]]);
    expect(reports[0]?.detail).toBe("mark cordon: the hook ended with 3: no such [31mnode");
  });

  test.each<[string, string, number, RegExp]>([
    ["that prints without end", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", 1500, /^mark label: the hook took longer than 1.5 s: /],
    ["that hangs, with children that keep its output open", "sleep 1000 & sleep 1000", 1500, /^mark label: the hook took longer than 1.5 s: $/],
    ["that ends, with a child of another group that keeps its output open", "setsid sleep 30 & exit 4", 600_000, /^mark label: the hook ended with 4: $/],
    ["that is killed", "kill -9 $$", 600_000, /^mark label: the hook ended with SIGKILL: $/],
  ])("%s: it is told as failed, in few words", async (_name, does, timeoutMs, detail) => {
    await actuator(new NodeHands(hook(does, timeoutMs), LIMITS)).offer(mark(1));
    expect(told()).toEqual([["FAILED", "hook"]]);
    expect(reports[0]?.detail).toMatch(detail);
    expect(reports[0]?.detail.length).toBeLessThanOrEqual(300);
  });

  test("that others may write is not run at all; nor is what is no program", async () => {
    const path = program();
    chmodSync(path, 0o777);
    const options = { arguments: [], environment: {}, timeoutMs: 1000 };
    expect(() => new CommandHook({ command: path, ...options })).toThrow("can be written by others");
    expect(() => new CommandHook({ command: directory, ...options })).toThrow("is no file");
    chmodSync(path, 0o644);
    await actuator(new NodeHands(new CommandHook({ command: path, ...options }), LIMITS)).offer(mark(1));
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
  ])
    expect(() => whole(bad), bad).toThrow();
});
