/** Quotes that no honest node sends, and who asks for them: the identity tests assert every one, the demo shows the best known. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import type { Quoter } from "@hullmark/agent/ports/quoter";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import type { Challenge } from "@hullmark/proto/v1/attestation";
import { type AttestationKey, readAttestationKey, readEndorsementKey, verifyQuote } from "@hullmark/verifier/core/endorsement/index";
import { parse } from "yaml";
import type { Stack } from "../../deploy/stack/stack.ts";
import type { Attester } from "../fakes/attester.ts";
import { Scrape } from "../fakes/scrape.ts";

export type Quote = Awaited<ReturnType<Attester["quote"]>>;

/** Where a scripted node finds the stack's verifier. */
export interface VerifierAddress {
  readonly mainAddress: string;
  readonly enrolmentAddress: string;
  readonly ca: Buffer;
}

/** As the stack's first agent is told. */
export function verifierAddress(stack: Stack): VerifierAddress {
  const { verifier } = parse(readFileSync(stack.agents[0]?.configPath ?? "", "utf8")) as { verifier: Record<string, string> };
  return {
    mainAddress: verifier["address"] ?? "",
    enrolmentAddress: verifier["enrolmentAddress"] ?? "",
    ca: readFileSync(verifier["caFile"] ?? ""),
  };
}

/** With the certificate of the stack's admin. */
export async function asAdmin<T>(stack: Stack, work: (channel: RpcChannel) => Promise<T>): Promise<T> {
  const [key, certificate] = ["client.key", "client.crt"].map((name) => readFileSync(join(stack.directory, "verifier/admin", name)));
  const { mainAddress, ca } = verifierAddress(stack);
  const channel = new RpcChannel(mainAddress, credentials.createSsl(ca, key, certificate));
  try {
    return await work(channel);
  } finally {
    channel.close();
  }
}

/** Asks the node for a quote now; what it was asked before is forgotten. */
export async function challenged(attester: Attester, channel: RpcChannel): Promise<Challenge> {
  attester.received.length = 0;
  await channel.client(Admin).requestQuote({ nodeId: attester.credential?.nodeId ?? "" });
  return await attester.next("challenge");
}

/** A copy with one bit changed. @param bit from the first byte's lowest on */
export function flipped(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

/** Quotes that the verifier refused since it started, by its code. */
export async function refusals({ httpUrl }: Stack): Promise<ReadonlyMap<string, number>> {
  const scrape = await Scrape.from(httpUrl);
  const series = scrape.text.matchAll(/^hullmark_quotes_total\{(.*)\} (\S+)$/gm);
  return new Map(
    [...series]
      .filter(([, labels = ""]) => labels.includes('result="refused"'))
      .map(([, labels = "", count]) => [/reason="([^"]*)"/.exec(labels)?.[1] ?? "", Number(count)]),
  );
}

export const total = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((sum, count) => sum + count, 0);

interface Lie {
  readonly name: string;
  /** The verifier's code, of which the reason that is told begins. */
  readonly code: RegExp;
  /** @param old a quote that was good @param other TPM of another node */
  make(attester: Attester, challenge: Challenge, old: Quote, other: Quoter): Promise<Quote>;
}

/** Another node's quote and an old one. */
export const KNOWN_LIES: readonly Lie[] = [
  { name: "made by another node's TPM", code: /^wrong-signer/, make: (attester, challenge, _old, other) => attester.quote(challenge, other) },
  { name: "an old one, word for word", code: /^nonce/, make: async (_attester, _challenge, old) => old },
  { name: "an old one under the new nonce", code: /^wrong-binding/, make: async (_attester, { nonce }, old) => ({ ...old, nonce }) },
];

export const LIES: readonly Lie[] = [
  ...KNOWN_LIES,
  { name: "for a nonce that nobody asked", code: /^nonce/, make: (attester) => attester.quote({ nonce: Buffer.alloc(32, 7) }) },
  { name: "for another node", code: /^wrong-binding/, make: (attester, challenge) => attester.quote(challenge, undefined, "0123456789abcdef") },
  {
    name: "over another state",
    code: /^state-root/,
    make: async (attester, challenge) => ({ ...(await attester.quote(challenge)), stateRoot: Buffer.alloc(32) }),
  },
  {
    name: "over other Evidence",
    code: /^evidence-digest/,
    make: async (attester, challenge) => ({ ...(await attester.quote(challenge)), evidenceDigest: Buffer.alloc(32) }),
  },
  {
    name: "with another PCR value",
    code: /^wrong-pcr/,
    async make(attester, challenge) {
      const quote = await attester.quote(challenge);
      return { ...quote, pcrs: quote.pcrs.map((pcr, i) => (i === 3 ? { ...pcr, value: Buffer.alloc(32, 1) } : pcr)) };
    },
  },
  {
    name: "without one of the PCRs",
    code: /^wrong-pcr-selection/,
    async make(attester, challenge) {
      const quote = await attester.quote(challenge);
      return { ...quote, pcrs: quote.pcrs.slice(1) };
    },
  },
];

/**
 * Flips each bit of attestation and signature of a fresh quote, one at a time, and lets the verifier's own code judge it.
 * @returns refusals by code @throws Error where one is not refused, or the quote is not good as it is
 */
export async function refusedFlips(quoter: Quoter): Promise<ReadonlyMap<string, number>> {
  const never = new AbortController().signal;
  const [extraData, pcrs] = [randomBytes(32), [0, 7]];
  const { ekPublic, akPublic } = await quoter.identify(never);
  const quote = await quoter.quote(extraData, pcrs, never);
  const endorsement = readEndorsementKey(ekPublic);
  const attestation = endorsement.ok ? readAttestationKey(akPublic, endorsement.key) : endorsement;
  if (!attestation.ok) throw new Error(attestation.detail);
  const want = { key: attestation.key as AttestationKey, extraData, selection: [{ bank: "sha256" as const, pcrs }], previousClock: undefined };
  const whole = verifyQuote(quote, want);
  if (!whole.ok) throw new Error(`the quote itself: ${whole.reason}: ${whole.detail}`);
  const counts = new Map<string, number>();
  for (const part of ["attest", "signature"] as const)
    for (let bit = 0; bit < quote[part].length * 8; bit++) {
      const result = verifyQuote({ ...quote, [part]: flipped(quote[part], bit) }, want);
      if (result.ok) throw new Error(`bit ${bit} of the ${part} flipped, and the quote holds`);
      counts.set(result.reason, (counts.get(result.reason) ?? 0) + 1);
    }
  return counts;
}
