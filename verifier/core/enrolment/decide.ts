/** Which nodes may join, and how much their word is worth. Pure: everything that was looked up comes in. */
import { hash } from "node:crypto";
import type { KnownNode, TrustGrade } from "../../ports/enrolment-records.ts";
import type { EkCertificateResult } from "../endorsement/ek-certificate.ts";
import { type Refused, refused } from "./refusals.ts";

export interface EnrolmentPolicy {
  /** `allowlist`: only listed EKs. `tofu`: an unknown EK is accepted at first sight, and shown as such for ever. */
  readonly mode: "allowlist" | "tofu";
  /** Whether a TPM without EK certificate may join at all (many virtual TPMs have none). A certificate that is there and does not verify never may. */
  readonly acceptWithoutCertificate: boolean;
  /** Whether nodes without TPM may join by token. */
  readonly acceptJoinTokens: boolean;
}

export type Admission = { readonly ok: true; readonly nodeId: string; readonly name: string; readonly trust: TrustGrade } | Refused;

const NAME_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const BOOT_ID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const NODE_ID_DIGITS = 16;

/** As long as Kubernetes' names of nodes may be: a DNS subdomain. */
export function isNodeName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/** The form of `/proc/sys/kernel/random/boot_id`. */
export function isBootId(bootId: string): boolean {
  return BOOT_ID_PATTERN.test(bootId);
}

/** The first 16 hex digits of the EK's digest. */
export function nodeIdOfEk(ekSha256: string): string {
  return ekSha256.slice(0, NODE_ID_DIGITS);
}

/** Tokens name nobody: the id is derived from the token, so that no two tokens make one node. */
export function nodeIdOfToken(tokenSha256: Buffer): string {
  return hash("sha256", Buffer.concat([Buffer.from("hullmark-join-v1"), tokenSha256]), "hex").slice(0, NODE_ID_DIGITS);
}

/** The cluster's own name of a node is its identity there: a node that is made anew under its name is the same one. */
export function nodeIdOfKubernetesNode(nodeName: string): string {
  return hash("sha256", `hullmark-kubernetes-v1\0${nodeName}`, "hex").slice(0, NODE_ID_DIGITS);
}

export interface TpmFacts {
  readonly ekSha256: string;
  readonly claimedName: string;
  /** undefined: the TPM holds no EK certificate. */
  readonly certificate: EkCertificateResult | undefined;
  readonly allowed: { readonly name: string } | undefined;
  /** The node of this EK's id, and the node of the name that it would get. */
  readonly known: KnownNode | undefined;
  readonly sameName: KnownNode | undefined;
}

export function admitTpm(facts: TpmFacts, policy: EnrolmentPolicy): Admission {
  const { certificate, allowed, known } = facts;
  const nodeId = nodeIdOfEk(facts.ekSha256);
  const name = nameOf(facts);
  if (known?.revoked) return refused("revoked", `node ${nodeId} is revoked`);
  if (known && known.ekSha256 !== facts.ekSha256) return refused("id-of-another-key", `node id ${nodeId} belongs to another EK`);
  if (certificate && !certificate.ok) return refused(certificate.reason, `${certificate.reason}: ${certificate.detail}`);
  if (!certificate && !policy.acceptWithoutCertificate) return refused("certificate-missing", "the TPM holds no EK certificate");
  if (!allowed && policy.mode === "allowlist") return refused("not-listed", `EK ${facts.ekSha256} is not on the allow-list`);
  if (facts.sameName && facts.sameName.id !== nodeId) return refused("name-taken", `another node is called ${name}`);
  return { ok: true, nodeId, name, trust: certificate && allowed ? "tpm" : "tpm-tofu" };
}

/** The operator's name for it, else the one it had, else the one that it claims. */
export function nameOf({ allowed, known, claimedName }: Pick<TpmFacts, "allowed" | "known" | "claimedName">): string {
  return allowed?.name || known?.name || claimedName;
}

export interface TokenFacts {
  readonly tokenSha256: Buffer;
  readonly token: { readonly nodeName: string } | undefined;
  readonly claimedName: string;
  readonly sameName: KnownNode | undefined;
}

export function admitToken(facts: TokenFacts, policy: EnrolmentPolicy): Admission {
  if (!policy.acceptJoinTokens) return refused("token-not-accepted", "nodes without TPM may not join");
  if (!facts.token) return refused("token-unknown", "the join token is unknown, used or expired");
  const name = facts.token.nodeName || facts.claimedName;
  const nodeId = nodeIdOfToken(facts.tokenSha256);
  // A token that an admin made for a name takes that node over where it has no TPM; nobody takes a TPM's node over, nor by claiming a name.
  if (facts.sameName && (facts.sameName.trust !== "none" || facts.token.nodeName === "")) return refused("name-taken", `another node is called ${name}`);
  return { ok: true, nodeId: facts.sameName?.id ?? nodeId, name, trust: "none" };
}

export interface ServiceAccountFacts {
  /** The node that the reviewed token is bound to. */
  readonly nodeName: string;
  readonly claimedName: string;
  readonly known: KnownNode | undefined;
  readonly sameName: KnownNode | undefined;
}

export function admitServiceAccount({ nodeName, claimedName, known, sameName }: ServiceAccountFacts): Admission {
  const nodeId = nodeIdOfKubernetesNode(nodeName);
  if (claimedName !== nodeName) return refused("account-of-another-node", `the token is bound to node ${nodeName}, not ${claimedName}`);
  if (known?.revoked) return refused("revoked", `node ${nodeId} is revoked`);
  // Also a node of this name that joined another way keeps its name until an admin revokes it.
  if (sameName && sameName.id !== nodeId) return refused("name-taken", `another node is called ${nodeName}`);
  return { ok: true, nodeId, name: nodeName, trust: "none" };
}
