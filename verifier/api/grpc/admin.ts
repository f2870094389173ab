/** Admin: what people change. Who they are comes from their certificate alone. */
import { hash } from "node:crypto";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type CallContext, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import type { Admin } from "@hullmark/proto/v1/admin";
import type { DriftDiffs } from "../../core/contents/drift-diffs.ts";
import type { Drills } from "../../core/drill/drills.ts";
import { isP256 } from "../../core/enrolment/certificate-request.ts";
import { isNodeName } from "../../core/enrolment/decide.ts";
import { tokenDigest } from "../../core/enrolment/index.ts";
import { areNamespaces, OPERATOR_NAME_PATTERN } from "../../core/enrolment/peer-identity.ts";
import { type Administration, AdministrationError } from "../../core/fleet/administration.ts";
import { SEVERITY_NAMES } from "../../core/fleet/alert-planner.ts";
import type { TestAlert } from "../../core/fleet/alerts.ts";
import type { Baselines } from "../../core/fleet/baselines.ts";
import type { Exceptions } from "../../core/fleet/exceptions.ts";
import type { IncidentDecisions } from "../../core/incident/decisions.ts";
import type { OwnKeys } from "../../core/keys/own-keys.ts";
import { MAX_NAMESPACES, ROLES, reaches } from "../../core/people/grants.ts";
import { CERTIFICATE_SOURCE, PERSON_PATTERN } from "../../core/people/identities.ts";
import type { People } from "../../core/people/people.ts";
import { ReportError, type VulnerabilityReports } from "../../core/vulnerabilities/index.ts";
import type { IssuedCertificate } from "../../ports/certificate-authority.ts";
import type { Store } from "../../ports/store.ts";
import { type AccessServices, operatorOf, reachIn } from "./access.ts";
import { drillReport, drillSchedule } from "./drills.ts";
import { invalid, rpcErrorOf } from "./errors.ts";
import { isRole, type OperatorIdentity } from "./identity.ts";

export interface AdminServices extends AccessServices {
  readonly administration: Administration;
  readonly readDrift: Store["readDrift"];
  readonly baselines: Baselines;
  /** Fresh bytes of a cryptographic source. */
  readonly random: (bytes: number) => Buffer;
  readonly reloadPolicy: () => Promise<{ readonly digest: Buffer; readonly errors: readonly string[] }>;
  /** @returns how many images are looked up again */
  readonly refreshImage: (image: string) => number;
  /** @returns entries of the lost history. @throws AdministrationError, StoreError */
  readonly acceptHistory: (by: string, reason: string) => Promise<number>;
  readonly exceptions: Exceptions;
  readonly drills: Pick<Drills, "record" | "schedule">;
  readonly incidentDecisions: IncidentDecisions;
  readonly diffs: DriftDiffs;
  /** @throws CertificateAuthorityError BAD_KEY */
  readonly issueActuator: (nodeId: string, publicKey: Uint8Array) => Promise<IssuedCertificate>;
  /** The same of the cluster's actuator. @throws CertificateAuthorityError BAD_KEY */
  readonly issueClusterActuator: (cluster: string, publicKey: Uint8Array) => Promise<IssuedCertificate>;
  /** SubjectPublicKeyInfo (DER) of the keys that sign intents, the one in use first. */
  readonly intentKeys: () => Uint8Array[];
  /** PEM: what an actuator pins. */
  readonly caCertificates: () => string;
  readonly keys: OwnKeys;
  readonly people: People;
  /** Of those who come with tokens: what stands before their names. */
  readonly sources: readonly string[];
  /** undefined: there is no dashboard. */
  readonly openDashboard: (asker: OperatorIdentity, context: CallContext) => DashboardDoor | undefined;
  readonly vulnerabilities: VulnerabilityReports;
  /** undefined: no such node. */
  readonly findNode: (idOrName: string) => { readonly id: string } | undefined;
  /** Sends a harmless alert to one route, or (empty) to all. */
  readonly testAlert: (test: TestAlert, signal: AbortSignal) => Promise<readonly { route: string; type: string; taken: boolean; answer: string }[]>;
  /** @returns whether it is due now */
  readonly retryNotification: (id: string) => Promise<boolean>;
}

/** Where a browser comes in, once, until then. */
export interface DashboardDoor {
  readonly code: string;
  readonly endsAtMs: number;
  /** Empty: at the host that the verifier is called by. */
  readonly url: string;
  readonly port: number;
}

const NAME_RULE = "1 to 64 of A-Z a-z 0-9 . _ @ -, beginning with a letter or digit";
const MAX_RETRIED = 1000;
const MAX_REASON_CHARS = 500;
const MAX_NAME_CHARS = 512;
const MAX_BASELINE_NODES = 100;
const MAX_REVIEW_DAYS = 366;
const MAX_OWNER_CHARS = 100;
const MIN_LEARNED_SECONDS = 3600;
const MAX_LEARNED_SECONDS = 90 * 86_400;
const MAX_LEFT_OUT = 100;
const MIN_EXCEPTION_SECONDS = 3600;
const MAX_PERSON_DAYS = 366;
const MAX_TOKEN_SECONDS = 86_400;
const TOKEN_BYTES = 32;
const MAX_KEY_BYTES = 256;

export function adminService(services: AdminServices): ServiceImplementation<typeof Admin> {
  const { administration } = services;
  /** @throws RpcError where it is nobody's, or of no source: it would take nothing from anybody, and be told as done */
  const knownPerson = (name: string): void => {
    if (!PERSON_PATTERN.test(name)) throw invalid("name", "the name of a person (hullmark person ls), or SOURCE:NAME of one who comes with tokens");
    const source = name.includes(":") ? name.slice(0, name.indexOf(":")) : undefined;
    if (source === CERTIFICATE_SOURCE) throw invalid("name", "the name alone of who has a certificate, without certificate:");
    if (source !== undefined && !services.sources.includes(source))
      throw invalid("name", `SOURCE:NAME of a source that is configured (${services.sources.join(", ") || "there is none"})`);
  };
  // What is out of the caller's namespaces is refused as what is not there: in the words that the core has for that.
  const driftInReach = async (id: string, context: CallContext): Promise<void> => {
    const reach = reachIn(context, services);
    if (reach === "cluster") return;
    const row = await services.readDrift(id);
    if (!row || !reaches(reach, row)) throw new AdministrationError("NOT_FOUND", "no such drift");
  };
  const exceptionInReach = (id: string, context: CallContext): void => {
    const reach = reachIn(context, services);
    if (reach === "cluster") return;
    const row = services.exceptions.rows.find((each) => each.id === id);
    if (!row || !reaches(reach, row)) throw new AdministrationError("NOT_FOUND", "no such exception");
  };
  return {
    async acknowledgeDrift({ id, reason, seen }, context) {
      const { name } = operatorOf(context, services);
      checkSeen(seen);
      const why = reasonOf(reason);
      await acting(async () => {
        await driftInReach(idOf(id), context);
        await administration.acknowledge(idOf(id), seen, name, why);
      });
      return {};
    },
    ...incidentDecisions(services),
    async diffDrift({ id, reason }, context) {
      const asked = { by: operatorOf(context, services).name, reason: reasonOf(reason) };
      const { hunks, binary, sizeBefore, sizeAfter } = await acting(async () => {
        await driftInReach(idOf(id), context);
        return await services.diffs.of(idOf(id), asked, context.signal);
      });
      const sizes = { ...(sizeBefore !== undefined && { sizeBefore: BigInt(sizeBefore) }), ...(sizeAfter !== undefined && { sizeAfter: BigInt(sizeAfter) }) };
      return { hunks, binary, ...sizes };
    },
    async requestQuote({ nodeId }) {
      await acting(async () => administration.requestQuote(nodeId));
      return {};
    },
    async allowNode({ ekSha256, name, node }, context) {
      if (node !== "") return { nodeId: await acting(() => administration.approve(node, operatorOf(context, services).name)) };
      if (!/^[0-9a-f]{64}$/.test(ekSha256)) throw invalid("ekSha256", "64 lower-case hex digits");
      if (name !== "" && !isNodeName(name)) throw invalid("name", "1 to 253 of A-Z a-z 0-9 . _ -");
      return { nodeId: await acting(() => administration.allow(ekSha256, name, operatorOf(context, services).name)) };
    },
    async revokeNode({ nodeId, reason }, context) {
      await acting(() => administration.revoke(nodeId, operatorOf(context, services).name, reasonOf(reason)));
      return {};
    },
    async removeNode({ nodeId, reason }, context) {
      await acting(() => administration.remove(nodeId, operatorOf(context, services).name, reasonOf(reason)));
      return {};
    },
    async createJoinToken({ nodeName, ttlSeconds }, context) {
      if (nodeName !== "" && !isNodeName(nodeName)) throw invalid("nodeName", "1 to 253 of A-Z a-z 0-9 . _ -");
      if (ttlSeconds < 1 || ttlSeconds > MAX_TOKEN_SECONDS) throw invalid("ttlSeconds", `1 to ${MAX_TOKEN_SECONDS}`);
      const token = services.random(TOKEN_BYTES).toString("base64url");
      const expiresAtMs = await acting(() => administration.createJoinToken(tokenDigest(token), nodeName, ttlSeconds, operatorOf(context, services).name));
      return { token, expiresAt: timestampFromMs(expiresAtMs) };
    },
    async reloadPolicy() {
      const { digest, errors } = await acting(services.reloadPolicy);
      return { digest, errors: [...errors] };
    },
    async refreshImage({ image }, context) {
      const images = services.refreshImage(image);
      if (images > 0) await acting(() => administration.note("image-refresh", { image: image.slice(0, 512), by: operatorOf(context, services).name }));
      return { images };
    },
    async proposeBaseline({ pool, nodes, pcrs, files, reason, workload, sinceSeconds, owner }, context) {
      if (owner.length > MAX_OWNER_CHARS) throw invalid("owner", `at most ${MAX_OWNER_CHARS} characters`);
      if (workload !== "") {
        if (pool !== "" || nodes.length > 0 || pcrs.length > 0 || files) throw invalid("workload", "a workload or a pool of nodes, not both");
        if (workload.length > MAX_NAME_CHARS) throw invalid("workload", `at most ${MAX_NAME_CHARS} characters`);
        if (sinceSeconds < MIN_LEARNED_SECONDS || sinceSeconds > MAX_LEARNED_SECONDS)
          throw invalid("sinceSeconds", `${MIN_LEARNED_SECONDS} to ${MAX_LEARNED_SECONDS}`);
        const wanted = { workload, sinceMs: sinceSeconds * 1000, reason: reasonOf(reason), owner: owner.trim() };
        const { id, leftOut } = await acting(() => services.baselines.proposeWorkload(wanted, operatorOf(context, services).name));
        return { id, leftOut: leftOut.slice(0, MAX_LEFT_OUT), moreLeftOut: Math.max(0, leftOut.length - MAX_LEFT_OUT) };
      }
      if (nodes.length < 1 || nodes.length > MAX_BASELINE_NODES) throw invalid("nodes", `1 to ${MAX_BASELINE_NODES} nodes`);
      if (pcrs.some((index) => index > 23) || (pcrs.length === 0 && !files)) throw invalid("pcrs", "PCRs 0 to 23, or files, or both");
      const proposal = { pool, nodes: [...new Set(nodes)], pcrs: [...new Set(pcrs)], files, reason: reasonOf(reason), owner: owner.trim() };
      return { id: await acting(() => services.baselines.propose(proposal, operatorOf(context, services).name)) };
    },
    async approveBaseline({ id, reviewDays }, context) {
      if (reviewDays < 1 || reviewDays > MAX_REVIEW_DAYS) throw invalid("reviewDays", `1 to ${MAX_REVIEW_DAYS}`);
      await acting(() => services.baselines.approve(id, reviewDays, operatorOf(context, services).name));
      return {};
    },
    async requestException({ driftId, lifeSeconds, reason, pathGlob, anyContent, anyImage, seen }, context) {
      checkSeen(seen);
      if (lifeSeconds < MIN_EXCEPTION_SECONDS) throw invalid("lifeSeconds", `${MIN_EXCEPTION_SECONDS} at least`);
      const asked = { path: pathGlob, anyContent, anyImage, seen, lifeMs: lifeSeconds * 1000, driftId: idOf(driftId), reason: reasonOf(reason) };
      const { id } = await acting(async () => {
        await driftInReach(asked.driftId, context);
        return await services.exceptions.request(asked, operatorOf(context, services).name);
      });
      return { id };
    },
    async approveException({ id }, context) {
      await acting(async () => {
        exceptionInReach(idOf(id), context);
        await services.exceptions.approve(idOf(id), operatorOf(context, services).name);
      });
      return {};
    },
    async denyException({ id, reason }, context) {
      const why = reasonOf(reason);
      await acting(async () => {
        exceptionInReach(idOf(id), context);
        await services.exceptions.deny(idOf(id), why, operatorOf(context, services).name);
      });
      return {};
    },
    async revokeException({ id, reason }, context) {
      const why = reasonOf(reason);
      await acting(async () => {
        exceptionInReach(idOf(id), context);
        await services.exceptions.revoke(idOf(id), why, operatorOf(context, services).name);
      });
      return {};
    },
    async expireBaseline({ id, reason, last }, context) {
      await acting(() => services.baselines.expire(id, reasonOf(reason), last, operatorOf(context, services).name));
      return {};
    },
    async openDashboard(_request, context) {
      const door = services.openDashboard(operatorOf(context, services), context);
      if (!door)
        throw new RpcError("FAILED_PRECONDITION", "this verifier serves no dashboard", {
          reason: "NO_DASHBOARD",
          fix: "dashboard.listen in its configuration",
        });
      const { code, endsAtMs, url, port } = door;
      return { code, expiresAt: timestampFromMs(endsAtMs), url, port };
    },
    async acceptHistory({ reason }, context) {
      return { size: BigInt(await acting(() => services.acceptHistory(operatorOf(context, services).name, reasonOf(reason)))) };
    },
    async issuePersonCertificate({ name, role: everywhere, namespaced, publicKey, days }, context) {
      if (namespaced && everywhere !== "") throw invalid("role", "a role in the whole cluster, or one in namespaces, not both");
      if (namespaced && !areNamespaces(namespaced.namespaces))
        throw invalid("namespaces", `1 to ${MAX_NAMESPACES} names of namespaces, each once: no patterns`);
      const { role, namespaces } = namespaced ?? { role: everywhere, namespaces: undefined };
      if (!OPERATOR_NAME_PATTERN.test(name)) throw invalid("name", NAME_RULE);
      if (!isRole(role)) throw invalid("role", ROLES.join(", "));
      if (publicKey.length > MAX_KEY_BYTES || !isP256(publicKey)) throw invalid("publicKey", "a P-256 key, SubjectPublicKeyInfo in DER");
      if (days < 1 || days > MAX_PERSON_DAYS) throw invalid("days", `1 to ${MAX_PERSON_DAYS}`);
      const person = services.subjectOf(name);
      if (person !== name && !services.personMay(person, { certificateSha256: "" }))
        throw new RpcError("FAILED_PRECONDITION", `${name} is ${person}, who was revoked`, {
          reason: "REVOKED",
          fix: `a certificate of the name ${person}, or people.aliases of the verifier's configuration`,
        });
      const wanted = { name, role, namespaces, publicKey, lifetimeMs: days * 86_400_000 };
      const { chain, notAfterMs } = await acting(() => services.people.issue(wanted, operatorOf(context, services)));
      return { certificateChain: [...chain], expiresAt: timestampFromMs(notAfterMs) };
    },
    async revokePerson({ name, reason }, context) {
      knownPerson(name);
      return { known: await acting(() => services.people.revoke(name, operatorOf(context, services), reasonOf(reason))) };
    },
    async allowPerson({ name, reason }, context) {
      knownPerson(name);
      await acting(() => services.people.allow(name, operatorOf(context, services), reasonOf(reason)));
      return {};
    },
    async importVulnerabilities({ report, image }, context) {
      if (image.length > MAX_NAME_CHARS) throw invalid("image", `at most ${MAX_NAME_CHARS} characters`);
      const { row, replaces } = await acting(() => services.vulnerabilities.import(report, image, operatorOf(context, services).name));
      const { digest, format, tool, leftOut } = row;
      const counted = { findings: row.findings.length, statements: row.statements.length, leftOut };
      return { digest, image: row.image, format, tool, ...counted, replaces };
    },
    async removeVulnerabilities({ digest, reason }, context) {
      return { images: await acting(() => services.vulnerabilities.remove(digest, operatorOf(context, services).name, reasonOf(reason))) };
    },
    async rotateKey({ name, reason }, context) {
      return { id: await acting(() => services.keys.rotate(keyNameOf(name), operatorOf(context, services).name, reasonOf(reason))) };
    },
    async retireKey({ name, reason }, context) {
      return { ids: [...(await acting(() => services.keys.retire(keyNameOf(name), operatorOf(context, services).name, reasonOf(reason))))] };
    },
    async testAlert({ route, severity, end }, context) {
      const { name } = operatorOf(context, services);
      await acting(() => administration.note("test-alert", { route, by: name }));
      const routes = await acting(() => services.testAlert({ route, severity: SEVERITY_NAMES[severity], end, by: name }, context.signal));
      const failed = routes.filter(({ taken }) => !taken).map((each) => `${each.route}: ${each.answer}`);
      return { routes: [...routes], delivered: routes.filter(({ taken }) => taken).map((each) => each.route), failed };
    },
    async retryNotifications({ ids }, context) {
      const wanted = [...new Set(ids)];
      if (wanted.length === 0 || wanted.length > MAX_RETRIED || !wanted.every((id) => /^[0-9a-f]{32}$/.test(id)))
        throw invalid("ids", `1 to ${MAX_RETRIED} ids of 32 lower-case hex digits: hullmark alert ls -o json`);
      const { name } = operatorOf(context, services);
      await acting(() => administration.note("retry-notifications", { notifications: wanted.length, first: wanted[0] ?? "", by: name }));
      const due: string[] = [];
      for (const id of wanted) if (await acting(() => services.retryNotification(id))) due.push(id);
      return { ids: due };
    },
    async recordDrill(request, context) {
      const { name } = operatorOf(context, services);
      await acting(() => services.drills.record({ ...drillReport(request), by: name }));
      return {};
    },
    async scheduleDrill(request, context) {
      const { drill, everyMs } = drillSchedule(request);
      await acting(() => services.drills.schedule(drill, everyMs, operatorOf(context, services).name));
      return {};
    },
    async recordPromotion({ source, destination, imageDigest, summaryDigest, policySha256, rule }, context) {
      for (const [field, value] of Object.entries({ source, destination, rule }))
        if (value === "" || value.length > MAX_NAME_CHARS) throw invalid(field, `1 to ${MAX_NAME_CHARS} characters`);
      for (const [field, value] of Object.entries({ imageDigest, summaryDigest, policySha256: `sha256:${policySha256}` }))
        if (!/^sha256:[0-9a-f]{64}$/.test(value)) throw invalid(field, "a SHA-256 digest");
      const { name } = operatorOf(context, services);
      const fields = { source, destination, image: imageDigest, summary: summaryDigest, policy: `sha256:${policySha256}`, rule, by: name };
      await acting(() => administration.note("promotion", fields));
      return {};
    },
    async issueActuatorCertificate({ node, publicKey, cluster: ofCluster }, context) {
      if (publicKey.length > MAX_KEY_BYTES || !isP256(publicKey)) throw invalid("publicKey", "a P-256 key, SubjectPublicKeyInfo in DER");
      if (ofCluster === (node !== "")) throw invalid("node", "a node or the cluster, not both");
      const row = services.findNode(node);
      const cluster = ofCluster ? (services.cluster ?? "") : "";
      if (ofCluster && cluster === "") throw new RpcError("FAILED_PRECONDITION", "this verifier watches no cluster", { reason: "NO_CLUSTER" });
      if (!ofCluster && !row) throw new RpcError("NOT_FOUND", "no such node", { reason: "NOT_FOUND", field: "node" });
      const nodeId = ofCluster ? "" : (row?.id ?? "");
      const { chain, notAfterMs } = await acting(() =>
        ofCluster ? services.issueClusterActuator(cluster, publicKey) : services.issueActuator(nodeId, publicKey),
      );
      const { name } = operatorOf(context, services);
      const whose = ofCluster ? { cluster } : { node: nodeId };
      await acting(() => administration.note("actuator-certificate", { ...whose, by: name, key: `sha256:${hash("sha256", publicKey)}`, until: notAfterMs }));
      return {
        nodeId,
        cluster,
        certificateChain: [...chain],
        expiresAt: timestampFromMs(notAfterMs),
        intentKeys: services.intentKeys(),
        caCertificate: services.caCertificates(),
      };
    },
  };
}

function incidentDecisions(services: AdminServices) {
  return {
    async assignIncident({ id, owner, me, reason, seen }, context) {
      const { name: by } = operatorOf(context, services);
      checkSeen(seen);
      if (me && owner !== "") throw invalid("owner", "a name, or whoever asks, not both");
      if (owner !== "" && !PERSON_PATTERN.test(owner)) throw invalid("owner", `${NAME_RULE}; or SOURCE:NAME`);
      const wanted = me ? by : owner;
      await acting(() => services.incidentDecisions.assign(idOf(id), wanted, { by, seen, reason: reasonOf(reason) }));
      return { owner: wanted };
    },
    async resolveIncident({ id, reason, seen }, context) {
      const { name: by } = operatorOf(context, services);
      checkSeen(seen);
      await acting(() => services.incidentDecisions.resolve(idOf(id), { by, seen, reason: reasonOf(reason) }));
      return {};
    },
  } satisfies Pick<ServiceImplementation<typeof Admin>, "assignIncident" | "resolveIncident">;
}

async function acting<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof ReportError) throw new RpcError("INVALID_ARGUMENT", error.message, { reason: error.code, field: "report" });
    throw rpcErrorOf(error);
  }
}

const idOf = (id: string): string => id.slice(0, 32).toUpperCase();

function keyNameOf(name: string): string {
  if (!/^[a-z]{1,16}$/.test(name)) throw invalid("name", "the name of a key: hullmark keys ls");
  return name;
}

function checkSeen(seen: string): void {
  if (!/^[0-9a-f]{16}$/.test(seen)) throw invalid("seen", "what Drift.seen was when it was looked at");
}

function reasonOf(reason: string): string {
  const trimmed = reason.trim();
  if (trimmed === "" || trimmed.length > MAX_REASON_CHARS) throw invalid("reason", `1 to ${MAX_REASON_CHARS} characters: it is logged`);
  return trimmed;
}
