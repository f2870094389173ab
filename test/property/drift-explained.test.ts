/** `drift explain`: its command asks for what the verifier would grant, and says why where it would not; each kind is explained; no name gets out of its line. */
import { create } from "@bufbuild/protobuf";
import { Severity } from "@hullmark/proto/v1/common";
import { DifferenceSchema, type Drift, DriftSchema, DriftState, ProvenanceSchema, ProvenanceStatus } from "@hullmark/proto/v1/query";
import { ActionKind, ActionSchema, ActionState } from "@hullmark/proto/v1/response";
import { decidingRule } from "@hullmark/verifier/core/policy/deciding";
import { defaultPolicy } from "@hullmark/verifier/core/policy/default";
import { scopeOf } from "@hullmark/verifier/core/policy/exception-scope";
import { ALL_KINDS, DRIFT_PLACES } from "@hullmark/verifier/core/policy/kinds";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import fc from "fast-check";
import type { Called } from "hullmark/kubectl/invocation";
import { explain, explanationPage } from "hullmark/output/drift-explained";
import { dockerfileLine } from "hullmark/output/drift-mended";
import { expect, test } from "vitest";
import { drift as row } from "../contract/store-fixtures.ts";

const NOW_MS = Date.UTC(2026, 0, 2);
const HISTORY = "COPY app.conf /etc/app.conf # buildkit";

function drift({
  place = "upper",
  layerIndex = 2,
  history = HISTORY,
  ...fields
}: Partial<Omit<Drift, "$typeName" | "origin">> & { place?: string; layerIndex?: number; history?: string } = {}): Drift {
  return create(DriftSchema, {
    ...{ id: "D-7K2Q", seen: "0123456789abcdef", kind: "content", severity: Severity.HIGH, state: DriftState.OPEN, workload: "shop", containerName: "shop-1" },
    ...{
      containerId: "c1",
      nodeName: "w-1",
      imageReference: "registry.example/shop:1",
      configDigest: `sha256:${"1".repeat(64)}`,
      path: Buffer.from("/etc/app.conf"),
    },
    differences: [{ field: "sha256", expected: "a".repeat(64), observed: "b".repeat(64) }],
    origin: { place, layerIndex, diffId: "sha256:77ab", history },
    changedAt: { seconds: BigInt(NOW_MS / 1000 - 3600) },
    actor: { executable: "/usr/bin/vim", located: true, pid: 7, uid: 0, containerId: "c1" },
    ...fields,
  });
}
const pageOf = (of: Drift, called: Called = "hullmark"): string => explanationPage(of, explain(of, [], NOW_MS, "shop", called), called);

test("a changed file: what, by which build step, by whom and when, what would allow, excuse or mend it", () => {
  const of = drift();
  const { happened, notAllowed, mend, exception, policy } = explain(of, [], NOW_MS, "shop", "hullmark");
  expect(happened).toEqual([
    "shop (container shop-1 on w-1): /etc/app.conf altered (changed inside the container).",
    `sha256: expected ${"a".repeat(64)}, found ${"b".repeat(64)}.`,
    `The image brings it in layer 2, by the build step "${HISTORY}".`,
    "It was done by /usr/bin/vim (pid 7, uid 0) in container c1.",
    "It was done at 2026-01-01T23:00:00.000Z, 60m ago.",
  ]);
  expect(policy).toBe("mutable: [{ name: …, class: data, paths: [/etc/app.conf] }] (class any where it can be executed)");
  expect(notAllowed.join("\n")).toContain(`The policy's field that would: ${policy}`);
  expect(mend[0]).toBe("If it is to be so, make the change in the build step of layer 2: COPY app.conf /etc/app.conf");
  expect(exception.request).toBe("hullmark exception request D-7K2Q --seen 0123456789abcdef -m REASON --until 7d");
  expect(pageOf(of)).toContain(`\n    ${exception.request}\n`);
});

test("only an image that is signed is called so", () => {
  const said = (status: ProvenanceStatus, kind: string) => {
    const { happened, notAllowed } = explain(drift({ kind, provenance: create(ProvenanceSchema, { status }) }), [], NOW_MS, "shop", "hullmark");
    return `${happened.find((line) => line.includes("brings it"))} ${notAllowed[0]}`;
  };
  const { SIGNED, UNSIGNED, UNKNOWN } = ProvenanceStatus;
  expect(said(SIGNED, "content")).toMatch(/^The signed image brings it .*no longer what the signed image holds\.$/);
  for (const status of [UNSIGNED, UNKNOWN]) for (const kind of ["content", "code-unknown", "env"]) expect(said(status, kind)).not.toContain("signed");
});

test("which rule decides, that none does, and that nobody can tell", () => {
  const said = (rule: string | undefined, of = drift()) => explain(of, [], NOW_MS, rule, "hullmark").notAllowed.find((line) => /rule/i.test(line));
  expect(said("shop\u001b[0m")).toBe("The rule of the policy that decides on it: shop\\x1b[0m (spec.rules).");
  // What its namespace asks for beside the cluster is no rule of the policy.
  expect(said("shop", drift({ containerName: "shop/web-1/app" }))).toBe(
    "The rule of the policy that decides on it: shop (spec.rules); a policy of its namespace, where there is one, may take away more.",
  );
  expect(said("")).toBe("No rule of the policy (spec.rules) selects it.");
  expect(said("workers", drift({ place: "node", kind: "boot", containerId: "" }))).toBe("The rule of the policy that decides on it: workers (spec.nodes).");
  expect(said(undefined)).toContain("cannot be told");
  expect(explain(drift(), [], NOW_MS, undefined, "hullmark").rule).toBeNull();
  const select = (labels: Record<string, string>) => ({ images: [], containers: [], workloads: ["shop"], labels, nodes: [] });
  const policy = (...selects: ReturnType<typeof select>[]): Policy => ({
    ...defaultPolicy(),
    loaded: true,
    rules: selects.map((each, i) => ({ ...(defaultPolicy().rules[0] as Policy["rules"][number]), name: `r${i}`, select: each })),
  });
  const of = row(1, { containerId: "c1", containerName: "shop-1", workload: "shop", imageReference: "x", nodeName: "w-1" });
  const two = policy(select({ tier: "web" }), select({}));
  expect([decidingRule(two, of, { tier: "web" }), decidingRule(two, of, {}), decidingRule(two, of, undefined)]).toEqual(["r0", "r1", undefined]);
  expect(decidingRule(policy(select({})), of, undefined)).toBe("r0");
  expect([decidingRule(policy(), of, {}), decidingRule(defaultPolicy(), of, {}), decidingRule(two, { ...of, containerId: "" }, {})]).toEqual(["", "", ""]);
});

test("the build step, as builders write it in an image's history", () => {
  expect(dockerfileLine("RUN /bin/sh -c apt-get install curl # buildkit")).toBe("RUN apt-get install curl");
  expect(dockerfileLine("RUN |1 V=1 /bin/sh -c make # buildkit")).toBe("RUN make");
  expect(dockerfileLine("/bin/sh -c apt-get update")).toBe("RUN apt-get update");
  expect(dockerfileLine('/bin/sh -c #(nop)  CMD ["sh"]')).toBe('CMD ["sh"]');
  expect(dockerfileLine("COPY a /b # buildkit")).toBe("COPY a /b");
  expect(dockerfileLine(`COPY ${" ".repeat(1_000_000)}x # buildkit`)).toHaveLength(1_000_006);
  expect(explain(drift({ history: "" }), [], NOW_MS, "shop", "hullmark").happened).toContain("The image brings it in layer 2.");
  expect(dockerfileLine("bazel build ...")).toBe("bazel build ...");
});

test("it offers a request exactly where the verifier would take the narrowest one, and else says the verifier's reason", () => {
  const any = fc.record({
    ...{
      kind: fc.constantFrom(...ALL_KINDS),
      place: fc.constantFrom(...DRIFT_PLACES),
      workload: fc.constantFrom("shop", ""),
      containerName: fc.constantFrom("shop-1", ""),
    },
    ...{ containerId: fc.constantFrom("c1", ""), configDigest: fc.constantFrom("sha256:1", "") },
    differences: fc.array(
      fc.record({
        field: fc.constantFrom("sha256", "type", "opaque", "env X"),
        expected: fc.constant("a"),
        observed: fc.constantFrom("b".repeat(64), "hidden", "absent", "cut…"),
      }),
    ),
  });
  fc.assert(
    fc.property(any, (fields) => {
      const { place, kind } = fields;
      const scoped = scopeOf(row(1, { ...fields, path: Buffer.from("/etc/app.conf") }), { path: "", anyContent: false, anyImage: false });
      const { exception } = explain(
        drift({ ...fields, place, layerIndex: -1, differences: fields.differences.map((each) => create(DifferenceSchema, each)) }),
        [],
        NOW_MS,
        undefined,
        "hullmark",
      );
      expect(exception.request !== null, `${place}/${kind}`).toBe(scoped.ok);
      if (!scoped.ok) expect(exception.text).toBe(`None can be had for it as it is: ${scoped.why}.`);
    }),
    { numRuns: 2000 },
  );
});

test("what is done: acknowledged, alerted, excused, over, and the actions on it", () => {
  const action = create(ActionSchema, { id: "A-1", kind: ActionKind.STOP, state: ActionState.AWAITING, rule: "stop miners" });
  const said = (of: Drift) => explain(of, [], NOW_MS, "shop", "hullmark").done.join("\n");
  expect(explain(drift(), [action], NOW_MS, "shop", "hullmark").done).toContain("stop (awaiting), by the rule stop miners: hullmark action show A-1");
  expect(said(drift())).toMatch(/No alert has been sent\.\nNo action has been asked for/);
  expect(said(drift({ alertedAt: { $typeName: "google.protobuf.Timestamp", seconds: 0n, nanos: 0 } }))).toContain(
    "An alert was sent at 1970-01-01T00:00:00.000Z.",
  );
  expect(said(drift({ state: DriftState.ACKNOWLEDGED, acknowledgedBy: "ann", acknowledgedReason: "mine" }))).toContain("ann acknowledged: mine");
  const excused = drift({ state: DriftState.NOTICE, exception: "X-1" });
  expect(said(excused)).toContain("hullmark exception show X-1");
  expect(explain(excused, [], NOW_MS, "shop", "hullmark").exception).toEqual({ request: null, text: "It has one: X-1." });
  const over = drift({ state: DriftState.RESOLVED });
  expect([said(over), explain(over, [], NOW_MS, "shop", "hullmark").exception.request]).toEqual([expect.stringContaining("It is over."), null]);
});

test("no image is to be changed for what the node altered; a signature is the build's to make", () => {
  const mend = (fields: Parameters<typeof drift>[0]) => explain(drift(fields), [], NOW_MS, "shop", "hullmark").mend.join(" ");
  expect(mend({ place: "layer" })).toContain("A new build does not heal it");
  expect(mend({ place: "upper", kind: "added", layerIndex: -1 })).toContain("bring /etc/app.conf in by a build step");
  expect(mend({ place: "configuration", kind: "env" })).toContain("by ENV");
  expect(mend({ place: "image", kind: "unsigned" })).toContain("hullmark sign registry.example/shop:1 --key KEY");
  expect(mend({ place: "image", kind: "unsigned", imageReference: "x; rm -rf /" })).toContain("hullmark sign 'x; rm -rf /' --key KEY");
  expect(mend({ place: "node", kind: "boot" })).toContain("it is the node's");
});

test("every kind at every place is explained whole, and hostile names stay on their line", () => {
  const name = fc.oneof(fc.string({ unit: "binary", maxLength: 40 }), fc.constantFrom("a\nAn exception\n  rm -rf /", "\x1b[2J", "\u202egnp"));
  fc.assert(
    fc.property(
      fc.constantFrom(...ALL_KINDS),
      fc.constantFrom(...DRIFT_PLACES),
      name,
      name,
      fc.uint8Array({ maxLength: 40 }),
      (kind, place, workload, history, path) => {
        const of = drift({
          kind,
          place,
          workload,
          history,
          path,
          containerName: workload,
          nodeName: workload,
          imageReference: history,
          summary: workload,
          differences: [],
        });
        const page = pageOf(of);
        expect(page.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        expect(page.split("\n").filter((line) => line !== "" && !line.startsWith("  "))).toEqual([
          ...["D-7K2Q", "What happened", "Why it is not allowed", "What is done about it", "How it is mended", "An exception", "More"],
        ]);
        expect(pageOf(of, "kubectl hullmark")).toBe(page.replaceAll("hullmark ", "kubectl hullmark "));
        for (const part of page.trimEnd().split("\n\n").slice(1)) expect(part.split("\n").length).toBeGreaterThan(1);
      },
    ),
  );
});
