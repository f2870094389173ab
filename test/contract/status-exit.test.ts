/** How `hullmark status` ends: what scripts and people's eyes go by where nothing has drifted. */
import { create } from "@bufbuild/protobuf";
import { GetStatusResponseSchema } from "@hullmark/proto/v1/query";
import { exitOf } from "hullmark/commands/status";
import { expect, test } from "vitest";

const CLEAN = { nodesTotal: 2, nodesAttested: 2, containersClean: 3 };
const of = (more: object, ...claims: string[]): number =>
  exitOf(create(GetStatusResponseSchema, { ...CLEAN, ...more, claims: claims.map((code) => ({ code })) }));

test("what waits for people ends it with 1, also where no container has drifted: of a node, or of one that nobody can measure", () => {
  expect(of({})).toBe(0);
  for (const code of ["breaker", "given-up", "log-contradicted"]) {
    expect(of({}, code), code).toBe(1);
    expect(of({ nodesAttested: 1, containersUnknown: 1 }, code), code).toBe(1);
  }
});

test("what is merely told ends it with nothing else", () => {
  for (const code of ["same-image", "higher-risk", "no-actuator", "budget", "actions-paused"]) expect(of({}, code), code).toBe(0);
  expect(of({ nodesAttested: 1 }, "same-image")).toBe(3);
  expect(of({ containersDrifted: 1 })).toBe(1);
});
