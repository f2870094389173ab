/** What makes pods goes back to what is verified: by the API server as it is, with the rights that the chart gives, while whoever uses the service notices nothing. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CosignKey } from "../../fakes/cosign.ts";
import { trivyReport } from "../../fakes/scan-reports.ts";
import { eventually } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { LONG } from "../long.ts";
import { type Acting, type ActingBed, heldRate, steadyClient, type ToldAction, WITHIN_MS } from "./acting.ts";
import { podSpec, SERVING } from "./workloads.ts";

/** Rules of the policy: nothing but what these tests make is acted on. The cluster has one node. */
export const ROLLING_BACK = `
      - name: paused
        select: { workloads: ["default/roll-paused"] }
        untrusted: [rollback]
        rollbackOnOneNode: true
        capture: { patience: 0s }
        owners: [argocd]
      - name: halted
        select: { workloads: ["default/roll-halted*"] }
        untrusted: [rollback, halt]
        rollbackOnOneNode: true
        capture: { patience: 2m }
      - name: named-by-digest
        select: { workloads: ["default/roll-revoked"] }
        untrusted: [rollback]
        capture: { patience: 2m }
      - name: rolled-back
        select: { workloads: ["default/roll-*"] }
        ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] }
        untrusted: [rollback]
        rollbackOnOneNode: true
        capture: { patience: 0s }
`;

export interface RollbackBed extends ActingBed {
  /** @param by default: a key that stays */
  sign(reference: string, by?: CosignKey): Promise<unknown>;
  /** A key that policy trusts too, until it is revoked. */
  readonly retiring: CosignKey;
}

interface Workload {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: { readonly replicas?: number; readonly template: { readonly spec: { readonly containers: readonly { readonly image: string }[] } } };
}

/** As Argo CD's own definition names it; what it holds is not checked. */
export const APPLICATIONS = {
  ...{ apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: { name: "applications.argoproj.io" } },
  spec: {
    ...{ group: "argoproj.io", scope: "Namespaced", names: { kind: "Application", plural: "applications" } },
    versions: [
      { name: "v1alpha1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } } },
    ],
  },
};

export function application(name: string): object {
  return {
    ...{ apiVersion: "argoproj.io/v1alpha1", kind: "Application", metadata: { name, namespace: "argocd" } },
    spec: { source: { repoURL: "https://git.example/shop", path: "deploy" }, syncPolicy: { automated: { prune: true } } },
    status: {
      ...{ sync: { revision: "bbb" }, history: [{ revision: "aaa" }, { revision: "bbb" }] },
      resources: [{ group: "apps", version: "v1", kind: "Deployment", namespace: "default", name }],
    },
  };
}

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function rollbacks(of: () => RollbackBed, actingOf: () => Acting): void {
  let acting: Acting;
  /** Signed, signed, and not signed. */
  let first: PushedImage;
  let second: PushedImage;
  let stranger: PushedImage;

  const KINDS = { Deployment: "deployment", StatefulSet: "statefulset", DaemonSet: "daemonset" } as const;
  type Kind = keyof typeof KINDS;
  const made: string[] = [];

  const workload = (kind: Kind, app: string, image: string, annotations: Readonly<Record<string, string>> = {}, one: object = { replicas: 3 }): object => {
    made.push(`${KINDS[kind]}/${app}`);
    const strategy = { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }, type: "RollingUpdate" };
    const container = { ...SERVING, ports: [{ containerPort: 8080 }] };
    return {
      ...{ apiVersion: "apps/v1", kind, metadata: { name: app, annotations } },
      spec: {
        ...(kind === "Deployment" && { ...one, strategy }),
        ...(kind === "StatefulSet" && { replicas: 1, serviceName: app }),
        ...{
          selector: { matchLabels: { app } },
          template: { metadata: { labels: { app } }, spec: podSpec(image, { container, spec: { terminationGracePeriodSeconds: 15 } }) },
        },
      },
    };
  };
  const get = async (kind: Kind, app: string): Promise<Workload> => JSON.parse(await acting.kubectl("get", `${KINDS[kind]}/${app}`, "--output=json"));
  const imageOf = async (kind: Kind, app: string): Promise<string> => (await get(kind, app)).spec.template.spec.containers[0]?.image ?? "";
  const rollOut = (kind: Kind, app: string, image: string): Promise<string> => acting.kubectl("set", "image", `${KINDS[kind]}/${app}`, `web=${image}`);
  const podOf = (action: ToldAction | undefined): string => action?.container.name.split("/")[1] ?? "";
  const rolledBack = (app: string) => acting.actionIs(`${app}-`, "done", ({ kind, state }) => kind === "rollback" && state === "done");

  /** Its node was asked first, and kept what ran there. */
  async function expectCaptured({ id }: ToldAction): Promise<void> {
    const { captures } = await of().stack.json<{ captures: { action: string; by: string; complete: boolean; processes: number }[] }>("capture", "ls");
    const capture = captures.find(({ action }) => action === id);
    expect(capture).toMatchObject({ by: "node", complete: true });
    expect(capture?.processes).toBeGreaterThan(0);
  }

  beforeAll(async () => {
    acting = actingOf();
    const { bed, programs, sign } = of();
    const push = (tag: string): Promise<PushedImage> => pushImage(bed.registry?.host ?? "", "acme/roll", tag, acceptanceImage(programs, `roll-${tag}`));
    first = await push("1");
    second = await push("2");
    stranger = await push("3");
    for (const { reference } of [first, second]) await sign(reference);
  });

  afterAll(() => acting.kubectl("delete", ...made, "service/roll-shop", "--ignore-not-found", "--wait=false"));

  test("a client of three replicas notices nothing of an eviction and a rollback", { timeout: 1_200_000 }, async () => {
    acting.logsOnFailure();
    const service = { apiVersion: "v1", kind: "Service", metadata: { name: "roll-shop" } };
    await acting.apply(workload("Deployment", "roll-shop", first.tagged), {
      ...service,
      spec: { selector: { app: "roll-shop" }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    const [victim] = await acting.clean("roll-shop", 3);
    const address = await acting.kubectl("get", "service/roll-shop", "--output=jsonpath={.spec.clusterIP}");
    const client = steadyClient(of(), `http://${address}/`);
    try {
      await acting.write(victim?.metadata.name ?? "");
      await acting.actionIs(victim?.metadata.name ?? "", "evicted", ({ kind, state }) => kind === "evict" && state === "done");
      await acting.clean("roll-shop", 3);

      await rollOut("Deployment", "roll-shop", stranger.tagged);
      const done = (await rolledBack("roll-shop")).find(({ kind, state }) => kind === "rollback" && state === "done");
      expect(await acting.toldWithEntry(podOf(done), "RollingBack", "RolledBack")).toEqual([done?.id, done?.id]);
      expect(done?.detail).toMatch(/^Deployment roll-shop back to roll-shop-[a-z0-9]+$/);
      await acting.clean("roll-shop", 3);
    } finally {
      client.process.kill("SIGTERM");
    }
    // What was verified, by its digest: the tag may be another's by now. Nothing else of it is changed.
    const now = await get("Deployment", "roll-shop");
    expect(now.spec.template.spec.containers[0]?.image).toBe(first.reference);
    expect(now.spec.replicas).toBe(3);
    const fared = await client.told;
    expect(fared.failures).toEqual([]);
    expect(fared).toSatisfy(heldRate);
    console.info(`${fared.sent} requests in ${Math.round(fared.seconds)} s, none failed, the slowest ${fared.slowestMs} ms, during an eviction and a rollback`);
  });

  test("a StatefulSet and a DaemonSet go back as well", { timeout: 900_000 }, async () => {
    acting.logsOnFailure();
    const both = [
      ["StatefulSet", "roll-store"],
      ["DaemonSet", "roll-each"],
    ] as const;
    for (const [kind, app] of both) await acting.apply(workload(kind, app, first.tagged));
    for (const [kind, app] of both) await acting.clean(app, 1, KINDS[kind]);
    // The newer one of two that are verified.
    for (const [kind, app] of both) await rollOut(kind, app, second.tagged);
    for (const [kind, app] of both) await acting.clean(app, 1, KINDS[kind]);
    for (const [kind, app] of both) await rollOut(kind, app, stranger.tagged);
    for (const [kind, app] of both) {
      const done = (await rolledBack(app)).find(({ state }) => state === "done");
      expect(done?.detail).toMatch(new RegExp(`^${kind} ${app} back to ${app}-`));
      expect(await imageOf(kind, app)).toBe(second.reference);
      await acting.clean(app, 1, KINDS[kind]);
    }
  });

  if (LONG)
    test("the verifier is killed at each step of a rollback, while pods are replaced too, and of a halt: each is done once", {
      timeout: 1_200_000,
    }, async () => {
      acting.logsOnFailure();
      // So long at least the rollout is seen to be under way.
      const one = { replicas: 1, minReadySeconds: 15 };
      await acting.apply(workload("Deployment", "roll-killed", first.tagged, {}, one));
      await acting.clean("roll-killed", 1);
      const underWay = () => acting.actionIs("roll-killed-", "under way", ({ state, reason }) => state === "issued" && reason === "rolling-out");
      const [beforeIssue, afterIssue, ...settling] = RESPONSE_FAILPOINTS;
      await acting.killedAt([beforeIssue, afterIssue, underWay, ...settling], () => rollOut("Deployment", "roll-killed", stranger.tagged));
      const all = await rolledBack("roll-killed");
      expect(all.map(({ kind, state }) => `${kind} ${state}`)).toEqual(["rollback done"]);
      expect(await imageOf("Deployment", "roll-killed")).toBe(first.reference);
      // The first, the one that was not signed, and what was put back: nothing was put in twice.
      const { metadata, spec } = await get("Deployment", "roll-killed");
      expect(metadata.annotations?.["deployment.kubernetes.io/revision"]).toBe("3");
      expect(spec.replicas).toBe(1);
      await acting.clean("roll-killed", 1);

      await acting.killedAt(RESPONSE_FAILPOINTS, () => acting.apply(workload("Deployment", "roll-halted-killed", stranger.tagged, {}, { replicas: 1 })));
      const halts = await acting.actionIs("roll-halted-killed-", "halted", ({ kind, state }) => kind === "halt" && state === "done");
      expect(halts.filter(({ state }) => state !== "withdrawn").map(({ kind, state }) => `${kind} ${state}`)).toEqual(["halt done"]);
      const halted = await get("Deployment", "roll-halted-killed");
      expect(halted).toMatchObject({ spec: { replicas: 0 }, metadata: { annotations: { "hullmark.dev/halted": expect.stringMatching(/^[0-9a-f]{32}\/1$/) } } });
    });

  test("what its annotation forbids, or Argo CD applies, is left, and whoever has to is told; or Argo CD is paused, where policy says so", {
    timeout: 1_200_000,
  }, async () => {
    acting.logsOnFailure();
    const tracked = (app: string) => ({ "argocd.argoproj.io/tracking-id": `${app}:apps/Deployment:default/${app}` });
    await acting.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "argocd" } }, APPLICATIONS);
    await acting.kubectl("wait", "--for=condition=Established", "customresourcedefinition/applications.argoproj.io", "--timeout=60s");
    await acting.apply(application("roll-argo"), application("roll-paused"));
    await acting.apply(workload("Deployment", "roll-never", first.tagged, { "hullmark.dev/rollback": "never" }));
    for (const app of ["roll-argo", "roll-paused"]) await acting.apply(workload("Deployment", app, first.tagged, tracked(app)));
    const all = ["roll-never", "roll-argo", "roll-paused"];
    for (const app of all) await acting.clean(app, 3);
    for (const app of all) await rollOut("Deployment", app, stranger.tagged);

    await acting.actionIs("roll-never-", "refused", ({ state, reason }) => state === "refused" && reason === "rollback-never");
    const refused = await acting.actionIs("roll-argo-", "refused", ({ state, reason }) => state === "refused" && reason === "owned-by-argocd");
    expect(refused.find(({ reason }) => reason === "owned-by-argocd")?.detail).toBe(
      "Deployment roll-argo is applied by Argo CD Application argocd/roll-argo: revert there what brought the image (https://git.example/shop, deploy, at bbb (before that aaa))",
    );
    const pods = await acting.podsOf("roll-argo");
    const events = (await Promise.all(pods.map(({ metadata }) => acting.events(metadata.uid)))).flat();
    expect(events).toContainEqual(expect.objectContaining({ reason: "RollbackRefused", type: "Warning" }));
    await acting.toldWithEntry(podOf(refused.find(({ reason }) => reason === "owned-by-argocd")), "RollbackRefused");
    for (const app of ["roll-never", "roll-argo"]) expect(await imageOf("Deployment", app)).toBe(stranger.tagged);

    await rolledBack("roll-paused");
    expect(await imageOf("Deployment", "roll-paused")).toBe(first.reference);
    const told = async (name: string): Promise<{ spec: object; metadata: { annotations: Readonly<Record<string, string>> } }> =>
      JSON.parse(await acting.kubectl("get", `applications.argoproj.io/${name}`, "--namespace=argocd", "--output=json"));
    expect(await told("roll-paused")).toMatchObject({ spec: { syncPolicy: {} }, metadata: { annotations: { "hullmark.dev/paused-sync": '{"prune":true}' } } });
    expect((await told("roll-paused")).spec).not.toHaveProperty("syncPolicy.automated");
    expect(await told("roll-argo")).toMatchObject({ spec: { syncPolicy: { automated: { prune: true } } } });
  });

  test("an image that is revoked while it runs gives way to the newest that is verified then", { timeout: 900_000 }, async () => {
    acting.logsOnFailure();
    await acting.apply(workload("Deployment", "roll-revoked", first.tagged));
    await acting.clean("roll-revoked", 3);
    // By its digest: the API server bears out what the one node says.
    await rollOut("Deployment", "roll-revoked", second.reference);
    await acting.clean("roll-revoked", 3);
    await revoking([{ digest: second.digest, reason: "INC-7" }], async () => {
      const [done] = (await rolledBack("roll-revoked")).filter(({ state }) => state === "done");
      if (!done) throw new Error("no action");
      await expectCaptured(done);
      expect(await imageOf("Deployment", "roll-revoked")).toBe(first.reference);
      await acting.clean("roll-revoked", 3);
    });
  });

  test("what is verified is not gone back to where worse is known of it than of what runs and is signed: whoever deploys is told, and it runs on", {
    timeout: 600_000,
  }, async () => {
    acting.logsOnFailure();
    const { bed, programs, sign, stack } = of();
    const push = (repository: string, tag: string) => pushImage(bed.registry?.host ?? "", repository, tag, acceptanceImage(programs, `roll-${tag}`));
    // Signed as policy asks, and of the second not where policy asks for it.
    const [worse, misplaced] = [await push("acme/roll", "worse"), await push("acme/roll-elsewhere", "misplaced")];
    for (const { reference } of [worse, misplaced]) await sign(reference);
    // Nothing is asked of where the second one's is.
    const one = { replicas: 1 };
    await acting.apply(workload("Deployment", "roll-risk", worse.tagged, {}, one), workload("Deployment", "beside-risk", misplaced.tagged, {}, one));
    for (const app of ["roll-risk", "beside-risk"]) await acting.clean(app, 1);
    const flaw = { id: "CVE-2026-0001", name: "libssl3", version: "3.0.1", severity: "critical" };
    for (const [{ configDigest: config }, found] of [
      [worse, [flaw]],
      [misplaced, []],
    ] as const) {
      const report = join(stack.directory, `scan-${config.slice(7, 19)}.json`);
      writeFileSync(report, JSON.stringify(trivyReport(found, { config, createdAt: new Date().toISOString() })));
      expect(await stack.hullmark("vulnerabilities", "import", report)).toMatchObject({ code: 0 });
    }
    await rollOut("Deployment", "roll-risk", misplaced.tagged);
    const refused = await acting.actionIs(
      "roll-risk-",
      "refused",
      ({ kind, state, reason }) => kind === "rollback" && state === "refused" && reason === "higher-risk",
    );
    const { container, id } = refused.find(({ reason }) => reason === "higher-risk") ?? { container: { name: "" }, id: "" };
    const pod = (await acting.podsOf("roll-risk")).find(({ metadata }) => container.name === `default/${metadata.name}/web`);
    const told = await eventually(
      "an Event tells of it",
      () => acting.events(pod?.metadata.uid ?? ""),
      (events) => events.some(({ reason }) => reason === "RollbackRefused"),
      WITHIN_MS,
    );
    const message = expect.stringMatching(new RegExp(`CVE-2026-0001.*${id}`));
    expect(told).toContainEqual(expect.objectContaining({ reason: "RollbackRefused", type: "Warning", message }));
    expect(await imageOf("Deployment", "roll-risk")).toBe(misplaced.tagged);
  });

  /** While this is in the policy. */
  async function revoking(revocations: readonly object[], work: () => Promise<void>): Promise<void> {
    const { policyPath } = of().stack;
    const before = readFileSync(policyPath, "utf8");
    writeFileSync(policyPath, `${before}  revocations: ${JSON.stringify(revocations)}\n`);
    try {
      await work();
    } finally {
      writeFileSync(policyPath, before);
    }
  }

  const foundBad = (app: string, count: number): Promise<unknown> =>
    eventually(
      `${app} is found`,
      () => of().stack.json<{ workload: string; verdict: string }[]>("workloads"),
      (all) => all.filter(({ workload: name, verdict }) => name === `default/${app}` && verdict === "contraindicated").length === count,
      WITHIN_MS,
    );

  test("a key is revoked while what it alone signed runs: back to what another key signed; else to none, or it runs on, as policy says", {
    timeout: 900_000,
  }, async () => {
    acting.logsOnFailure();
    const { bed, programs, sign, retiring } = of();
    const retired = await pushImage(bed.registry?.host ?? "", "acme/roll", "retired", acceptanceImage(programs, "roll-retired"));
    await sign(retired.reference, retiring);
    await acting.apply(
      workload("Deployment", "roll-key", first.tagged),
      workload("Deployment", "roll-skipped", second.tagged, {}, { replicas: 1 }),
      ...["roll-halted-key", "roll-kept"].map((app) => workload("Deployment", app, retired.tagged)),
    );
    await acting.clean("roll-key", 3);
    await acting.clean("roll-skipped", 1);
    await rollOut("Deployment", "roll-key", retired.tagged);
    for (const app of ["roll-key", "roll-halted-key", "roll-kept"]) await acting.clean(app, 3);
    // Of this one what that key signed is the newest revision before the one that is revoked by its digest: it is passed over for the newest that is verified.
    const newest = await pushImage(bed.registry?.host ?? "", "acme/roll", "newest", acceptanceImage(programs, "roll-newest"));
    await sign(newest.reference);
    await rollOut("Deployment", "roll-skipped", first.tagged);
    await acting.clean("roll-skipped", 1);
    await rollOut("Deployment", "roll-skipped", retired.tagged);
    await acting.clean("roll-skipped", 1);
    await rollOut("Deployment", "roll-skipped", newest.tagged);
    await acting.clean("roll-skipped", 1);
    const revocations = [
      { reason: "INC-8", key: readFileSync(retiring.publicKeyPath, "utf8").trim() },
      { reason: "INC-9", digest: newest.digest },
    ];
    await revoking(revocations, async () => {
      await rolledBack("roll-skipped");
      expect(await imageOf("Deployment", "roll-skipped")).toBe(first.reference);

      await rolledBack("roll-key");
      expect(await imageOf("Deployment", "roll-key")).toBe(first.reference);
      await acting.clean("roll-key", 3);
      await acting.actionIs("roll-halted-key-", "halted", ({ kind, state }) => kind === "halt" && state === "done");
      expect(await get("Deployment", "roll-halted-key")).toMatchObject({ spec: { replicas: 0 } });
      await foundBad("roll-kept", 3);
      expect(await acting.told("roll-kept-")).toEqual([]);
      expect(await get("Deployment", "roll-kept")).toMatchObject({ spec: { replicas: 3 } });
    });
  });

  test("with nothing that is verified to go back to it runs on as many pods as before, or on none, where policy says so", { timeout: 600_000 }, async () => {
    acting.logsOnFailure();
    await acting.apply(workload("Deployment", "roll-new", stranger.tagged), workload("Deployment", "roll-halted", stranger.tagged));
    await acting.kubectl("rollout", "status", "deployment/roll-new", "--timeout=240s");
    await foundBad("roll-new", 3);
    expect(await acting.told("roll-new-")).toEqual([]);
    expect(await get("Deployment", "roll-new")).toMatchObject({ spec: { replicas: 3 } });
    expect(await acting.podsOf("roll-new")).toHaveLength(3);

    const halts = await acting.actionIs("roll-halted-", "halted", ({ kind, state }) => kind === "halt" && state === "done");
    const halt = halts.find(({ kind, state }) => kind === "halt" && state === "done");
    if (!halt) throw new Error("no action");
    expect(await acting.toldWithEntry(podOf(halt), "Halting", "Halted")).toEqual([halt.id, halt.id]);
    await expectCaptured(halt);
    const halted = await get("Deployment", "roll-halted");
    expect(halted).toMatchObject({ spec: { replicas: 0 }, metadata: { annotations: { "hullmark.dev/halted": expect.stringMatching(/^[0-9a-f]{32}\/3$/) } } });
  });
}
