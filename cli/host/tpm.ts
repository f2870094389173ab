/** Which TPM the agent uses, and what the verifier must know of it. */
import { existsSync } from "node:fs";
import type { Layout } from "./layout.ts";
import { type CommandOutcome, runCommand } from "./program.ts";

const DEVICE = "/dev/tpmrm0";

export interface TpmChoice {
  /** `none`: the node joins by token. */
  readonly tcti: string;
  readonly ekSha256: string | null;
  /** Why the node's trust level will be less than `tpm`; undefined: it will not. */
  readonly shortcoming: string | undefined;
}

/** The TPM asked for, else the kernel's, else none. */
export function tctiOf(asked: string | undefined): string {
  return asked ?? (existsSync(DEVICE) ? `device:${DEVICE}` : "none");
}

export const NO_TPM = 'no TPM: node trust "none" (sees tampering from containers, not from root on the host)';

/**
 * Asks the agent (which must not be running) for the endorsement key.
 * @param makerRoots how many certificates of TPM makers the verifier will trust
 */
export async function chooseTpm(layout: Layout, tcti: string, makerRoots: number): Promise<TpmChoice> {
  if (tcti === "none") return { tcti, ekSha256: null, shortcoming: NO_TPM };
  const outcome = await runCommand(process.execPath, [`${layout.program}/agent.js`, "--config", layout.settings("agent"), "--show-identity"]);
  const ekSha256 = outcome.ok ? identityIn(outcome) : undefined;
  if (ekSha256 === undefined && outcome.stderr.includes("no EK certificate"))
    return { tcti, ekSha256: null, shortcoming: "the TPM has no EK certificate: trusted at first sight (tofu)" };
  if (ekSha256 === undefined)
    return { tcti: "none", ekSha256: null, shortcoming: `the TPM at ${tcti} does not work (${lastLine(outcome.stderr)}): node trust "none"` };
  if (makerRoots === 0)
    return { tcti: "none", ekSha256: null, shortcoming: 'the TPM is not used: its maker is unknown (--tpm-maker-root FILE); node trust "none"' };
  return { tcti, ekSha256, shortcoming: undefined };
}

function identityIn({ stdout }: CommandOutcome): string | undefined {
  return /"ekSha256":"([0-9a-f]{64})"/.exec(stdout)?.[1];
}

function lastLine(text: string): string {
  return (
    text
      .split("\n")
      .find((line) => /error/i.test(line))
      ?.slice(0, 200) ?? text.slice(0, 200)
  );
}
