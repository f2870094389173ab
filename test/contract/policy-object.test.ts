/** Following the policy as an object of the cluster, when the API server answers badly or ends its watches. On a real one: test/e2e. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { followPolicy } from "@hullmark/verifier/adapters/kubernetes/index";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parse } from "yaml";

let home: string;
let file: string;
let stop: AbortController;
let patched: { path: string; body: { status: { conditions: { status: string; reason: string; observedGeneration: number; message: string }[] } } }[];
let problems: string[];
let pauses: number;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "hullmark-policy-"));
  file = join(home, "policy.yaml");
  stop = new AbortController();
  patched = [];
  problems = [];
  pauses = 0;
});
afterEach(() => rmSync(home, { recursive: true }));

const object = (generation: number, spec: unknown) => ({ metadata: { name: "hullmark", generation, resourceVersion: `${generation}` }, spec });
const list = (...items: unknown[]) => ({ status: 200, body: { metadata: { resourceVersion: "5" }, items } });
const heartbeat = (text: string) => ({ intervals: { heartbeat: text } });
const written = (): unknown => (parse(readFileSync(file, "utf8")) as { spec: unknown }).spec;

/** Each list is answered by the next of `lists`, each watch by the next of `watches`; when they are used up the test's signal aborts. */
async function follow(
  lists: readonly { status: number; body: unknown }[],
  watches: readonly (readonly unknown[] | Error)[],
  patchStatus = 200,
): Promise<readonly string[]> {
  const [gets, streams, asked] = [[...lists], [...watches], [] as string[]];
  const end = () => {
    stop.abort();
    return new Error("ended");
  };
  const api = {
    async get(path: string) {
      asked.push(path);
      const next = gets.shift();
      if (!next) throw end();
      return next;
    },
    async patch(path: string, body: unknown) {
      patched.push({ path, body: body as (typeof patched)[0]["body"] });
      return { status: patchStatus, body: {} };
    },
    async *watch(path: string) {
      asked.push(path);
      const next = streams.shift();
      if (!next) throw end();
      if (next instanceof Error) throw next;
      yield* next;
    },
  };
  const clock = {
    nowMs: () => 0,
    after: (_: number, run: () => void) => {
      pauses++;
      queueMicrotask(run);
      return () => {};
    },
  };
  await followPolicy(api, { namespace: "hullmark", name: "hullmark", file }, { clock, onProblem: (error) => problems.push(String(error)) }, stop.signal);
  return asked;
}

test("takes what is there, then each change, from where the list ended", async () => {
  const asked = await follow([list(object(1, heartbeat("5s")))], [[{ type: "MODIFIED", object: object(2, heartbeat("6s")) }]]);
  expect(written()).toEqual(heartbeat("6s"));
  expect(patched.map(({ body }) => body.status.conditions[0])).toMatchObject([
    { status: "True", observedGeneration: 1 },
    { status: "True", observedGeneration: 2 },
  ]);
  expect(patched[0]?.path).toBe("/apis/hullmark.dev/v1/namespaces/hullmark/attestationpolicies/hullmark/status");
  expect(asked[1]).toMatch(/fieldSelector=metadata.name%3Dhullmark&watch=1&timeoutSeconds=290&resourceVersion=5$/);
});

test("does not answer a change of the status with another", async () => {
  const event = { type: "MODIFIED", object: object(1, heartbeat("5s")) };
  await follow([list(object(1, heartbeat("5s")))], [[event, event]]);
  expect(patched).toHaveLength(1);
});

test("a policy with a mistake is told and not taken", async () => {
  await follow([list(object(1, heartbeat("5s")))], [[{ type: "MODIFIED", object: object(2, { rules: [{ nonsense: 1 }] }) }]]);
  expect(written()).toEqual(heartbeat("5s"));
  expect(patched[1]?.body.status.conditions[0]).toMatchObject({ status: "False", observedGeneration: 2, message: expect.stringContaining("nonsense") });
});

test("one under which the agent of the chart is drift is in force, and warned of with the rule that mends it", async () => {
  const everything = { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] };
  const rules = [{ name: "all", allow: everything }];
  await follow([list(object(1, { rules }))], [[]]);
  expect(written()).toEqual({ rules });
  const { message = "", ...condition } = patched[0]?.body.status.conditions[0] ?? {};
  expect(condition).toMatchObject({ status: "True", reason: "Warned" });
  expect(message).toContain('the rule "all" decides on Hullmark\'s own agent (hullmark/hullmark-agent), and does not allow what it needs');
  const [, rule = ""] = message.split("before the others: ");
  stop = new AbortController();
  await follow([list(object(2, { rules: [...(parse(rule) as unknown[]), ...rules] }))], [[]]);
  expect(patched[1]?.body.status.conditions[0]).toMatchObject({ status: "True", reason: "Good", message: "" });
});

test("what its status says already is not written again, and since when it is in force outlives what else is said", async () => {
  const said = { type: "InForce", status: "True", reason: "Good", message: "", lastTransitionTime: "1969-12-31T00:00:00Z" };
  const known = (generation: number, spec: object, condition: object) => ({ ...object(generation, spec), status: { conditions: [condition] } });
  await follow([list(known(1, heartbeat("5s"), { ...said, observedGeneration: 1 }))], [[]]);
  expect(written()).toEqual(heartbeat("5s"));
  expect(patched).toEqual([]);
  stop = new AbortController();
  await follow(
    [list(known(2, heartbeat("6s"), { ...said, observedGeneration: 1 })), list(known(3, heartbeat("6 parsecs"), { ...said, observedGeneration: 2 }))],
    [[], []],
  );
  expect(patched.map(({ body }) => body.status.conditions[0])).toMatchObject([
    { status: "True", observedGeneration: 2, lastTransitionTime: said.lastTransitionTime },
    { status: "False", observedGeneration: 3, lastTransitionTime: "1970-01-01T00:00:00Z" },
  ]);
  // Whoever may write statuses may write anything.
  stop = new AbortController();
  await follow([list(known(4, heartbeat("7s"), { nonsense: 1 }))], [[]]);
  expect(written()).toEqual(heartbeat("7s"));
});

test("a key file of the verifier's cannot be named", async () => {
  await follow([list(object(1, { authorities: [{ name: "a", keyFile: "/etc/passwd" }] }))], [[]]);
  expect(existsSync(file)).toBe(false);
  expect(patched[0]?.body.status.conditions[0]?.status).toBe("False");
});

test("with a deleted one its policy goes, and comes back with it", async () => {
  await follow([list(object(1, heartbeat("5s")))], [[{ type: "DELETED", object: object(1, heartbeat("5s")) }]]);
  expect(existsSync(file)).toBe(false);
  stop = new AbortController();
  await follow([list(object(1, heartbeat("5s"))), list()], [[]]);
  expect(existsSync(file)).toBe(false);
  stop = new AbortController();
  await follow(
    [list(object(1, heartbeat("5s")))],
    [
      [
        { type: "DELETED", object: object(1, heartbeat("5s")) },
        { type: "ADDED", object: object(1, heartbeat("9s")) },
      ],
    ],
  );
  expect(written()).toEqual(heartbeat("9s"));
});

test.each<[string, readonly { status: number; body: unknown }[], readonly (readonly unknown[] | Error)[]]>([
  ["a watch that ends", [list(), list(object(1, heartbeat("5s")))], [[]]],
  [
    "a version that is too old",
    [list(), list(object(1, heartbeat("5s")))],
    [
      [
        { type: "ERROR", object: { code: 410 } },
        { type: "ADDED", object: {} },
      ],
    ],
  ],
  ["a watch that breaks", [list(), list(object(1, heartbeat("5s")))], [new Error("reset")]],
  ["a refusal", [{ status: 403, body: {} }, list(object(1, heartbeat("5s")))], [[]]],
  ["an answer that is no list", [{ status: 200, body: { items: 1 } }, list(object(1, heartbeat("5s")))], [[]]],
  ["an event that is none", [list(), list(object(1, heartbeat("5s")))], [["word"]]],
])("after %s it is listed again", async (_, lists, watches) => {
  await follow(lists, watches);
  expect(written()).toEqual(heartbeat("5s"));
});

test("a server that ends every watch with an error is not asked without a pause", async () => {
  const error = [{ type: "ERROR", object: { code: 410 } }];
  await follow([list(), list(), list(), list()], [error, error, error]);
  expect(pauses).toBe(3);
  expect(problems).toEqual([]);
});

test("a status that cannot be written is told, and tried again", async () => {
  await follow([list(object(1, heartbeat("5s"))), list(object(1, heartbeat("5s")))], [], 403);
  expect(patched).toHaveLength(2);
  expect(problems[0]).toContain("answers 403");
  expect(written()).toEqual(heartbeat("5s"));
});
