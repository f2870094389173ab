/** What is answered at the cluster's door while an authority that publishes revocation lists does not answer: what is known holds, and nobody waits who need not. */
import { mkdtempSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HttpRevocationAnswers, NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import type { FailurePolicy } from "@hullmark/verifier/core/admission/service";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { admissionService } from "../fakes/admission.ts";
import { attachNotary } from "../fakes/attach.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { never, verifiers } from "../fakes/judging.ts";
import { notaryPayload, signNotary } from "../fakes/notary.ts";
import { OpensslCa } from "../fakes/openssl-ca.ts";
import { policyOf } from "../fakes/policy.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const MINUTE_MS = 60_000;
let registry: FakeRegistry;
let client: OciRegistry;
let folder: string;
let ca: OpensslCa;
let image: PushedImage;

beforeAll(async () => {
  registry = await startFakeRegistry();
  client = new OciRegistry({ maxAttempts: 1 });
  folder = mkdtempSync(join(tmpdir(), "hullmark-door-"));
  ca = await OpensslCa.create(join(folder, "ca"));
  image = await pushImage(`${registry.host}/acme/app`, { tag: "v1", layers: [] });
  await attachNotary(client, image, signNotary(ca.issue("leaf"), notaryPayload(image.manifestDigest, image.manifestBytes.length)));
});
afterAll(async () => {
  client?.close();
  await ca?.close();
  await registry?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => ca.served.set("/ca.crl", ca.list()));

const required = { name: "vendor", require: { signatures: { authorities: ["vendor"] } } };

/** @param spec beside a trust store that asks, and an authority under it */
function door(spec: object, revocation: "enforce" | "log" = "enforce") {
  const trust = { trustStores: [{ name: "acme", certificates: [ca.rootPem], revocation }] };
  const authorities = [{ name: "vendor", notary: { trustStore: "acme", subject: { CN: "release" } } }];
  const policy = policyOf({ admission: { mode: "enforce" }, ...trust, authorities, ...spec });
  const time = { nowMs: Date.now() };
  const revocations = new HttpRevocationAnswers({ nowMs: () => time.nowMs, timeoutMs: 10 * MINUTE_MS });
  const service = admissionService({
    ...{ registry: client, verifiers: { ...verifiers, notary: new NotaryProjectVerifier(revocations) }, revocations, policy: () => policy },
    clock: { nowMs: () => time.nowMs, after: () => () => undefined },
  });
  const object = { spec: { containers: [{ name: "c", image: `${image.repository}@${image.manifestDigest}` }] } };
  const request = { uid: "u", kind: "Pod", namespace: "shop", name: "p", operation: "CREATE", user: { name: "ann", groups: [] }, dryRun: true, object };
  const ask = async (waiting = never, failure: FailurePolicy = "fail") => await service.answer({ ...request, oldObject: undefined }, failure, waiting);
  return { ask, time, revocations };
}

/** The authority answers nobody until it is let. @returns a signal that aborts when it has been asked */
function blackhole(): { readonly budget: AbortSignal; let(list: Buffer): Promise<void>; asked: Promise<unknown> } {
  const budget = new AbortController();
  const asked = Promise.withResolvers<ServerResponse>();
  ca.served.set("/ca.crl", (_, response) => {
    asked.resolve(response);
    budget.abort(new Error("the time is over"));
  });
  return { budget: budget.signal, asked: asked.promise, let: async (list) => void (await asked.promise).end(list) };
}

test.each(["fail", "ignore"] as const)("what is revoked by digest stays out, though its signer's authority does not answer (%s)", async (failure) => {
  // Of its config: by the digest in its reference nothing at all would be asked.
  const revocations = [{ reason: "leaked", digest: image.configDigest }];
  for (const rules of [[], [required]]) {
    const { budget, asked } = blackhole();
    expect(await door({ revocations, rules }).ask(budget, failure)).toMatchObject({ allowed: false, message: expect.stringContaining("leaked") });
    await asked;
  }
});

test("where policy only logs nobody waits at all", async () => {
  const { asked } = blackhole();
  expect(await door({ rules: [required] }, "log").ask(), "or this would not end").toMatchObject({ allowed: true });
  await asked;
});

test("what nobody can tell is told as that, by the list's name, and is told better as soon as the list is there", async () => {
  const { ask, revocations } = door({ rules: [required] });
  const authority = blackhole();
  const { allowed, message } = await ask(authority.budget);
  expect(allowed).toBe(false);
  expect(message).toContain(`${ca.url()}" has not been fetched`);
  expect(message).not.toContain("registry did not answer");
  await authority.let(ca.list());
  await revocations.refresh([ca.url()], never);
  expect(await ask()).toMatchObject({ allowed: true });
});

test("with a list that is good still nobody waits for a newer one, which counts once it is there", async () => {
  const { ask, time, revocations } = door({ rules: [required] });
  expect(await ask()).toMatchObject({ allowed: true });
  const authority = blackhole();
  time.nowMs += 11 * MINUTE_MS;
  expect(await ask(authority.budget), "or this would not end").toMatchObject({ allowed: true, message: "" });
  ca.revoke("leaf");
  await authority.let(ca.list());
  await revocations.refresh([ca.url()], never);
  expect(await ask()).toMatchObject({ allowed: false, message: expect.stringContaining("was revoked on") });
});
