/** Enrolment's records in memory, with the single use of tokens and nonces that a store gives. */
import type { EnrolmentRecord, EnrolmentRecords, KnownNode } from "@hullmark/verifier/ports/enrolment-records";

export class MemoryEnrolmentRecords implements EnrolmentRecords {
  readonly nodes = new Map<string, KnownNode>();
  readonly allowed = new Map<string, { name: string }>();
  /** By hex SHA-256. */
  readonly tokens = new Map<string, { nodeName: string; expiresAtMs: number }>();
  readonly recorded: EnrolmentRecord[] = [];
  readonly #nonces = new Set<string>();

  async findNode(nodeId: string): Promise<KnownNode | undefined> {
    return this.nodes.get(nodeId);
  }
  async findNodeByName(name: string): Promise<KnownNode | undefined> {
    return [...this.nodes.values()].find((node) => node.name === name && !node.revoked);
  }
  async findAllowedEk(ekSha256: string): Promise<{ name: string } | undefined> {
    return this.allowed.get(ekSha256);
  }
  async findJoinToken(sha256: Buffer, nowMs: number): Promise<{ nodeName: string; expiresAtMs: number } | undefined> {
    const token = this.tokens.get(sha256.toString("hex"));
    return token && nowMs < token.expiresAtMs ? token : undefined;
  }
  async record(enrolment: EnrolmentRecord): ReturnType<EnrolmentRecords["record"]> {
    const nonce = enrolment.spendNonce.nonce.toString("hex");
    const token = enrolment.spendToken?.sha256.toString("hex");
    if (this.#nonces.has(nonce) || (token !== undefined && !this.tokens.delete(token))) return "spent";
    this.#nonces.add(nonce);
    const { node } = enrolment;
    this.nodes.set(node.id, { ...node, revoked: false });
    this.recorded.push(enrolment);
    return "recorded";
  }

  revoke(nodeId: string): void {
    const node = this.nodes.get(nodeId);
    if (node) this.nodes.set(nodeId, { ...node, revoked: true });
  }
}
