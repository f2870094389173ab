/** `hullmark policy init --notation`: the specification's own documents read, what has no counterpart named, what is invalid refused. That notation-go says the same of images: test/integration/provenance-notation.test.ts. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadPolicyFile } from "@hullmark/verifier/adapters/policy-file/index";
import { formatProblem } from "@hullmark/verifier/core/policy/parse";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import { policyCommand } from "hullmark/commands/policy";
import { parseDocument } from "hullmark/notation/document";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { NotaryCa } from "../fakes/notary.ts";
import { runCommand } from "../fakes/run-command.ts";
import { FakeTsa } from "../fakes/sigstore/tsa.ts";

const scratch = mkdtempSync(join(tmpdir(), "hullmark-notation-"));
/** Under which engines pull it too. */
const OTHER_NAMES = ["index.docker.io/library/debian", "docker.io/debian", "index.docker.io/debian"];
const CA = ["acme-rockets", "acme-rockets-ca2", "wabbit-networks"];
let ca: NotaryCa;
let second: NotaryCa;
let tsa: FakeTsa;
let serial = 0;

beforeAll(async () => {
  ca = await NotaryCa.create();
  second = await NotaryCa.create();
  tsa = await FakeTsa.create();
});
afterAll(() => {
  tsa?.close();
  rmSync(scratch, { recursive: true, force: true });
});

/** Notation's folder with that document, and the stores that the specification's examples name. */
function configured(document: object | string, name = "trustpolicy.json"): string {
  const folder = join(scratch, `notation-${serial++}`);
  for (const store of CA) put(folder, `truststore/x509/ca/${store}/cert.pem`, ca.rootPem);
  put(folder, "truststore/x509/signingAuthority/acme-network-sa/cert.cer", second.root);
  put(folder, "truststore/x509/tsa/acme-tsa/root.crt", tsa.chain[1] ?? Buffer.alloc(0));
  put(folder, name, typeof document === "string" ? document : JSON.stringify(document));
  return folder;
}
function put(folder: string, path: string, content: string | Buffer): void {
  mkdirSync(join(folder, path, ".."), { recursive: true });
  writeFileSync(join(folder, path), content);
}

async function converted(folder: string): Promise<{ readonly policy: Policy; readonly notes: string; readonly text: string }> {
  const file = join(scratch, `policy-${serial++}.yaml`);
  const run = await runCommand(policyCommand, "init", file, "--notation", folder);
  expect(run).toMatchObject({ code: 0 });
  const { parsed, text } = { ...loadPolicyFile(file), text: (await runCommand(policyCommand, "init", "--notation", folder)).out };
  if (!parsed.ok) throw new Error(parsed.errors.map(formatProblem).join("\n"));
  return { policy: parsed.policy, notes: run.err, text };
}

const statement = (overrides: object = {}) => ({
  name: "one",
  registryScopes: ["*"],
  signatureVerification: { level: "strict" },
  trustStores: ["ca:acme-rockets"],
  trustedIdentities: ["x509.subject: C=US, ST=WA, O=acme"],
  ...overrides,
});
const documentOf = (...statements: object[]) => ({ version: "1.0", trustPolicies: statements });
const builder = "x509.subject: C=US, ST=WA, L=Seattle, O=acme-rockets.io, OU=Finance, CN=SecureBuilder";

/** specifications/trust-store-trust-policy.md, "Trust Policy Schema", the second example, without its comments. */
const SPECIFIED = documentOf(
  {
    name: "wabbit-networks-images",
    registryScopes: ["registry.acme-rockets.io/software/net-monitor", "registry.acme-rockets.io/software/net-logger"],
    signatureVerification: { level: "strict" },
    trustStores: ["ca:wabbit-networks"],
    trustedIdentities: ["x509.subject: C=US, ST=WA, L=Seattle, O=wabbit-networks.io, OU=Security Tools"],
  },
  { name: "unsigned-image", registryScopes: ["registry.wabbit-networks.io/software/unsigned/net-utils"], signatureVerification: { level: "skip" } },
  {
    name: "use-expired-image",
    registryScopes: ["registry.acme-rockets.io/software/legacy/metrics"],
    signatureVerification: { level: "strict", override: { expiry: "log", revocation: "skip" } },
    trustStores: ["ca:acme-rockets"],
    trustedIdentities: ["*"],
  },
  {
    name: "global-policy-for-all-other-images",
    registryScopes: ["*"],
    signatureVerification: { level: "audit" },
    trustStores: ["ca:acme-rockets", "ca:acme-rockets-ca2"],
    trustedIdentities: [builder],
  },
);

test("the specification's example becomes rules that ask for the same, and what is not the same is named in the file and on standard error", async () => {
  const { policy, notes, text } = await converted(configured(SPECIFIED));
  expect(policy.trustStores).toMatchObject([
    { name: "wabbit-networks-images-ca", scheme: "ca", revocation: "enforce", requireTimestamp: false, timestampAuthorities: [] },
    { name: "use-expired-image-ca", revocation: "skip" },
    { name: "global-policy-for-all-other-images-ca", revocation: "log" },
  ]);
  expect(policy.trustStores[0]?.certificates).toEqual([ca.rootPem.trim()]);
  expect(policy.authorities.map(({ signers }) => signers[0])).toMatchObject([
    { trustStore: "wabbit-networks-images-ca", subject: { C: "US", ST: "WA", L: "Seattle", O: "wabbit-networks.io", OU: "Security Tools" } },
    { trustStore: "use-expired-image-ca", subject: "any" },
    { subject: { C: "US", ST: "WA", L: "Seattle", O: "acme-rockets.io", OU: "Finance", CN: "SecureBuilder" } },
  ]);
  const [monitor, logger] = ["registry.acme-rockets.io/software/net-monitor", "registry.acme-rockets.io/software/net-logger"];
  expect(policy.rules).toMatchObject([
    {
      name: "wabbit-networks-images",
      select: { images: [monitor, `${monitor}:*`, `${monitor}@*`, logger, `${logger}:*`, `${logger}@*`] },
      signatures: { authorities: ["wabbit-networks-images-ca-1"], threshold: 1 },
      admission: undefined,
    },
    { name: "unsigned-image", signatures: undefined, admission: undefined },
    { name: "use-expired-image", signatures: { authorities: ["use-expired-image-ca-any"] }, admission: undefined },
    { name: "global-policy-for-all-other-images", select: { images: [] }, admission: "audit" },
  ]);
  expect(policy.admission.mode).toBe("enforce");
  const said = notes.trim().split("\n");
  expect(said).toEqual([
    expect.stringMatching(/"use-expired-image": stricter: expiry is only logged/),
    expect.stringMatching(/"global-policy-for-all-other-images": weaker: .*without a signature/),
  ]);
  expect(text).not.toMatch(/[&*]a1\b/);
  for (const note of said) expect(text).toContain(`# ${note.replace("hullmark policy init: ", "")}`);
});

test("what names a repository decides before what is for all, and what nothing is for is refused", async () => {
  const first = await converted(configured(documentOf(statement({ name: "All" }), statement({ name: "all", registryScopes: ["docker.io/library/debian"] }))));
  expect(first.policy.rules.map(({ name, select }) => [name, select.images])).toEqual([
    ["all-2", ["docker.io/library/debian", "library/debian", "debian", ...OTHER_NAMES].flatMap((name) => [name, `${name}:*`, `${name}@*`])],
    ["all", []],
  ]);
  const { policy, notes } = await converted(configured(documentOf(statement({ name: "No-Statement", registryScopes: ["registry.example/app"] }))));
  expect(policy.rules).toMatchObject([{ name: "no-statement" }, { name: "no-statement-2", select: { images: [] }, registries: ["no-statement.invalid/*"] }]);
  expect(notes).toBe("");
  const skipped = { name: "s", registryScopes: ["registry.example/app"], signatureVerification: { level: "skip" } };
  expect((await converted(configured(documentOf(skipped)))).notes).toMatch(/weaker: images of no statement/);
});

test("timestamp authorities, signing authorities, DER, several stores", async () => {
  const stores = ["ca:acme-rockets,tsa:acme-tsa", "signingAuthority:acme-network-sa", "ca:wabbit-networks"];
  const { policy, notes } = await converted(configured(documentOf(statement({ trustStores: stores })), "trustpolicy.oci.json"));
  expect(policy.trustStores).toMatchObject([
    { name: "one-ca", scheme: "ca", certificates: [ca.rootPem.trim()], timestampAuthorities: [expect.stringContaining("BEGIN CERT")], requireTimestamp: true },
    { name: "one-authority", scheme: "signingAuthority", timestampAuthorities: [], requireTimestamp: false },
  ]);
  expect(policy.rules[0]?.signatures?.authorities).toEqual(["one-ca-1", "one-authority-1"]);
  expect(notes).toBe("");
  for (const [verification, required, note] of [
    [{ level: "strict", verifyTimestamp: "afterCertExpiry" }, false, /stricter: a timestamp that does not hold/],
    [{ level: "strict", override: { authenticTimestamp: "log" } }, false, /stricter: authenticTimestamp is only logged/],
    [{ level: "strict", override: { revocation: "log" } }, true, /weaker: whether a timestamp authority's certificate/],
    [{ level: "permissive" }, false, /stricter: authenticTimestamp, expiry is only logged/],
  ] as const) {
    const each = await converted(configured(documentOf(statement({ trustStores: stores, signatureVerification: verification }))));
    expect(each.policy.trustStores[0]?.requireTimestamp).toBe(required);
    expect(each.notes).toMatch(note);
  }
});

test("a check that is enforced while authenticity is only logged makes the rule refuse: stricter, never weaker", async () => {
  const { policy, notes } = await converted(configured(documentOf(statement({ signatureVerification: { level: "audit", override: { expiry: "enforce" } } }))));
  expect(policy.rules[0]?.admission).toBeUndefined();
  expect(notes).toMatch(/stricter: authenticity, authenticTimestamp is only logged/);
});

test("the document that notation reads is read, and the other named", async () => {
  const folder = configured(documentOf(statement({ name: "newer" })), "trustpolicy.oci.json");
  put(folder, "trustpolicy.json", "not even JSON");
  const { policy, notes } = await converted(folder);
  expect(policy.rules[0]?.name).toBe("newer");
  expect(notes).toContain("trustpolicy.json is not read");
});

describe("refuses", () => {
  const repository = { registryScopes: ["registry.example/app"] };
  const override = (what: object, level = "strict") => ({ signatureVerification: { level, override: what } });
  it.each<[string, object | string, RegExp]>([
    ["what is no JSON", "// comments\n{}", /is not JSON/],
    ["another version", { ...documentOf(statement()), version: "2.0" }, /version/],
    ["an unknown key", documentOf(statement({ trustedidentities: [] })), /trustedidentities/],
    ["no statement", documentOf(), /trustPolicies/],
    ["a name twice", documentOf(statement(), statement(repository)), /name "one" stands twice/],
    ["a scope twice", documentOf(statement(), statement({ name: "two" })), /scope "\*" stands twice/],
    ["* beside a repository", documentOf(statement({ registryScopes: ["*", "registry.example/app"] })), /stands alone/],
    ["a wildcard in a scope", documentOf(statement({ registryScopes: ["registry.example/*"] })), /no repository written out/],
    ["a scope with a tag", documentOf(statement({ registryScopes: ["registry.example/app:1"] })), /no repository written out/],
    ["an unknown level", documentOf(statement({ signatureVerification: { level: "none" } })), /level/],
    ["skip for everything", documentOf({ name: "s", registryScopes: ["*"], signatureVerification: { level: "skip" } }), /wants repositories/],
    ["skip with a trust store", documentOf(statement({ ...repository, signatureVerification: { level: "skip" } })), /skip has neither/],
    ["integrity that is not enforced", documentOf(statement(override({ integrity: "log" }))), /integrity/],
    ["a check that cannot be skipped", documentOf(statement(override({ expiry: "skip" }))), /expiry/],
    ["no trust store", documentOf(statement({ trustStores: [] })), /wants trust stores/],
    ["timestamp authorities alone", documentOf(statement({ trustStores: ["tsa:acme-tsa"] })), /no trust store of signers/],
    ["a trust store that is a path", documentOf(statement({ trustStores: ["ca:.."] })), /is no trust store/],
    ["a trust store of another kind", documentOf(statement({ trustStores: ["tuf:acme"] })), /is no trust store/],
    ["a trust store that is not there", documentOf(statement({ trustStores: ["ca:nobody"] })), /it is not there/],
    ["* beside an identity", documentOf(statement({ trustedIdentities: ["*", builder] })), /stands alone/],
    ["an identity of a plugin", documentOf(statement({ trustedIdentities: ["aws.arn: x"] })), /no counterpart/],
    ["identities that overlap", documentOf(statement({ trustedIdentities: [builder, "x509.subject: C=US, ST=WA, O=acme-rockets.io"] })), /overlap/],
  ])("%s", async (_, document, said) => {
    expect(await runCommand(policyCommand, "init", "--notation", configured(document))).toMatchObject({
      out: "",
      code: expect.any(Number),
      err: expect.stringMatching(said),
    });
    expect((await runCommand(policyCommand, "init", "--notation", configured(document))).code).not.toBe(0);
  });

  it("links, files that are no certificates, certificates that are no authority's", async () => {
    const refused = async (folder: string, said: RegExp) =>
      expect(await runCommand(policyCommand, "init", "--notation", folder)).toMatchObject({ out: "", err: expect.stringMatching(said) });
    const linked = configured(documentOf(statement()));
    symlinkSync("/etc/hostname", join(linked, "truststore/x509/ca/acme-rockets/link.pem"));
    await refused(linked, /no plain file/);
    const strange = configured(documentOf(statement()));
    put(strange, "truststore/x509/ca/acme-rockets/README", "certificates");
    await refused(strange, /no certificate in PEM or DER/);
    const leaf = configured(documentOf(statement()));
    put(leaf, "truststore/x509/ca/acme-rockets/leaf.crt", (await ca.identity()).chain[0] ?? Buffer.alloc(0));
    await refused(leaf, /no authority's/);
    await refused(join(scratch, "nowhere"), /holds no trust policy/);
    for (const more of [
      ["--profile", "pilot"],
      ["--from-image", "registry.example/app"],
      ["--authority-key", "a.pub"],
    ])
      expect(await runCommand(policyCommand, "init", "--notation", leaf, ...more)).toMatchObject({ code: 2, out: "" });
  });
});

describe("distinguished names", () => {
  const read = (identity: string) => parseDocument(JSON.stringify(documentOf(statement({ trustedIdentities: [identity] }))), "d")[0]?.verification?.identities;
  it.each<[string, object]>([
    ["x509.subject: C=US, ST=WA, O=wabbit-network.io, OU=org1", { C: "US", ST: "WA", O: "wabbit-network.io", OU: "org1" }],
    ["x509.subject:C=US,S=WA,O=acme", { C: "US", ST: "WA", O: "acme" }],
    ["x509.subject: C=US, ST=WA, O=Acme\\, Inc., CN=a\\;b\\\\c", { C: "US", ST: "WA", O: "Acme, Inc.", CN: "a;b\\c" }],
    ["x509.subject: C=DE, ST=BY, O=\\ M\\C3\\BCller=Co\\ ", { C: "DE", ST: "BY", O: " Müller=Co " }],
  ])("%s", (identity, names) => {
    expect(read(identity)).toEqual([names]);
  });
  it.each([
    ["x509.subject: C=US, ST=WA", /lacks O/],
    ["x509.subject: C=US, ST=WA, O=a, O=b", /O twice/],
    ["x509.subject: C=US, ST=WA, S=WB, O=a", /ST twice/],
    ["x509.subject: C=US, ST=WA, O=a+OU=b", /no value for O/],
    ["x509.subject: C=US, ST=WA, O=#0c0161", /no value for O/],
    ["x509.subject: C=US, ST=WA, O=a;OU=b", /no value for O/],
    ["x509.subject: C=US, ST=WA, O=a\\FF", /no value for O/],
    ["x509.subject: C=US, ST=WA, O=a\\", /no value for O/],
    ["x509.subject: C=US, ST=WA, O=a,", /no distinguished name/],
    ["x509.subject: C=US,, ST=WA, O=a", /no distinguished name/],
    ["x509.subject: C=US, ST=WA, O=", /no value for O/],
    ["x509.subject: C=US, ST=WA, O=a, SERIALNUMBER=1", /SERIALNUMBER, of which nothing/],
    ["x509.subject: c=US, ST=WA, O=a", /asks for c/],
    ["x509.subject:", /no distinguished name/],
  ])("refuses %s", (identity, said) => {
    expect(() => read(identity)).toThrow(said);
  });
});
