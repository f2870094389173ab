/** Exceptions where something goes wrong between their steps: the store cannot write, the drift or the policy is another by then. */

import { sightOf } from "@hullmark/verifier/core/fleet/drift-rows";
import { type ExceptionRequest, type ExceptionServices, Exceptions } from "@hullmark/verifier/core/fleet/exceptions";
import { Identities } from "@hullmark/verifier/core/people/identities";
import type { DriftRow } from "@hullmark/verifier/ports/rows";
import { StoreError } from "@hullmark/verifier/ports/store";
import { expect, test } from "vitest";
import { drift } from "./store-fixtures.ts";

const DAY_MS = 86_400_000;

/** What people do, over a store that can be made to fail. */
async function fixture(samePerson: ExceptionServices["samePerson"] = (a, b) => a === b) {
  const state = { nowMs: 1_790_000_000_000, maxDays: 30, writes: true, drift: drift(1), granted: [] as string[] };
  const services: ExceptionServices = {
    store: { readExceptions: async () => [], readDrift: async () => state.drift },
    samePerson,
    committer: {
      submit: async () => {
        if (!state.writes) throw new StoreError("STORE_UNAVAILABLE", "no space");
        return { commit: {}, firstLogIndex: 0 };
      },
    },
    policies: {
      grant: async (granted) => {
        state.granted = granted.map(({ id }) => id);
      },
      get current() {
        return { exceptionTerms: { classes: [], namespaces: [], maxDays: state.maxDays } };
      },
    },
    nowMs: () => state.nowMs,
  };
  const exceptions = await Exceptions.open(services);
  const request = (change: Partial<ExceptionRequest> = {}, by = "ann") =>
    exceptions.request(
      { driftId: "D-1", lifeMs: 20 * DAY_MS, reason: "r", seen: sightOf(state.drift), path: "", anyContent: false, anyImage: false, ...change },
      by,
    );
  return { state, exceptions, request };
}

test("what is over does not count, whether that can be written or not, and neither does what ends after it", async () => {
  const { state, exceptions, request } = await fixture();
  const first = await request();
  state.drift = { ...drift(2), differences: [{ field: "sha256", expected: "a", observed: "c" }] } satisfies DriftRow;
  const second = await request({ lifeMs: 21 * DAY_MS });
  for (const { id } of [first, second]) await exceptions.approve(id, "bob");
  expect(state.granted).toEqual([first.id, second.id]);
  state.writes = false;
  state.nowMs += 20 * DAY_MS;
  await expect(exceptions.tick()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(state.granted).toEqual([second.id]);
  state.nowMs += DAY_MS;
  await expect(exceptions.tick()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(state.granted).toEqual([]);
  state.writes = true;
  await exceptions.tick();
  expect(exceptions.rows.map((row) => row.state)).toEqual(["expired", "expired"]);
});

test("whoever asked by one kind of credential approves it by none of theirs; somebody else by any of theirs", async () => {
  const kinds = (name: string) => [name, `certificate:${name}-laptop`, `corp:${name}@acme.example`, `kubernetes:system:serviceaccount:ops:${name}`];
  const { samePerson } = new Identities({ aliases: { ann: kinds("ann").slice(1), bob: kinds("bob").slice(1) }, roles: [] });
  // Of a certificate the name alone.
  const credentials = (name: string) => kinds(name).map((each) => each.replace(/^certificate:/, ""));
  for (const asked of credentials("ann")) {
    const { exceptions, request } = await fixture(samePerson);
    const { id } = await request({}, asked);
    for (const own of credentials("ann")) await expect(exceptions.approve(id, own), `${asked}, ${own}`).rejects.toMatchObject({ code: "OWN_REQUEST" });
  }
  for (const other of [...credentials("bob"), "corp:ann", "kubernetes:ann"]) {
    const { state, exceptions, request } = await fixture(samePerson);
    const { id } = await request({}, "ann");
    await exceptions.approve(id, other);
    expect(state.granted, other).toEqual([id]);
  }
});

test("it is asked for of what was looked at, and of nothing that came meanwhile", async () => {
  const { state, request } = await fixture();
  const seen = sightOf(state.drift);
  state.drift = { ...state.drift, differences: [{ field: "sha256", expected: "a", observed: "of somebody else's" }] };
  await expect(request({ seen })).rejects.toMatchObject({ code: "CHANGED" });
  expect(await request()).toMatchObject({ state: "requested" });
});

test("whoever asks again and again ends nobody's asking: of what is over the oldest is forgotten, and no name is given twice", async () => {
  const { exceptions, request } = await fixture();
  const standing = await request({ anyImage: true });
  const ids = new Set<string>();
  for (let i = 0; i < 1100; i++) {
    const { id } = await request();
    ids.add(id);
    await exceptions.revoke(id, "r", "ann");
  }
  expect(ids.size).toBe(1100);
  expect(exceptions.rows.length).toBeLessThanOrEqual(1003);
  expect(exceptions.rows[0]).toMatchObject({ id: standing.id, state: "requested" });
  expect(exceptions.rows.at(-1)?.id).toBe([...ids].at(-1));
});

test("policy is asked again when somebody approves", async () => {
  const { state, exceptions, request } = await fixture();
  const { id } = await request();
  state.maxDays = 7;
  await expect(exceptions.approve(id, "bob")).rejects.toMatchObject({ code: "TOO_BROAD" });
  expect(state.granted).toEqual([]);
  state.maxDays = 20;
  await exceptions.approve(id, "bob");
  expect(state.granted).toEqual([id]);
});
