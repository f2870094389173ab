/** Quotes that are another node's, old or changed by a bit, sent to the running verifier by a node with a real TPM that says what it is told to. */
import { createHash, X509Certificate } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { asAdmin, challenged, flipped, KNOWN_LIES, type Quote, refusals, refusedFlips, total, verifierAddress } from "../../test/e2e/quote-lies.ts";
import { Attester } from "../../test/fakes/attester.ts";
import type { Tpm } from "../testbed/tpm.ts";
import type { Reporter } from "./reporter.ts";
import type { Stage } from "./stage.ts";
import { until } from "./until.ts";

const NAME = "node-1";
const BELIEVED = ["affirming", "warning"];
/** Each flip that is sent asks the TPM for a quote of its own: so many bits lie between them. */
const BITS_APART = 149;
const ANSWERED_WITHIN_MS = 30_000;

interface Liar {
  readonly attester: Attester;
  readonly channel: RpcChannel;
  readonly stage: Stage;
}

/** The second TPM is the liar's; the first is the agent's, which stands still meanwhile: a TPM has one user at a time. */
export async function playQuotes(stage: Stage, report: Reporter): Promise<void> {
  const [agent] = stage.stack.agents;
  const [agentTpm, ownTpm] = stage.bed.tpms;
  if (!agent || !agentTpm || !ownTpm) throw new Error("needs an agent and two TPMs");
  await agent.stop();
  const [own, other] = [quoter(stage, ownTpm, "own"), quoter(stage, agentTpm, "other")];
  const attester = new Attester({ ...verifierAddress(stage.stack), name: NAME, quoter: own });
  try {
    await asAdmin(stage.stack, async (channel) => {
      const liar = { attester, channel, stage };
      await report.step("a second node with a TPM of its own is allowed, enrols and quotes: believed", () => believed(liar, own));
      await lie(liar, report, other);
      await flip(liar, report);
      const forgiven = async (): Promise<void> => {
        attester.send({ case: "quote", value: await attester.quote(await challenged(attester, channel)) });
        await becomes(stage, BELIEVED);
      };
      await report.step("none of them counted: the node is contraindicated until it sends a good one", async () => {
        await becomes(stage, ["contraindicated"]);
        await forgiven();
      });
    });
    await report.step(
      "every single bit of a quote flipped, in this process, by the verifier's own code",
      () => refusedFlips(own),
      (counts) => `${total(counts)} refused: ${words(counts)}`,
    );
  } finally {
    await attester.close();
    for (const each of [own, other]) await each.close();
    await agent.start();
  }
  await stage.stack.hullmark("node", "revoke", NAME, "--reason", "its part in the demo is over");
}

function quoter({ bed }: Stage, { tcti }: Tpm, name: string): Tpm2Quoter {
  const stateDir = join(bed.directory, "demo", `quoter-${name}`);
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  return new Tpm2Quoter({ tcti, stateDir });
}

async function believed({ attester, stage }: Liar, own: Tpm2Quoter): Promise<void> {
  const { ekCertificate } = await own.identify(new AbortController().signal);
  if (!ekCertificate) throw new Error("the TPM has no EK certificate");
  const spki = new X509Certificate(ekCertificate).publicKey.export({ type: "spki", format: "der" });
  const allowed = await stage.stack.hullmark("node", "allow", createHash("sha256").update(spki).digest("hex"), "--name", NAME);
  if (allowed.code !== 0) throw new Error(allowed.stderr);
  await attester.connect();
  await attester.report();
  await becomes(stage, BELIEVED);
  attester.answering = false;
}

async function lie({ attester, channel, stage }: Liar, report: Reporter, other: Tpm2Quoter): Promise<void> {
  const old = await attester.quote(await challenged(attester, channel));
  attester.send({ case: "quote", value: old });
  for (const { name, code, make } of KNOWN_LIES)
    await report.step(
      `a quote: ${name}`,
      async () => {
        const refused = await refusedAs(stage, 1, async () =>
          attester.send({ case: "quote", value: await make(attester, await challenged(attester, channel), old, other) }),
        );
        if (![...refused.keys()].every((each) => code.test(each))) throw new Error(`refused as ${words(refused)}`);
        return refused;
      },
      (refused) => `refused: ${words(refused)}`,
    );
}

async function flip({ attester, channel, stage }: Liar, report: Reporter): Promise<void> {
  const fresh = async (): Promise<Quote> => attester.quote(await challenged(attester, channel));
  await report.step(
    "a sample of its bits flipped, one a quote",
    async () => {
      const { attest, signature } = await fresh();
      // A signature may be shorter by some bytes than the next.
      const lengths = { attest: attest.length, signature: signature.length - 8 };
      const flips = (["attest", "signature"] as const).flatMap((part) =>
        Array.from({ length: Math.ceil((lengths[part] * 8) / BITS_APART) }, (_, i) => ({ part, bit: i * BITS_APART })),
      );
      return refusedAs(stage, flips.length, async () => {
        for (const { part, bit } of flips) {
          const quote = await fresh();
          attester.send({ case: "quote", value: { ...quote, [part]: flipped(quote[part], bit) } });
        }
      });
    },
    (refused) => `${total(refused)} refused: ${words(refused)}`,
  );
}

/** What is refused of `count` quotes that `send` sends, by code. @throws Error where it is not all of them */
async function refusedAs({ stack }: Stage, count: number, send: () => Promise<unknown>): Promise<ReadonlyMap<string, number>> {
  const before = await refusals(stack);
  await send();
  const after = await until(
    () => refusals(stack),
    (seen) => total(seen) >= total(before) + count,
    ANSWERED_WITHIN_MS,
  );
  const refused = new Map([...after].map(([code, value]) => [code, value - (before.get(code) ?? 0)] as const).filter(([, value]) => value > 0));
  if (total(refused) !== count) throw new Error(`of ${count} refused: ${words(refused)}`);
  return refused;
}

async function becomes({ stack }: Stage, verdicts: readonly string[]): Promise<void> {
  const look = async (): Promise<string | undefined> =>
    (await stack.json<{ name: string; verdict: string }[]>("nodes")).find(({ name }) => name === NAME)?.verdict;
  const seen = await until(look, (each) => verdicts.includes(each ?? ""), ANSWERED_WITHIN_MS);
  if (!verdicts.includes(seen ?? ""))
    throw new Error(`${NAME} is ${seen}, not ${verdicts.join(" or ")}: ${(await stack.hullmark("node", "show", NAME)).stdout}`);
}

const words = (counts: ReadonlyMap<string, number>): string => [...counts].map(([code, count]) => (count === 1 ? code : `${code} × ${count}`)).join(", ");
