/** Who a kubectl user is to Hullmark: whose Secret they may read. The verifier fills one a role, and Kubernetes' own rights decide. */
import * as z from "zod";
import { ContextError } from "../connection/context-error.ts";
import { type Kubectl, type KubectlError, kubectlError } from "./kubectl.ts";
import type { Release } from "./release.ts";

/** PEM, as the verifier published it. Never written to a file here. */
export interface Credentials {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** Verifier key of the log, as text; undefined: an older verifier. */
  readonly logKey: string | undefined;
}

/** The most powerful first. */
const ROLES = ["admin", "responder", "viewer"] as const;
export type Role = (typeof ROLES)[number];

export function parseRole(text: string): Role {
  const role = ROLES.find((each) => each === text);
  if (!role) throw new ContextError(`--as-role ${text}: use ${ROLES.join(", ")}`);
  return role;
}

const Data = z.record(z.string(), z.string()).optional();
const Secret = z.object({ metadata: z.object({ name: z.string() }), data: Data });
const Answer = z.union([z.object({ items: z.array(Secret) }), Secret.transform((only) => ({ items: [only] }))]);

/**
 * Reads the Secret of `role`, or of the most powerful role that the user may read.
 * @returns undefined where it is there and the verifier has not filled it yet
 * @throws ContextError where there is none that may be read; KubectlError UNREACHABLE, MISSING
 */
export async function readCredentials(kubectl: Kubectl, release: Release, role: Role | undefined, signal: AbortSignal): Promise<Credentials | undefined> {
  const names = (role ? [role] : ROLES).map((each) => `${release.name}-${each}`);
  // One call for all: those that may be read are in the answer, whatever is said of the rest.
  const { stdout, stderr, status } = await kubectl.ask(["--namespace", release.namespace, "get", "secret", ...names, "--output=json"], { signal });
  const found = stdout.trim() === "" ? [] : Answer.parse(JSON.parse(stdout)).items;
  if (found.length === 0 && status !== 0) throw refused(kubectlError(stderr), release);
  const best = names.map((name) => found.find(({ metadata }) => metadata.name === name)).find((secret) => secret?.data?.["client.key"] !== undefined);
  const [ca, certificate, key] = ["ca.crt", "client.crt", "client.key"].map((name) => best?.data?.[name]);
  if (ca === undefined || certificate === undefined || key === undefined) return undefined;
  const logKey = best?.data?.["log.pub"];
  const [caBytes, certificateBytes, keyBytes] = [ca, certificate, key].map((text) => Buffer.from(text, "base64")) as [Buffer, Buffer, Buffer];
  return { ca: caBytes, certificate: certificateBytes, key: keyBytes, logKey: logKey && Buffer.from(logKey, "base64").toString() };
}

function refused(error: KubectlError, { namespace, name }: Release): Error {
  if (error.code === "FORBIDDEN")
    return new ContextError(`you may read no Secret of Hullmark in ${namespace}: bind the role ${name}-viewer to yourself, or ask who may (${error.message})`);
  if (error.code === "NOT_FOUND") return new ContextError(`no Hullmark release ${name} in the namespace ${namespace}: name it by --release NAMESPACE/NAME`);
  return error;
}
