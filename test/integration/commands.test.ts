/** `hullmark status|nodes|workloads|images|drift|completion` as people run them: every form, every exit code, every list, look-up and watch of Query; and what the log says of it all afterwards. */
import { execFileSync } from "node:child_process";
import { hash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeRecord } from "@hullmark/proto/codec";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { type Ran, runHullmark } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { logEntries } from "../fakes/log-entries.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const layer = LayerTree.build([
  { path: Buffer.from("etc"), record: directory, implied: true },
  { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
]);
const init = dockerInitLayer(MergedTree.of([layer]));
const LISTS = [["status"], ["nodes"], ["workloads"], ["images"], ["drift", "ls"]] as const;
const POLICY = "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: first }\nspec: { mode: observe, intervals: { heartbeat: 5m, quote: 1h } }\n";

const verifier = new TestVerifier();
const said = { out: "", err: "" };
let registry: FakeRegistry;
let image: PushedImage;
let node: Attester;
let config: string;

const container = (name: string, upper: ReadonlyMap<string, Buffer> = new Map()): ScriptedContainer => ({
  id: name.padEnd(64, "0"),
  name,
  image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
  layers: [
    { id: "layer-0", tree: layer },
    { id: `init-${name}`, tree: init, runtimeMade: true },
  ],
  upper,
});
const tell = async (each: ScriptedContainer): Promise<void> => {
  node.set(each);
  await node.report([each.id]);
};
const remove = async ({ id }: ScriptedContainer): Promise<void> => {
  node.containers.delete(id);
  await node.report([], [id]);
};

const hullmark = async (...args: string[]): Promise<Ran> => await runHullmark(["--config", config, ...args], Object.assign(said, { out: "", err: "" }));
const codes = async (): Promise<unknown[]> => {
  const all = [];
  for (const list of LISTS) all.push((await hullmark(...list)).code);
  return all;
};

beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(POLICY)}`);
  const admin = join(verifier.directory, "state/admin");
  config = join(verifier.directory, "config.yaml");
  const files = ["caFile: ca.crt", "certFile: client.crt", "keyFile: client.key"].map((line) => line.replace(": ", `: ${admin}/`));
  writeFileSync(config, `currentContext: t\ncontexts:\n  t:\n    address: ${verifier.mainAddress}\n${files.map((line) => `    ${line}\n`).join("")}`);
});
afterEach(() => vi.restoreAllMocks());
afterAll(async () => {
  await verifier.dispose();
  await registry.close();
});

test("where nothing attests yet it cannot be told whether all is clean: 3", async () => {
  expect((await hullmark("status")).code).toBe(3);
  expect((await hullmark("nodes")).code).toBe(3);
});

test("an untouched container: 0 everywhere, and the same facts in every form", async () => {
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
  node.set(container("web"));
  await node.report();
  await expect.poll(async () => (await verifier.query.getWorkload({ container: "web" })).workload?.verdict, { timeout: 60_000 }).toBe(Verdict.WARNING);
  expect(await codes()).toEqual([0, 0, 0, 0, 0]);
  for (const list of LISTS) {
    const { out: json } = await hullmark(...list, "-o", "json");
    const { out: yaml } = await hullmark(...list, "-o", "yaml");
    const [one, other] = [JSON.parse(json), parse(yaml)] as Record<string, unknown>[];
    expect(other).toEqual(list[0] === "status" ? { ...one, now: expect.any(String), coverage: expect.anything(), log: expect.anything() } : one);
    const [table, wide] = [await hullmark(...list), await hullmark(...list, "-o", "wide")].map(({ out }) => out.split("\n")[0]?.split(/ {2,}/) ?? []);
    if (list.length === 1 && list[0] !== "status") expect(wide?.slice(0, table?.length)).toEqual(table);
    if (list.length === 1 && list[0] !== "status") expect(wide?.length).toBeGreaterThan(table?.length ?? 0);
  }
  expect(JSON.parse((await hullmark("images", "-o", "json")).out)).toMatchObject([
    { configDigest: image.configDigest, layers: 1, containers: 1, reference: { state: "ready" }, provenance: { status: "unsigned" } },
  ]);
});

test("an image is found by its config, by a name and by its manifest", async () => {
  for (const by of [image.configDigest, `${image.repository}:${image.tag}`, image.manifestDigest])
    expect((await verifier.query.getImage({ image: by })).image, by).toMatchObject({ configDigest: image.configDigest, containers: 1 });
  await expect(verifier.query.getImage({ image: `sha256:${"0".repeat(64)}` })).rejects.toMatchObject({ code: "NOT_FOUND", detail: { reason: "IMAGE" } });
});

/** Runs a command that goes on, makes things happen until it says `until`, and interrupts it. */
async function watched(args: readonly string[], happens: (round: number) => Promise<void>, until: () => boolean): Promise<{ code: unknown; out: string }> {
  const watching = hullmark(...args);
  let over = false;
  try {
    for (let round = 0; !over; round++) {
      await happens(round);
      over = await vi.waitFor(() => (until() ? true : Promise.reject(new Error(said.out))), { timeout: 2000, interval: 50 }).catch(() => false);
    }
  } finally {
    process.emit("SIGINT");
  }
  return await watching;
}

test("--watch goes on with every change, and has no row for what is gone; interrupted it ends with 0", async () => {
  const other = container("other");
  const workloads = await watched(
    ["workloads", "--watch", "-o", "yaml"],
    async (round) => {
      await tell(container(`other-${round}`));
      await remove(container(`other-${round}`));
      // Each time anew: what came between the list and the watch is told no more.
      if (round > 0) await remove(other);
      await tell(other);
    },
    () => said.out.includes(other.id),
  );
  expect(workloads.code).toBe(0);
  const rows = parse(workloads.out) as { verdict: string; container: { name: string } }[];
  expect(rows.filter(({ verdict, container: { name } }) => verdict === "?" || name === "")).toEqual([]);
  const nodes = await watched(
    ["nodes", "--watch"],
    () => remove(other).then(() => tell(other)),
    () => said.out.split("w-1").length > 2,
  );
  expect(nodes).toMatchObject({ code: 0, out: expect.stringMatching(/^NODE .*\nw-1 .*\nNODE .*\nw-1 /) });
  const images = await watched(
    ["images", "--watch", "-o", "json"],
    async (round) => {
      const { configDigest, tag } = await pushImage(image.repository, { tag: `v${round}`, layers: [{ [`file${round}`]: "x" }] });
      await tell({ ...container("third"), image: { reference: `${image.repository}:${tag}`, configDigest } });
    },
    () => said.out.includes(`${image.repository}:v`),
  );
  expect(images.code).toBe(0);
  for (const each of ["third", "other"]) await remove(container(each));
});

test("drift: 1; one that is not there: 2; the verifier away: 3", async () => {
  const changed = new Map([
    ["etc", directory],
    ["etc/app.conf", file("port=81\n")],
  ]);
  const watch = await watched(
    ["drift", "watch", "--current", "-o", "yaml"],
    async () => tell(container("web", changed)),
    () => said.out.includes("/etc/app.conf"),
  );
  expect(watch.code).toBe(0);
  expect(parseAllDocuments(watch.out).map((each) => (each.toJS() as { kind: string; state: string }).kind)).toContain("content");
  expect(await codes()).toEqual([1, 0, 1, 0, 1]);
  const [drift] = (await verifier.query.listDrift({})).drifts;
  const id = drift?.id ?? "";
  for (const command of ["show", "explain"]) {
    const [json, yaml] = [await hullmark("drift", command, id, "-o", "json"), await hullmark("drift", command, id, "-o", "yaml")];
    expect(json.code).toBe(1);
    expect(parse(yaml.out)).toEqual(JSON.parse(json.out));
    for (const form of ["table", "wide"]) expect((await hullmark("drift", command, id, "-o", form)).out).toContain("/etc/app.conf");
  }
  const explained = await hullmark("drift", "explain", id);
  const request = `hullmark exception request ${id} --seen ${drift?.seen} -m REASON --until 7d`;
  expect(explained.out).toContain(`\n    ${request}\n`);
  expect(JSON.parse((await hullmark("drift", "explain", id, "-o", "json")).out)).toMatchObject({
    id,
    explanation: { exception: { request }, policy: expect.any(String), rule: expect.any(String) },
  });
  const [one, list] = [await hullmark("drift", "show", id, "-o", "sarif"), await hullmark("drift", "ls", "-o", "sarif")];
  const results = [one, list].map(
    ({ out }) => JSON.parse(out).runs[0].results as { ruleId: string; partialFingerprints: object; properties: { drift: string } }[],
  );
  expect([one.code, list.code, results[0]?.[0]?.ruleId]).toEqual([1, 1, "content"]);
  expect(results[1]?.find(({ properties }) => properties.drift === id)?.partialFingerprints).toEqual(results[0]?.[0]?.partialFingerprints);
  expect(await hullmark("drift", "show", "D-0000")).toMatchObject({ code: 2, err: expect.stringContaining("no such drift") });
  await tell(container("web"));
  expect((await verifier.query.getDrift({ id })).drift?.state).toBe(DriftState.RESOLVED);
  expect((await hullmark("drift", "show", id)).code).toBe(0);
  // No reference anywhere for this one: what it is cannot be told.
  await tell({ ...container("strange"), image: { reference: `${registry.host}/acme/none:1`, configDigest: `sha256:${"1".repeat(64)}` } });
  await expect
    .poll(async () => (await verifier.query.getWorkload({ container: "strange" })).workload?.reasons.map(({ code }) => code), { timeout: 60_000 })
    .toContain("no-reference");
  expect(await codes()).toEqual([3, 0, 3, 0, 3]);
  expect((await hullmark("workloads", "--unknown")).out).toMatch(/strange.*no-reference/);
});

test("every verdict, enrolment and policy is in the log", async () => {
  expect(logEntries(verifier, "enrolment", "type")).toMatchObject([{ name: "w-1", trust: "tpm-tofu" }]);
  const verdicts = logEntries(verifier, "verdict", "type");
  const web = verdicts.filter(({ subject, name }) => subject === "container" && name === "web").map(({ before, verdict }) => `${before} ${verdict}`);
  expect(web.slice(-2)).toEqual(["warning contraindicated", "contraindicated warning"]);
  expect(verdicts.filter(({ subject, name }) => subject === "node" && name === "w-1").map(({ verdict }) => verdict)).toContain("warning");
  verifier.policy(POLICY.replace("first", "second"));
  await verifier.adminClient.reloadPolicy({});
  expect(logEntries(verifier, "policy", "type").map(({ name }) => name)).toEqual(["first", "second"]);
});

test("completion of the shell: commands and options, past arguments and the values of options", async () => {
  const script = join(verifier.directory, "completion.bash");
  writeFileSync(script, (await hullmark("completion", "bash")).out);
  const complete = (...words: string[]): string[] =>
    execFileSync("bash", ["-c", `. "$0"; COMP_WORDS=(hullmark "$@"); COMP_CWORD=$#; _hullmark; echo "\${COMPREPLY[@]}"`, script, ...words], {
      encoding: "utf8",
    })
      .trim()
      .split(" ");
  expect(complete("dri")).toEqual(["drift", "drill"]);
  expect(complete("--config", "x.yaml", "drift", "w")).toEqual(["watch"]);
  expect(complete("drift", "ls", "--o")).toEqual(["--output"]);
  expect(complete("drift", "ack", "D-7K2Q", "--rea")).toEqual(["--reason"]);
  execFileSync("bash", ["-n", script]);
  expect((await hullmark("completion", "zsh")).out).toContain("bashcompinit");
  expect((await hullmark("completion", "fish")).out).toContain(`complete -c hullmark -n "__fish_seen_subcommand_from drift" -f -a "watch"`);
});

test("a verifier that does not answer is never clean: 3", async () => {
  await verifier.stop();
  expect(await codes()).toEqual([3, 3, 3, 3, 3]);
});
