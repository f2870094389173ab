/** Metrics and health of a real verifier: docs and code name the same series, numbers move with what happens, and nothing hostile becomes a label. */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { encodeRecord } from "@hullmark/proto/codec";
import { ActionState } from "@hullmark/proto/v1/response";
import { countLookups, countRequests, prometheusMeter } from "@hullmark/verifier/adapters/prometheus/index";
import { Health } from "@hullmark/verifier/core/fleet/health";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { reachListeners } from "@hullmark/verifier/listeners";
import { type Registry as ImageRegistry, RegistryError } from "@hullmark/verifier/ports/registry";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { action } from "../contract/store-fixtures.ts";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { Scrape } from "../fakes/scrape.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const DOCUMENT = readFileSync(new URL("../../docs/metrics.md", import.meta.url), "utf8");
/** name → type and labels, as the tables have them. */
const documented = new Map(
  [...DOCUMENT.matchAll(/^\| `((?:hullmark|process|nodejs)_\w+)` \| (\w+) \|([^|]*)\|/gm)].map(([, name = "", type = "", labels = ""]) => [
    name,
    { type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = ""]) => label).sort() },
  ]),
);

describe("series", () => {
  test("documentation and code name the same, of the same types", async () => {
    const { registry } = prometheusMeter("0.0.0", {});
    const declared = Scrape.of(await registry.metrics()).types();
    expect([...documented].map(([name, { type }]) => `${name} ${type}`).sort()).toEqual([...declared].map(([name, type]) => `${name} ${type}`).sort());
  });

  test("documentation and code name the same labels", () => {
    const { series } = prometheusMeter("0.0.0", {});
    for (const metric of Object.values(series)) {
      const { name, labelNames } = metric as unknown as { name: string; labelNames: string[] };
      expect(documented.get(name)?.labels, name).toEqual([...labelNames].sort());
    }
  });

  test("names follow Prometheus: counters end in _total, nothing else does; units are base units", () => {
    for (const [name, { type }] of documented) {
      if (!name.startsWith("hullmark_")) continue;
      expect(name.endsWith("_total"), name).toBe(type === "counter");
      expect(name, name).not.toMatch(/_(ms|milliseconds|nanoseconds|kb|kib|mb|minutes)(_|$)/);
    }
  });

  test("what a node says is never a label", async () => {
    const { registry, quote, committed } = prometheusMeter("0.0.0", {});
    for (let i = 0; i < 1000; i++) quote("late", `x${i}"} 1\nhullmark_evil 1`);
    const row = { severity: 99, changedAtMs: 5, committedAtMs: 1 };
    committed({ drifts: [1, 2, 3].map((number) => ({ ...row, number, kind: `k${number}` }) as never) });
    const scrape = Scrape.of(await registry.metrics());
    expect(scrape.text).not.toContain("evil");
    expect(scrape.value("hullmark_quotes_total", { result: "late", reason: "other" })).toBe(1000);
    expect(scrape.value("hullmark_drifts_opened_total", { kind: "other", severity: "info" })).toBe(3);
    // The change is later than its commit: the clocks differ.
    expect(scrape.value("hullmark_drift_detection_seconds_sum")).toBe(0);
  });

  test("an action is counted once in each state that it comes to", async () => {
    const meter = prometheusMeter("0.0.0", {});
    const row = action(1, { state: ActionState.ISSUED });
    const commits = [
      { row, before: undefined },
      { row: { ...row, reason: "terminating" }, before: ActionState.ISSUED },
      { row: { ...row, state: ActionState.DONE }, before: ActionState.ISSUED },
    ];
    for (const each of commits) meter.committed({ actions: [each] });
    const counted = Scrape.of(await meter.registry.metrics());
    for (const state of ["issued", "done"]) expect(counted.value("hullmark_actions_total", { kind: "recreate", state })).toBe(1);
  });

  test("registries are counted by how they answer", async () => {
    const { registry, series } = prometheusMeter("0.0.0", {});
    const answers: ImageRegistry = {
      manifest: async (_repository, reference) => {
        if (reference === "gone") throw new RegistryError("NOT_FOUND", "gone");
        return { mediaType: "m", digest: "d", bytes: Buffer.alloc(10) };
      },
      async *blob(_repository, digest) {
        yield Buffer.alloc(100);
        if (digest === "broken") throw new RegistryError("UNAVAILABLE", "broken");
        yield Buffer.alloc(1);
      },
      referrers: async () => [],
      anew: () => answers,
    };
    const counted = countLookups(countRequests(answers, series), series);
    const { signal } = new AbortController();
    await counted.manifest("r", "t", 1, signal);
    await expect(counted.manifest("r", "gone", 1, signal)).rejects.toThrow();
    await counted.referrers("r", "d", signal);
    for await (const _ of counted.blob("r", "d", signal));
    for await (const _ of counted.blob("r", "d", signal)) break;
    await expect(async () => {
      for await (const _ of counted.blob("r", "broken", signal));
    }).rejects.toThrow("broken");
    const scrape = Scrape.of(await registry.metrics());
    const requests = (object: string, result: string) => scrape.value("hullmark_registry_requests_total", { object, result });
    expect([requests("manifest", "ok"), requests("manifest", "not_found"), requests("referrers", "ok")]).toEqual([1, 1, 1]);
    expect([requests("blob", "ok"), requests("blob", "aborted"), requests("blob", "unavailable")]).toEqual([1, 1, 1]);
    expect(scrape.value("hullmark_registry_lookups_total")).toBe(6);
    expect(scrape.value("hullmark_registry_received_bytes_total")).toBe(10 + 101 + 100 + 100);
  });
});

describe("readiness", () => {
  test("follows the last trial of each component, and does not trust an old one", async () => {
    const health = new Health(0);
    expect(health.readiness(true, 0).ready).toBe(true);
    expect(health.readiness(false, 0)).toMatchObject({ ready: false, components: { policy: "invalid" } });
    const full = Promise.reject(new Error("disk full"));
    await expect(
      health.trial(
        "store",
        () => 1000,
        () => full,
      ),
    ).rejects.toThrow("disk full");
    expect(health.readiness(true, 1000)).toMatchObject({ ready: false, components: { store: "failing", log: "ok" } });
    await health.trial(
      "store",
      () => 2000,
      async () => {},
    );
    expect(health.readiness(true, 2000).ready).toBe(true);
    expect(health.readiness(true, 62_001)).toMatchObject({ ready: false, components: { store: "stale" } });
  });

  test("a port where nobody listens is noticed", async () => {
    const verifier = await new TestVerifier().start();
    try {
      const { mainPort, enrolmentPort, httpPort } = verifier.running ?? expect.fail("not running");
      await reachListeners([mainPort, enrolmentPort, httpPort].map((port) => ["0.0.0.0:0", port] as const));
      await verifier.stop();
      await expect(reachListeners([["127.0.0.1:0", mainPort]])).rejects.toMatchObject({ code: "ECONNREFUSED" });
    } finally {
      await verifier.dispose();
    }
  });
});

describe("a verifier at work", () => {
  let verifier: TestVerifier;
  let images: FakeRegistry;
  let image: PushedImage;
  const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
  beforeEach(async () => {
    images = await startFakeRegistry();
    image = await pushImage(`${images.host}/acme/web`);
    verifier = await new TestVerifier().start();
  });
  afterEach(async () => {
    await verifier.dispose();
    await images.close();
  });
  const scrape = (): Promise<Scrape> => Scrape.from(`http://127.0.0.1:${verifier.running?.httpPort}`);
  const reaches = (what: (seen: Scrape) => unknown, value: unknown): Promise<void> =>
    expect.poll(async () => what(await scrape()), { timeout: 30_000, interval: 200 }).toEqual(value);

  function container(upper: ScriptedContainer["upper"]): ScriptedContainer {
    const init = dockerInitLayer(MergedTree.of([LayerTree.build([])]));
    const layers = [{ id: "init-web", tree: init, runtimeMade: true }];
    return {
      id: "web".padEnd(64, "0"),
      name: "web",
      image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
      layers,
      upper,
    };
  }

  async function attesting(): Promise<Attester> {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    await attester.connect();
    attester.set(container(new Map()));
    await attester.report();
    return attester;
  }

  test("a drift, a losing agent and a refused quote move the numbers", async () => {
    const before = await scrape();
    expect(before.value("hullmark_oldest_attestation_timestamp_seconds")).toBeUndefined();
    expect(before.value("hullmark_component_ready", { component: "listeners" })).toBe(1);
    expect(before.value("hullmark_build_info", { version: "0.1.0" })).toBe(1);
    // A node whose TPM does not answer: unattested for as long as this test lasts.
    const silent = verifier.attester({ name: "w-2", quoter: new FakeQuoter() });
    silent.answering = false;
    await silent.connect();
    const attester = await attesting();
    await reaches((seen) => seen.value("hullmark_nodes_connected"), 2);
    await reaches((seen) => seen.value("hullmark_images", { state: "ready" }), 1);
    attester.set(container(new Map([["evil", directory]])));
    await attester.report(["web".padEnd(64, "0")]);
    attester.send({ case: "heartbeat", value: { seq: attester.seq, spooledEvidence: 4, spooledBytes: 4096n, losses: 2 } });
    attester.send({ case: "heartbeat", value: { seq: attester.seq, spooledEvidence: 5, spooledBytes: 8192n, losses: 3 } });
    // What was told before the stream broke is not counted again.
    await attester.close();
    await attester.connect();
    attester.send({ case: "heartbeat", value: { seq: attester.seq, spooledEvidence: 5, spooledBytes: 8192n, losses: 3 } });
    attester.send({ case: "quote", value: { nonce: Buffer.alloc(32, 9), seq: attester.seq } });
    await reaches((seen) => seen.value("hullmark_drifts_open", { kind: "added" }), 1);
    await reaches((seen) => seen.value("hullmark_quotes_total", { result: "refused", reason: "nonce" }), 1);
    const after = await scrape();
    expect(after.value("hullmark_drifts_opened_total", { kind: "added" })).toBe(1);
    expect(after.value("hullmark_drift_detection_seconds_count")).toBe(1);
    expect(after.value("hullmark_agent_event_losses_total")).toBe(3);
    expect([after.value("hullmark_agent_spooled_evidence"), after.value("hullmark_agent_spooled_bytes_max")]).toEqual([5, 8192]);
    expect(after.value("hullmark_evidence_total", { result: "accepted" })).toBe(2);
    expect(after.value("hullmark_appraisal_seconds_count")).toBeGreaterThanOrEqual(2);
    expect(after.value("hullmark_registry_requests_total", { object: "blob", result: "ok" })).toBeGreaterThan(0);
    expect(after.value("hullmark_log_entries")).toBeGreaterThan(before.value("hullmark_log_entries") ?? Number.POSITIVE_INFINITY);
    // Every label that shows is one that is documented.
    for (const name of after.types().keys()) for (const label of after.labels(name)) expect(documented.get(name)?.labels, name).toContain(label);
    await reaches((seen) => (seen.value("hullmark_node_unattested_seconds_total") ?? 0) > 0, true);
    expect(after.value("hullmark_nodes")).toBe(2);
  });

  test("a connection that says nothing does not end the listeners", async () => {
    const socket = connect(verifier.running?.mainPort ?? 0, "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.destroy();
    await attesting();
  });
});
