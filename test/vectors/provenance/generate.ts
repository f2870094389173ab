/**
 * Writes the vectors beside it: signatures and attestations by released cosign v2.6.5 and v3.1.3 and by `hullmark sign`, over images in a registry of its own.
 * Run: `node test/vectors/provenance/generate.ts` (needs docker-registry and the Go tools). Keys are thrown away.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { collectArtefacts } from "@hullmark/verifier/core/provenance/index";
import { SIGN_PREDICATE, signStatement } from "hullmark/signing/bundle";
import { generateKeyPair, loadSigningKey } from "hullmark/signing/keys";
import { signImage } from "hullmark/signing/sign-image";
import { startTestbed } from "../../../deploy/testbed/index.ts";
import { type CosignVersion, cosign, cosignKeyPair } from "../../fakes/cosign.ts";
import { pushImage } from "../../fakes/images.ts";
import { manifestSubject, never } from "../../fakes/judging.ts";

const OFFLINE: Record<CosignVersion, string[]> = { v2: ["--tlog-upload=false"], v3: ["--use-signing-config=false", "--tlog-upload=false"] };
const CASES: [name: string, source: string, version: CosignVersion, verb: "sign" | "attest", flags: string[]][] = [
  ["cosign-v2-tag-sign", "cosign v2.6.5 sign", "v2", "sign", []],
  ["cosign-v2-tag-attest", "cosign v2.6.5 attest --type slsaprovenance1", "v2", "attest", []],
  ["cosign-v2-referrer-sign", "cosign v2.6.5 sign --registry-referrers-mode=oci-1-1", "v2", "sign", ["--registry-referrers-mode=oci-1-1"]],
  ["cosign-v2-bundle-sign", "cosign v2.6.5 sign --new-bundle-format", "v2", "sign", ["--new-bundle-format"]],
  ["cosign-v3-sign", "cosign v3.1.3 sign", "v3", "sign", []],
  ["cosign-v3-attest", "cosign v3.1.3 attest --type slsaprovenance1", "v3", "attest", []],
];

const home = mkdtempSync(join(tmpdir(), "hullmark-vectors-"));
const registry = new OciRegistry();
await using bed = await startTestbed({ name: "prov-vectors", parts: { registry: true } });
try {
  const predicate = join(home, "slsa.json");
  writeFileSync(predicate, JSON.stringify({ buildDefinition: { buildType: "https://example.org/b" }, runDetails: { builder: { id: "https://example.org/builder" } } }));
  const key = await cosignKeyPair("v2", home, "key");
  for (const [name, source, version, verb, flags] of CASES) {
    const image = await pushImage(`${bed.registry?.host}/vectors/${name}`);
    const what = verb === "attest" ? ["--type", "slsaprovenance1", "--predicate", predicate] : [];
    await cosign(version, home, [verb, ...OFFLINE[version], "--key", key.privateKey, ...what, ...flags, `${image.repository}@${image.manifestDigest}`]);
    await write(name, source, readFileSync(key.publicKeyPath, "utf8"), image.repository, image.manifestDigest, verb === "sign" ? "signature" : "attestation");
  }
  const pair = generateKeyPair(undefined);
  writeFileSync(join(home, "own.key"), pair.privateKey);
  const image = await pushImage(`${bed.registry?.host}/vectors/hullmark-sign`);
  const own = await loadSigningKey(join(home, "own.key"), {});
  await signImage(registry, `${image.repository}@${image.manifestDigest}`, SIGN_PREDICATE, (statement) => signStatement(statement, own), Date.UTC(2026, 10, 23), never);
  await write("hullmark-sign", "hullmark sign", pair.publicKey, image.repository, image.manifestDigest, "signature");
} finally {
  registry.close();
  rmSync(home, { recursive: true, force: true });
}

async function write(name: string, source: string, publicKeyPem: string, repository: string, subject: string, expected: string): Promise<void> {
  const { artefacts } = await collectArtefacts(registry, [manifestSubject(repository, subject)], never);
  const [artefact] = artefacts;
  if (!artefact || artefacts.length !== 1) throw new Error(`${name}: ${artefacts.length} artefacts`);
  const bytes = artefact.format === "simple-signing" ? artefact.payload : artefact.format === "dsse" ? artefact.envelope : artefact.format === "bundle" ? artefact.bundle : Buffer.alloc(0);
  const signature = artefact.format === "simple-signing" ? artefact.signature : undefined;
  const { format, layout, manifestDigest } = artefact;
  const vector = { source, publicKeyPem, subject, format, layout, manifestDigest, contentBase64: bytes.toString("base64"), signature, expected };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(vector, null, 2)}\n`);
}
