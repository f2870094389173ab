/** A TPM as some makers deliver it: certified in the high range alone, with its issuing CAs in NV. The verifier is configured with the maker's root and nothing else. */
import { hash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { EK_KINDS, type EkKind, Tpm } from "@hullmark/native";
import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { readEndorsementKey } from "@hullmark/verifier/core/endorsement/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newMaker } from "../fakes/maker.ts";
import { writeNv } from "../fakes/nv.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const [RSA_HIGH, P256_HIGH, CHAIN] = [0x01c00012, 0x01c00014, 0x01c00100];
/** Where each key's certificate lies (TCG EK Credential Profile 2.5, section 2.2.1.4). */
const CERTIFICATE: Record<EkKind, number> = { rsa2048: 0x01c00002, p256: 0x01c0000a, "rsa2048-high": RSA_HIGH, "p256-high": P256_HIGH, p384: 0x01c00016 };
const directory = mkdtempSync(join(tmpdir(), "hullmark-ek-"));
const verifier = new TestVerifier();
let tpm: Swtpm;

beforeAll(async () => {
  tpm = await Swtpm.start({ withoutEkCertificate: true });
});
afterAll(async () => {
  await verifier.dispose();
  await tpm?.stop();
  rmSync(directory, { recursive: true });
});

async function enrolled(name: string, ek: EkKind | "auto" = "auto"): Promise<TrustLevel | undefined> {
  const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir: mkdtempSync(join(directory, "agent-")), ek });
  try {
    await verifier.attester({ name, quoter }).enrol();
    return (await verifier.query.getNode({ id: "w-1" })).node?.trustLevel;
  } finally {
    await quoter.close();
  }
}

async function spkiOf(kind: EkKind, { tcti } = tpm): Promise<Buffer> {
  const chip = new Tpm();
  await chip.open(tcti);
  try {
    const ek = readEndorsementKey((await chip.endorsement(kind)).publicArea);
    if (!ek.ok) throw new Error(ek.detail);
    return ek.key.spki;
  } finally {
    await chip.close();
  }
}

test("it enrols by that certificate, which is on the allow-list, and not without the issuers that it holds", async () => {
  const maker = await newMaker(6);
  const [listed, unlisted] = [await maker.certify(await spkiOf("rsa2048-high")), await maker.certify(await spkiOf("p256-high"))];
  const root = join(directory, "root.der");
  writeFileSync(root, maker.root);
  await verifier.start(`enrolment: { mode: allowlist, makerRootFiles: [${root}], allow: [{ certificateSha256: ${hash("sha256", listed)}, name: w-1 }] }`);

  await expect(enrolled("w-1")).rejects.toMatchObject({ detail: { refusal: "certificate-missing" } });
  await writeNv(tpm.socket, RSA_HIGH, listed);
  await expect(enrolled("w-1")).rejects.toMatchObject({ detail: { refusal: "certificate-unknown-maker" } });
  // Six issuers and the leaf do not fit into one index of this TPM.
  const chain = Buffer.concat(maker.issuers);
  for (let at = 0; at < chain.length; at += 1024) await writeNv(tpm.socket, CHAIN + at / 1024, chain.subarray(at, at + 1024));
  expect(await enrolled("claimed")).toBe(TrustLevel.TPM);
  // Another key of the same TPM, by the same maker.
  await writeNv(tpm.socket, P256_HIGH, unlisted);
  await expect(enrolled("w-2", "p256-high")).rejects.toMatchObject({ detail: { refusal: "not-listed" } });
});

test.each(EK_KINDS)("%s: with the certificate of that key alone a node enrols, and quotes of an AK below it hold", async (kind) => {
  const chip = await Swtpm.start({ withoutEkCertificate: true });
  const own = new TestVerifier();
  const quoter = new Tpm2Quoter({ tcti: chip.tcti, stateDir: mkdtempSync(join(directory, "agent-")) });
  try {
    const maker = await newMaker(0);
    const root = join(directory, `${kind}.der`);
    writeFileSync(root, maker.root);
    const certificate = await maker.certify(await spkiOf(kind, chip));
    await writeNv(chip.socket, CERTIFICATE[kind], certificate);
    await own.start(`enrolment: { mode: allowlist, makerRootFiles: [${root}], allow: [{ certificateSha256: ${hash("sha256", certificate)} }] }`);
    const node = own.attester({ name: "w-1", quoter });
    await node.connect();
    await node.report();
    await own.adminClient.requestQuote({ nodeId: "w-1" });
    const shown = async () => (await own.query.getNode({ id: "w-1" })).node;
    await expect.poll(async () => (await shown())?.lastQuote, { timeout: 30_000 }).toBeDefined();
    expect(await shown()).toMatchObject({ trustLevel: TrustLevel.TPM, verdict: Verdict.AFFIRMING });
  } finally {
    await own.dispose();
    await quoter.close();
    await chip.stop();
  }
});
