/**
 * Who the holder of a client certificate is: exactly one SAN, a URI of exactly one of our forms. The chain to our CA was checked by TLS;
 * what is read here is still refused unless it is what our CA writes.
 */
import { hash } from "node:crypto";
import "reflect-metadata";
import { SubjectAlternativeNameExtension, X509Certificate } from "@peculiar/x509";
import type { OperatorRole } from "../../ports/certificate-authority.ts";
import { MAX_NAMESPACES, NAMESPACE_PATTERN } from "../people/grants.ts";

export type PeerIdentity =
  | { readonly kind: "node" | "actuator"; readonly region: string; readonly nodeId: string; readonly spkiSha256: Buffer }
  | { readonly kind: "cluster-actuator"; readonly region: string; readonly cluster: string; readonly spkiSha256: Buffer }
  | {
      readonly kind: "operator";
      readonly region: string;
      readonly role: OperatorRole;
      /** Where the role holds; undefined: in the whole cluster. */
      readonly namespaces: readonly string[] | undefined;
      readonly name: string;
      readonly spkiSha256: Buffer;
    };

export const NODE_ID_PATTERN = /^[0-9a-f]{16}$/;
export const REGION_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
export const OPERATOR_NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
const OPERATOR_ROLES: ReadonlySet<string> = new Set<OperatorRole>(["viewer", "responder", "approver", "admin"]);
const MAX_CERTIFICATE_BYTES = 4096;

export function nodeUri(region: string, nodeId: string): string {
  return `spiffe://hullmark/${region}/node/${nodeId}`;
}

/** A node whose certificate is withheld: a name under which it may go on reporting, and which nobody else takes for a node's. */
export function untrustedNodeUri(region: string, nodeId: string): string {
  return `spiffe://hullmark/${region}/untrusted/${nodeId}`;
}

/** The process of a node that holds its container engine's socket. */
export function actuatorUri(region: string, nodeId: string): string {
  return `spiffe://hullmark/${region}/actuator/${nodeId}`;
}

/** The process of a cluster that may evict its pods. */
export function clusterActuatorUri(region: string, cluster: string): string {
  return `spiffe://hullmark/${region}/cluster-actuator/${cluster}`;
}

/** @param namespaces where the role holds: another kind of name, which a verifier that knows none of namespaces takes for nobody's. undefined: in the whole cluster */
export function operatorUri(region: string, role: OperatorRole, name: string, namespaces?: readonly string[]): string {
  const whole = `${role}/${name}`;
  return `spiffe://hullmark/${region}/${namespaces ? `namespaced-operator/${[whole, ...namespaces].join("/")}` : `operator/${whole}`}`;
}

/** One to {@link MAX_NAMESPACES}, each once. */
export function areNamespaces(names: readonly string[]): boolean {
  const all = names.every((name) => NAMESPACE_PATTERN.test(name));
  return all && names.length > 0 && names.length <= MAX_NAMESPACES && new Set(names).size === names.length;
}

/** @returns undefined when the certificate (DER) names no peer of `region` in our form */
export function readPeerIdentity(certificate: Uint8Array, region: string): PeerIdentity | undefined {
  if (certificate.length > MAX_CERTIFICATE_BYTES) return undefined;
  const uri = onlyUri(certificate);
  if (uri === undefined) return undefined;
  const [scheme, empty, domain, uriRegion, kind, ...rest] = uri.value.split("/");
  if (scheme !== "spiffe:" || empty !== "" || domain !== "hullmark" || uriRegion !== region || !REGION_PATTERN.test(region)) return undefined;
  const { spkiSha256 } = uri;
  const [first, second] = rest;
  if (kind === "untrusted" && rest.length === 1 && first !== undefined && NODE_ID_PATTERN.test(first))
    return { kind: "node", region, nodeId: first, spkiSha256 };
  if ((kind === "node" || kind === "actuator") && rest.length === 1 && first !== undefined && NODE_ID_PATTERN.test(first))
    return { kind, region, nodeId: first, spkiSha256 };
  if (kind === "cluster-actuator" && rest.length === 1 && first !== undefined && REGION_PATTERN.test(first))
    return { kind, region, cluster: first, spkiSha256 };
  if (first === undefined || second === undefined || !OPERATOR_ROLES.has(first) || !OPERATOR_NAME_PATTERN.test(second)) return undefined;
  const operator = { kind: "operator", region, role: first as OperatorRole, name: second, spkiSha256 } as const;
  const bound = rest.slice(2);
  if (kind === "operator") return bound.length === 0 ? { ...operator, namespaces: undefined } : undefined;
  return kind === "namespaced-operator" && areNamespaces(bound) ? { ...operator, namespaces: bound } : undefined;
}

function onlyUri(certificate: Uint8Array): { value: string; spkiSha256: Buffer } | undefined {
  try {
    const parsed = new X509Certificate(new Uint8Array(certificate));
    const extensions = parsed.extensions.filter(({ type }) => type === "2.5.29.17");
    const names = extensions.length === 1 ? parsed.getExtension(SubjectAlternativeNameExtension)?.names.items : undefined;
    const [name] = names ?? [];
    if (names?.length !== 1 || name?.type !== "url") return undefined;
    return { value: name.value, spkiSha256: hash("sha256", new Uint8Array(parsed.publicKey.rawData), "buffer") };
  } catch {
    return undefined; // not a certificate: no identity
  }
}
