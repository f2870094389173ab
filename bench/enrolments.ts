// What an enrolment costs the verifier, in CPU time of one core, and what a flood of them costs once the limit of their rate holds. The TPM is plain code, and not counted.
//   node bench/enrolments.ts [--json FILE]
import { generateKeyPairSync, hash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { certificateRequest } from "@hullmark/agent/adapters/grpc/certificate-request";
import { CHAIN_START, EMPTY_ROOT, quoteExtraData } from "@hullmark/proto/codec";
import { HmacNonceSource } from "@hullmark/verifier/adapters/nonce/index";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { readMakerTrust } from "@hullmark/verifier/core/endorsement/index";
import { type BeginEnrolment, EnrolmentService } from "@hullmark/verifier/core/enrolment/index";
import { MemoryEnrolmentRecords } from "../test/fakes/enrolment-records.ts";
import { FakeQuoter } from "../test/fakes/quoter.ts";

const { values } = parseArgs({ options: { json: { type: "string" } } });
const signal = new AbortController().signal;
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
const BOOT_ID = "5f0c6a55-3d5b-4d5e-8a4f-6f5a3f0f1d11";
const ENROLMENTS = 300;
const FLOOD = { perSecond: 5000, seconds: 60 };

const directory = mkdtempSync(join(tmpdir(), "hullmark-bench-"));
const clock = { ms: Date.now(), nowMs: (): number => clock.ms };
const authority = await X509Ca.open({ stateDir: directory, region: "r", clock });

const service = (): EnrolmentService =>
  new EnrolmentService({
    ...{ records: new MemoryEnrolmentRecords(), clock, authority, nonces: new HmacNonceSource({ regionKey: randomBytes(32), clock }) },
    ...{ verifierId: "v", region: "r", selection: [{ bank: "sha256" as const, pcrs: PCRS }], trust: readMakerTrust([]) },
    policy: { mode: "tofu", acceptWithoutCertificate: true, acceptJoinTokens: false },
    pendingLimits: { maxPending: 1_000_000, maxPendingPerNode: 1_000_000 },
  });

/** CPU microseconds, of all threads of this process. */
async function cpu<T>(work: () => Promise<T>): Promise<[T, number]> {
  const before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return [result, user + system];
}

async function requestOf(quoter: FakeQuoter, nodeName: string): Promise<BeginEnrolment> {
  const { ekPublic, akPublic } = await quoter.identify(signal);
  return { nodeName, bootId: BOOT_ID, evidence: { kind: "tpm", ekPublic, akPublic, ekCertificate: Buffer.alloc(0), ekIntermediates: [] } };
}

/** Mean CPU microseconds of both steps together. */
async function enrolments(count: number): Promise<number> {
  const enrolment = service();
  let total = 0;
  for (let i = 0; i < count; i++) {
    const quoter = new FakeQuoter();
    const request = await requestOf(quoter, `n-${i}`);
    const [begun, first] = await cpu(() => enrolment.begin(request, `10.0.0.${i % 250}:1`));
    if (!begun.ok) throw new Error(begun.detail);
    const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const spki = keys.publicKey.export({ type: "spki", format: "der" });
    const signingRequest = certificateRequest(`n-${i}`, keys);
    const none = Buffer.alloc(0);
    const extraData = quoteExtraData({
      ...{ verifierId: "v", region: "r", nonce: begun.nonce, spkiSha256: hash("sha256", spki, "buffer"), tlsExporter: none, nodeId: begun.nodeId },
      ...{ bootId: BOOT_ID, seq: 0n, evidenceDigest: CHAIN_START, stateRoot: EMPTY_ROOT, imaCount: 0n, imaAggregate: none },
      ...{ eventLogSha256: none, policyDigest: Buffer.alloc(32) },
    });
    const activatedSecret = await quoter.activate(begun.credentialBlob, begun.encryptedSecret, signal);
    const quote = await quoter.quote(extraData, PCRS, signal);
    const [completed, second] = await cpu(() => enrolment.complete({ session: begun.session, activatedSecret, quote, certificateRequest: signingRequest }));
    if (!completed.ok) throw new Error(completed.detail);
    total += first + second;
  }
  return total / count;
}

/** One address asks as fast as it can for a minute of the verifier's clock: how many begin, and CPU microseconds of each that does not. */
async function flood(): Promise<{ readonly begun: number; readonly refusedUs: number }> {
  const enrolment = service();
  const request = await requestOf(new FakeQuoter(), "flood");
  let [begun, refused, refusedUs] = [0, 0, 0];
  for (let second = 0; second < FLOOD.seconds; second++) {
    let left = FLOOD.perSecond;
    while (left > 0 && (await enrolment.begin(request, "192.0.2.1:1")).ok) [begun, left] = [begun + 1, left - 1];
    const [, spent] = await cpu(async () => {
      for (let i = 1; i < left; i++) if ((await enrolment.begin(request, "192.0.2.1:1")).ok) throw new Error("the limit does not hold");
    });
    [refused, refusedUs] = [refused + left - 1, refusedUs + spent];
    clock.ms += 1000;
  }
  return { begun, refusedUs: refusedUs / refused };
}

try {
  await enrolments(50);
  const eachUs = await enrolments(ENROLMENTS);
  const { begun, refusedUs } = await flood();
  const offered = FLOOD.perSecond * FLOOD.seconds;
  console.log(`enrolment: ${(eachUs / 1000).toFixed(2)} ms of CPU each, ${(1_000_000 / eachUs).toFixed(0)}/s on one core`);
  console.log(
    `flood from one address: ${begun} of ${offered} began in ${FLOOD.seconds} s; a refused one costs ${refusedUs.toFixed(1)} µs (${(eachUs / refusedUs).toFixed(0)} times less)`,
  );
  if (values.json) writeFileSync(values.json, JSON.stringify({ eachUs, begun, offered, refusedUs }));
} finally {
  rmSync(directory, { recursive: true });
}
