/** Signatures of the Notary Project, ours and notation-go's, through a registry, each verified by the other; and trust policy documents, by which both accept the same images. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HttpRevocationAnswers, NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import type { Authority, NotarySignerMatch, TrustStore } from "@hullmark/verifier/core/policy/types";
import { collectArtefacts, consulting, type ProvenanceQuestion, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import { policyCommand } from "hullmark/commands/policy";
import { afterAll, beforeAll, expect, test } from "vitest";
import { attachNotary } from "../fakes/attach.ts";
import { runCommand } from "../fakes/command-run.ts";
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

/** Images of a release, each in its own repository: who signed it, and how. */
const SIGNED = ["release", "other", "another-ca", "stamped", "expired", "unsigned"] as const;
type Signed = (typeof SIGNED)[number];

async function signedImages(): Promise<ReadonlyMap<Signed, string>> {
  const images = new Map<Signed, string>();
  const now = Math.floor(Date.now() / 1000);
  const stranger = await NotaryCa.create();
  const identities = { other: await ca.identity({ name: "CN=release,O=other,ST=WA,C=US" }), "another-ca": await stranger.identity() };
  for (const name of SIGNED) {
    images.set(name, await fresh(`policy-${name}`));
    if (name === "unsigned") continue;
    const identity = name === "other" || name === "another-ca" ? identities[name] : await ca.identity();
    const options = {
      ...(name === "stamped" && { token: (signature: Buffer) => tsa.token(signature) }),
      ...(name === "expired" && { signingTime: now - 3600, expiry: now - 60 }),
    };
    await attachNotary(client, image, signNotary(identity, notaryPayload(image.manifestDigest, image.manifestBytes.length), options));
  }
  return images;
}

test("a trust policy document makes a policy that accepts the images which notation-go accepts by it, and refuses the others", async () => {
  const images = await signedImages();
  const repositories = (...names: readonly Signed[]) => names.map((name) => images.get(name)?.split("@")[0] ?? "");
  const acme = "x509.subject: C=US, ST=WA, O=acme";
  const strict = { registryScopes: ["*"], signatureVerification: { level: "strict" }, trustStores: ["ca:acme"], trustedIdentities: [acme] };
  const config = join(folder, "notation");
  for (const [name, pem] of [
    ["ca/acme", ca.rootPem],
    ["tsa/acme", store.timestampAuthorities[0] ?? ""],
  ] as const) {
    mkdirSync(join(config, "truststore/x509", name), { recursive: true });
    writeFileSync(join(config, "truststore/x509", name, "root.crt"), pem);
  }
  const documents: readonly (readonly [object[], readonly Signed[], stricter?: readonly Signed[]])[] = [
    [[{ ...strict, name: "strict" }], ["release", "stamped"]],
    [[{ ...strict, name: "anybody", trustedIdentities: ["*"] }], ["release", "other", "stamped"]],
    [[{ ...strict, name: "two", trustedIdentities: [acme, "x509.subject: C=US, S=WA, O=other, CN=release"] }], ["release", "other", "stamped"]],
    [[{ ...strict, name: "stamped", trustStores: ["ca:acme", "tsa:acme"] }], ["stamped"]],
    [
      [{ ...strict, name: "late", trustStores: ["ca:acme", "tsa:acme"], signatureVerification: { level: "strict", verifyTimestamp: "afterCertExpiry" } }],
      ["release", "stamped"],
    ],
    [[{ ...strict, name: "permissive", signatureVerification: { level: "permissive" } }], ["release", "stamped", "expired"], ["expired"]],
    [
      [
        { ...strict, name: "some", registryScopes: repositories("release", "other") },
        { name: "none", registryScopes: repositories("unsigned"), signatureVerification: { level: "skip" } },
      ],
      ["release", "unsigned"],
    ],
    [
      [
        { ...strict, name: "all" },
        { ...strict, name: "others", registryScopes: repositories("other", "stamped"), trustedIdentities: ["x509.subject: C=US, ST=WA, O=other"] },
      ],
      ["release", "other"],
    ],
  ];
  for (const [trustPolicies, accepted, stricter = []] of documents) {
    writeFileSync(join(config, "trustpolicy.json"), JSON.stringify({ version: "1.0", trustPolicies }));
    const file = join(folder, "policy.yaml");
    rmSync(file, { force: true });
    const run = (...args: string[]) => runCommand((io) => policyCommand({ ...io, exit: (code) => io.exit(code as 0) }, io), args, { HOME: folder }, Date.now);
    const made = await run("init", file, "--notation", config);
    expect(made).toMatchObject({ code: 0 });
    expect(made.err.includes("expiry is only logged")).toBe(stricter.length > 0);
    for (const [name, reference] of images) {
      const theirs = await notary("verify", "-ref", reference, "-config", config).then(
        () => true,
        () => false,
      );
      const ours = await run("explain", file, reference);
      expect([JSON.stringify(trustPolicies), name, theirs]).toEqual([JSON.stringify(trustPolicies), name, accepted.includes(name)]);
      expect([JSON.stringify(trustPolicies), name, ours.code, ours.out]).toEqual([
        ...[JSON.stringify(trustPolicies), name],
        ...[accepted.includes(name) && !stricter.includes(name) ? 0 : 1, ours.out],
      ]);
    }
  }
});
