/** Signatures of the Notary Project, ours and notation-go's, through a registry, each verified by the other. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HttpRevocationAnswers, NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import type { Authority, NotarySignerMatch, TrustStore } from "@hullmark/verifier/core/policy/types";
import { collectArtefacts, consulting, type ProvenanceQuestion, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { attachNotary } from "../fakes/attach.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { judge as judgeInRegistry, manifestSubject, never, question, verifiers } from "../fakes/judging.ts";
import { identityFiles, NotaryCa, notary, notaryPayload, notationConfig, serveTsa, signNotary, trustStoreOf } from "../fakes/notary.ts";
import { OpensslCa } from "../fakes/openssl-ca.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { FakeTsa } from "../fakes/sigstore/tsa.ts";

const DAY_MS = 86_400_000;
let ca: NotaryCa;
let tsa: FakeTsa;
let store: TrustStore;
let folder: string;
let registry: FakeRegistry;
let client: OciRegistry;
let image: PushedImage;
beforeAll(async () => {
  ca = await NotaryCa.create();
  tsa = await FakeTsa.create();
  store = trustStoreOf(ca, tsa);
  folder = mkdtempSync(join(tmpdir(), "hullmark-notary-"));
  registry = await startFakeRegistry({ referrersApi: false });
  client = new OciRegistry();
});
afterAll(async () => {
  client?.close();
  await registry?.close();
  tsa?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});
const signer = (overrides: Partial<NotarySignerMatch> = {}): NotarySignerMatch => ({
  ...{ kind: "notary", trustStore: "acme", subject: { C: "US", O: "acme", CN: "release" }, notBeforeMs: undefined, notAfterMs: undefined },
  ...overrides,
});
const release = (overrides: Partial<NotarySignerMatch> = {}): Authority => ({ name: "release", signers: [signer(overrides)] });
const fresh = async (name: string) => {
  image = await pushImage(`${registry.host}/notary/${name}`, { layers: [{ name }] });
  return `${image.repository}@${image.manifestDigest}`;
};
const judged = (overrides: Partial<ProvenanceQuestion> = {}) =>
  judgeInRegistry(client, [manifestSubject(image.repository, image.manifestDigest)], {
    authorities: [release()],
    trustStores: [store],
    atMs: Date.now(),
    ...overrides,
  });

test.each([
  ["jws", "P-256"],
  ["cose", "P-384"],
  ["jws", "RSA-2048"],
  ["cose", "RSA-3072"],
] as const)("signs with %s and %s, and we accept it for whom it is", async (format, kind) => {
  const reference = await fresh(`theirs-${format}-${kind.toLowerCase()}`);
  const { key, chain } = identityFiles(folder, await ca.identity({ kind }));
  await notary("sign", "-ref", reference, "-key", key, "-chain", chain, "-format", format, "-expiry", "24h");
  const verdict = await judged();
  expect(verdict.artefacts.map(({ text }) => text)).toEqual([`signature of ${image.manifestDigest} by release`]);
  expect(verdict).toMatchObject({ status: "signed", satisfied: true });
  expect(await judged({ atMs: Date.now() + 2 * DAY_MS })).toMatchObject({ status: "wrong-key", satisfied: false });
  expect(await judged({ authorities: [release({ subject: { O: "other" } })] })).toMatchObject({ status: "wrong-key" });
});

test.each(["jws", "cose"] as const)("signs with %s and a timestamp, and we know when", async (format) => {
  const reference = await fresh(`stamped-${format}`);
  const { key, chain } = identityFiles(folder, await ca.identity());
  const service = await serveTsa(tsa);
  writeFileSync(join(folder, "tsa.pem"), store.timestampAuthorities[0] ?? "");
  await notary("sign", "-ref", reference, "-key", key, "-chain", chain, "-format", format, "-tsa", service.url, "-tsaroot", join(folder, "tsa.pem"));
  await service.close();
  const verdict = await judged();
  expect(verdict).toMatchObject({ status: "signed" });
  expect(Math.abs((verdict.artefacts[0]?.vouchers[0]?.signedAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
});

test.each([
  ["jws", "P-256"],
  ["cose", "RSA-2048"],
] as const)("verifies what we wrote in %s with %s, so that both read the specification alike", async (format, kind) => {
  const reference = await fresh(`ours-${format}`);
  const payload = notaryPayload(image.manifestDigest, image.manifestBytes.length);
  await attachNotary(client, image, signNotary(await ca.identity({ kind }), payload, { format, expiry: Math.floor(Date.now() / 1000) + 3600 }));
  notationConfig(folder, ca.rootPem, "x509.subject: C=US, ST=WA, O=acme");
  expect(await notary("verify", "-ref", reference, "-config", folder)).toContain(image.manifestDigest);
  expect((await judged()).status).toBe("signed");
  notationConfig(folder, ca.rootPem, "x509.subject: C=US, ST=WA, O=other");
  await expect(notary("verify", "-ref", reference, "-config", folder)).rejects.toThrow();
  expect((await judged({ authorities: [release({ subject: { C: "US", ST: "WA", O: "other" } })] })).status).toBe("wrong-key");
});

test("says the same of a certificate that its authority took back, and of one of which nobody can tell", async () => {
  const authority = await OpensslCa.create(join(folder, "authority"));
  const identity = authority.issue("leaf");
  authority.served.set("/ca.crl", authority.list());
  const reference = await fresh("taken-back");
  await attachNotary(client, image, signNotary(identity, notaryPayload(image.manifestDigest, image.manifestBytes.length)));
  notationConfig(folder, authority.rootPem, "x509.subject: C=US, ST=WA, O=acme", "enforce");
  const theirs = () => notary("verify", "-ref", reference, "-config", folder);
  const ours = async () => {
    const answers = new HttpRevocationAnswers({ nowMs: Date.now });
    const { artefacts } = await collectArtefacts(client, [manifestSubject(image.repository, image.manifestDigest)], never);
    const asked = question({
      ...{ subjects: [image.manifestDigest], artefacts, authorities: [release()], atMs: Date.now() },
      trustStores: [{ ...store, certificates: [authority.rootPem] }],
    });
    const by = { ...verifiers, notary: new NotaryProjectVerifier(answers) };
    return (await consulting(() => verifyProvenance(asked, by), answers, never)).status;
  };
  expect(await theirs()).toContain(image.manifestDigest);
  expect(await ours()).toBe("signed");
  authority.served.delete("/ca.crl");
  await expect(theirs()).rejects.toThrow(/revocation/i);
  expect(await ours()).toBe("unknown");
  authority.revoke("leaf", "-crl_reason", "keyCompromise");
  authority.served.set("/ca.crl", authority.list());
  await expect(theirs()).rejects.toThrow(/revoked/i);
  expect(await ours()).toBe("revoked");
  await authority.close();
});
