/** A registry takes connections and never answers, while what it alone can tell of is to be gone back to: it is waited for, and then policy's next rung is taken where there is one. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { type SilentRelay, startSilentRelay } from "../fakes/silent-relay.ts";
import { eventually, type FaultBed, startFaultBed, verifyLog, workloads } from "./fault-support.ts";
import { HostActuator } from "./host-actuator.ts";
import { acceptanceImage } from "./images/acceptance.ts";
import { type PushedImage, pushImage } from "./images/push.ts";

const policyOf = (publicKey: string): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: silence }
spec:
  mode: enforce
  intervals: { quote: 10s, rescan: 1m, heartbeat: 1s }
  authorities:
    - name: release
      key: |
${publicKey.trim().replace(/^/gm, "        ")}
  rules: [{ name: shop, select: { images: ["**/acme/shop**"] }, require: { signatures: { authorities: [release] }, registries: ["**/acme/shop"] } }]
  response:
    pause: 1m
    hourlyPercent: 100
    rules:
      - { name: halting, select: { containers: ["halting*"] }, untrusted: [rollback, halt] }
      - { name: stopping, select: { containers: ["stopping*"] }, untrusted: [rollback, stop] }
`;

const SETTLE_MS = 120_000;
/** As docs/response.md has it, about six minutes, with what it waits for each answer besides. */
const [WAITED_MS, GIVEN_UP_MS] = [5 * 60_000, 15 * 60_000];
/** Asked for again every two minutes by then, and what runs is looked at again within five. */
const BACK_MS = 10 * 60_000;

let faults: FaultBed;
let actuator: HostActuator;
let home: string;
/** Before the registry of what is signed. What nobody signed comes from that registry by its own address, which answers all the while. */
let relay: SilentRelay;
let signed: PushedImage;
let unsigned: PushedImage;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-silence-"));
  const key = await cosignKeyPair("v3", home, "release");
  faults = await startFaultBed("silence", {}, { policy: policyOf(readFileSync(key.publicKeyPath, "utf8")) });
  const host = faults.bed.registry?.host ?? "";
  relay = await startSilentRelay(host);
  await toldOfRelay(faults.stack);
  const { programs } = faults.victim("any");
  signed = await pushImage(`127.0.0.1:${relay.port}`, "acme/shop", "signed", acceptanceImage(programs, "2"));
  unsigned = await pushImage(host, "acme/shop", "unsigned", acceptanceImage(programs, "3"));
  const offline = ["--use-signing-config=false", "--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry", "--yes"];
  await cosign("v3", home, ["sign", "--key", key.privateKey, ...offline, signed.reference]);
  actuator = await HostActuator.start(faults, { limits: { pauseSeconds: 1, hourlyPercent: 100 } });
  // The breakers allow as many actions an hour as there are containers.
  for (const spare of ["spare-a", "spare-b", "spare-c", "spare-d"]) await hand("run", "-d", "--name", spare, faults.image.reference);
});

afterAll(async () => {
  await actuator?.stop();
  await faults?.bed.down();
  await relay?.[Symbol.asyncDispose]();
  if (home) rmSync(home, { recursive: true, force: true });
});

async function toldOfRelay({ directory, verifier }: FaultBed["stack"]): Promise<void> {
  const path = join(directory, "verifier.yaml");
  const config = parse(readFileSync(path, "utf8")) as { registries: { plainHttp: string[] } };
  config.registries.plainHttp.push(`127.0.0.1:${relay.port}`);
  writeFileSync(path, stringify(config));
  await verifier.stop();
  await verifier.start();
}

const hand = (...args: string[]): Promise<string> => faults.victim("any").docker(...args);
const running = (id: string): Promise<string> => hand("inspect", "-f", "{{.State.Running}}", id);
const waitsFor = (count: number): Promise<unknown> =>
  eventually(
    "the registry is waited for",
    () => actuator.told(),
    ({ held }) => held["looking-up"] === count,
    SETTLE_MS,
  );

/** @returns its id, once it is judged so */
async function started(name: string, { tagged }: PushedImage, verdict: string): Promise<string> {
  const id = await hand("run", "-d", "--name", name, tagged);
  const found = async () => (await workloads(faults.stack)).find(({ container }) => container.id === id);
  await eventually(`${name} is ${verdict}`, found, (each) => each?.verdict === verdict, SETTLE_MS);
  return id;
}

/** What is signed runs under these names, and then what nobody signed; the registry that told of the former says nothing any more. @returns ids of the latter */
async function rolledOut(...names: readonly string[]): Promise<readonly string[]> {
  const { verifier } = faults.stack;
  for (const name of names) await started(name, signed, "affirming");
  await hand("rm", "-f", ...names);
  relay.fallSilent();
  // Answers are kept for a while, in memory.
  await verifier.kill();
  await verifier.start();
  const ids: string[] = [];
  for (const name of names) ids.push(await started(name, unsigned, "contraindicated"));
  await waitsFor(names.length);
  return ids;
}

async function wentBack(name: string, before: string | undefined): Promise<void> {
  const [newest] = await eventually(
    `${name} is rolled back`,
    () => actuator.toldOf(name),
    ([first]) => first?.state === "done",
    BACK_MS,
  );
  expect(newest).toMatchObject({ kind: "rollback", container: { id: before } });
  expect(await hand("inspect", "-f", "{{.Id}} {{.Image}} {{.State.Running}}", name)).toBe(`${newest?.newContainerId} ${signed.configDigest} true`);
  expect(await actuator.toldOf(name)).toHaveLength(1);
}

test("a registry that falls silent is waited for: nothing is done on a guess; once it answers, what it told of is gone back to", {
  timeout: 900_000,
}, async () => {
  actuator.logsOnFailure();
  const ids = await rolledOut("halting", "stopping");
  const asked = relay.connections;
  await delay(60_000);
  expect(relay.connections).toBeGreaterThan(asked);
  await waitsFor(ids.length);
  expect((await actuator.told()).actions).toEqual([]);
  expect(await Promise.all(ids.map(running))).toEqual(["true", "true"]);

  relay.speak();
  await wentBack("halting", ids[0]);
  await wentBack("stopping", ids[1]);
});

test("one that stays silent is waited for no longer: the rung after it is taken; halt is none of containers, and is not taken; once it answers that one is rolled back still", {
  timeout: 2_400_000,
}, async () => {
  actuator.logsOnFailure();
  const [halting = "", stopping = ""] = await rolledOut("halting-on", "stopping-on");
  const sinceMs = Date.now();
  const [stopped] = await eventually(
    "it is waited for no longer",
    () => actuator.toldOf("stopping-on"),
    ([first]) => first?.state === "done",
    GIVEN_UP_MS,
  );
  expect(stopped).toMatchObject({ kind: "stop", container: { id: stopping } });
  expect(Date.parse(stopped?.createdAt ?? "") - sinceMs).toBeGreaterThan(WAITED_MS);
  expect(await Promise.all([halting, stopping].map(running))).toEqual(["true", "false"]);
  expect(await actuator.toldOf("halting-on")).toEqual([]);

  relay.speak();
  await wentBack("halting-on", halting);
  expect(await actuator.toldOf("stopping-on")).toHaveLength(1);
  await verifyLog(faults.stack);
});
