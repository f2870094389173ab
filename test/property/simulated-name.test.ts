/** A container that is judged under another name of its image than its node tells is so in what is said of another policy, too. */
import { Verdict } from "@hullmark/proto/v1/common";
import { expect, test } from "vitest";
import { defaultPolicy, EVERYTHING } from "../../verifier/core/policy/default.ts";
import type { Policy, PolicyRule } from "../../verifier/core/policy/types.ts";
import { type SimulationServices, simulatePolicy } from "../../verifier/core/session/simulate.ts";

const [TOLD, ASKED] = ["registry.example/acme/one:1", "registry.example/acme/two:1"];

const policy = (): Policy => ({
  ...defaultPolicy(),
  loaded: true,
  rules: [TOLD, ASKED].map((image): PolicyRule => ({ ...(defaultPolicy().rules[0] as PolicyRule), name: image, select: { ...EVERYTHING, images: [image] } })),
});

test("its rule and its image are those of the name under which it is judged", async () => {
  const [before, after] = [policy(), policy()];
  const identity = { imageReference: TOLD, name: "shop/web/web", workload: "shop/web", labels: {} };
  const judged = (verdict: Verdict) => ({
    row: { imageReference: ASKED, configDigest: "sha256:1", workload: "shop/web", appraised: { verdict, content: verdict } },
    appraisal: { findings: [] },
    imageKey: "k",
    conclusive: true,
  });
  const session = {
    nodeId: "n1",
    live: { node: { name: "n1" }, memory: { containers: new Map([["c1", { identity }]]) } },
    simulateNode: () => undefined,
    simulate: (_: string, under: { policy: Policy }) => judged(under.policy === after ? Verdict.CONTRAINDICATED : Verdict.AFFIRMING),
  };
  const nothing = { view: () => undefined, untold: new Set(), forsaken: new Map() };
  const services = {
    ...{ sessions: () => [session], policy: () => before, nowMs: () => 0, pause: async () => {} },
    ...{
      images: { view: () => undefined, under: async () => nothing },
      onProblem: (_node: string, _container: string, error: unknown) => expect.fail(`${error}`),
    },
  } as unknown as SimulationServices;
  const { changed, images } = await simulatePolicy(after, services, new AbortController().signal);
  expect(changed.map(({ before: was, after: would }) => [was.rule, would.rule])).toEqual([[ASKED, ASKED]]);
  expect([...images.values()].map(({ reference }) => reference)).toEqual([ASKED]);
});
