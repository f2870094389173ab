/**
 * What one attestation costs the verifier's event loop behind its transport: a full report of twenty containers and a quote over a fresh nonce, taken, appraised
 * and made durable (SQLite, synchronous=FULL). No TLS, no HTTP/2, no gRPC: those are in bench/attestations.ts.
 *
 *   node bench/session.ts [--nodes 200] [--rounds 20] [--containers 20] [--json FILE]
 *
 * Processor time of the one thread, so that other load on the machine shows less. The nodes' own work is done between the rounds and is not counted.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type AttestRequest, AttestRequestSchema, HelloSchema } from "@hullmark/proto/v1/attestation";
import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { createLogKey } from "@hullmark/verifier/adapters/log-signer/index";
import { HmacNonceSource } from "@hullmark/verifier/adapters/nonce/index";
import { prometheusMeter } from "@hullmark/verifier/adapters/prometheus/index";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/sqlite-store";
import { systemClock } from "@hullmark/verifier/adapters/system-clock/index";
import { Committer } from "@hullmark/verifier/core/fleet/committer";
import { DriftNumbers } from "@hullmark/verifier/core/fleet/drift-id";
import { Fleet } from "@hullmark/verifier/core/fleet/fleet";
import { loadedImage } from "@hullmark/verifier/core/images/reference-image";
import type { Images, ImageView } from "@hullmark/verifier/core/images/types";
import { defaultPolicy } from "@hullmark/verifier/core/policy/index";
import type { ResolvedImage } from "@hullmark/verifier/core/provenance/index";
import { type Session, Sessions } from "@hullmark/verifier/core/session/index";
import { tpmQuotes } from "@hullmark/verifier/core/session/tpm-quotes";
import { TransparencyLog } from "@hullmark/verifier/core/transparency/index";
import type { NodeRow } from "@hullmark/verifier/ports/rows";
import { STATE_ROOT } from "../deploy/testbed/paths.ts";
import { fleetLayerTrees, fleetTrees } from "./support/fleet-image.ts";
import { NodeReports, PCRS } from "./support/node-reports.ts";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "200" },
    rounds: { type: "string", default: "20" },
    containers: { type: "string", default: "20" },
    json: { type: "string" },
  },
});
const VERIFIER = { verifierId: "bench", region: "bench" };
const policy = defaultPolicy();
const TREES = fleetTrees();

/** As a node's request arrives: decoded from bytes of its own. */
function received(message: NonNullable<MessageInitShape<typeof AttestRequestSchema>["message"]>): Uint8Array {
  return toBinary(AttestRequestSchema, create(AttestRequestSchema, { message }));
}

class BenchNode {
  readonly nodeId: string;
  readonly reports: NodeReports;
  readonly spkiSha256 = Buffer.alloc(32, 7);
  session: Session | undefined;
  nonce: Uint8Array | undefined;
  acknowledged = 0n;
  policyDigest: Uint8Array = Buffer.alloc(0);

  constructor(i: number) {
    this.nodeId = `node-${i}`;
    this.reports = new NodeReports(`sim-${i}`, TREES);
  }

  async row(): Promise<NodeRow> {
    const { ekPublic, akPublic } = await this.reports.quoter.identify(new AbortController().signal);
    const { nodeId: id, reports } = this;
    return {
      ...{ id, name: reports.name, trustLevel: TrustLevel.TPM_TOFU, ekSha256: id, ekPublic, akPublic, clock: undefined, bootId: "", enrolledAtMs: Date.now() },
      ...{ revokedAtMs: undefined, revokedReason: "", verdict: Verdict.UNKNOWN, reasons: [], vector: undefined, lastSeenMs: undefined, lastQuoteMs: undefined },
      ...{ quoteRefused: undefined, chainBroken: undefined, kernel: "", runtime: "", changeSource: "", agentVersion: "", containers: 0, claims: [] },
    };
  }

  async open(sessions: Sessions): Promise<void> {
    const hello = create(HelloSchema, { protocolVersion: 1, bootId: this.reports.bootId, lastDigest: Buffer.alloc(32), chainId: Buffer.alloc(16, 1) });
    this.session = await sessions.open(this.nodeId, { spkiSha256: this.spkiSha256, certificateNotAfterMs: Date.now() + 3_600_000 }, hello, {
      send: ({ message }) => {
        if (message?.case === "welcome") this.policyDigest = message.value.policy?.digest ?? this.policyDigest;
        else if (message?.case === "challenge") this.nonce = message.value.nonce;
        else if (message?.case === "acknowledgement") this.acknowledged = message.value.seq ?? 0n;
      },
      close: (error) => {
        if (error && error.code !== "STOPPING") throw error;
      },
    });
    this.reports.measure(this.policyDigest, Number(values.containers), { reference: "registry.example/bench/web:1", configDigest: "sha256:bench" });
  }

  async answer(): Promise<Uint8Array[]> {
    const body = this.reports.next();
    const quote = await this.reports.quote(this.nonce as Uint8Array, { ...VERIFIER, nodeId: this.nodeId, spkiSha256: this.spkiSha256 });
    this.nonce = undefined;
    return [received({ case: "evidence", value: { body } }), received({ case: "quote", value: quote })];
  }
}

function imagesOf(): Images {
  const config = { diffIds: [], history: [], env: [], entrypoint: ["/bin/app"], cmd: [], user: "", workingDirectory: "", volumes: [] };
  const resolved = { configDigest: "sha256:bench", config, subjects: [] };
  const view: ImageView = {
    ...{
      key: "bench",
      image: loadedImage(resolved as unknown as ResolvedImage, fleetLayerTrees(), "docker", true),
      lookingUp: false,
      configDigest: "sha256:bench",
      manifestDigest: "",
      pinnedReference: "",
    },
    provenance: { status: "unsigned", text: "", required: false },
    teamProvenance: undefined,
    provenanceRow: { status: 1, text: "", authorities: [], sourceRepository: "", commit: "", builder: "", buildInvocation: "" },
  };
  return { view: () => view, vouches: () => true, onChange: () => () => {} };
}

async function sessionsOver({ store, log }: SqliteStore, directory: string, rows: readonly NodeRow[]): Promise<Sessions> {
  const transparency = await TransparencyLog.open(log, createLogKey(join(directory, "log.key"), "bench"));
  const fleet = new Fleet(rows);
  const commit = { upserts: [], removals: [], left: [], joined: [], notifications: [] };
  const nothing = { commit, told: [], sentAtMs: new Map(), waiting: new Map(), plannedAtMs: 0 };
  const meter = prometheusMeter("bench", {});
  const committer = new Committer(store, transparency, { plan: () => nothing, apply: () => {} }, (commit) => {
    for (const row of commit.nodes ?? []) fleet.set(row);
    if (commit.quote) fleet.quoted(commit.quote);
    meter.committed(commit);
  });
  const quotes = tpmQuotes({
    nonces: new HmacNonceSource({ regionKey: Buffer.alloc(32, 1), clock: systemClock }),
    ...VERIFIER,
    selection: [{ bank: "sha256", pcrs: PCRS }],
  });
  return new Sessions({
    ...{
      clock: systemClock,
      meter,
      losses: new Map<string, number>(),
      captures: { connect: () => () => {}, taken: () => {} },
      committer,
      quotes,
      fleet,
      store,
      policy: () => policy,
      utilisation: () => 0,
      ...VERIFIER,
    },
    ...{ images: imagesOf(), numbers: new DriftNumbers(0), pods: undefined, checkpoint: () => "", shown: () => {} },
    onProblem: (_node, _container, error) => {
      throw error;
    },
  });
}

async function acknowledgedAll(nodes: readonly BenchNode[]): Promise<void> {
  while (nodes.some((node) => node.acknowledged < node.reports.seq || (node.session?.inFlight ?? 0) > 0)) await new Promise(setImmediate);
}

/** Milliseconds of the event loop for each attestation. */
async function measured(nodes: readonly BenchNode[], rounds: number): Promise<number> {
  let spentUs = 0;
  for (let round = 0; round < rounds; round++) {
    for (const node of nodes) node.session?.challenge();
    const answers = await Promise.all(nodes.map((node) => node.answer()));
    const before = process.threadCpuUsage();
    for (const [i, node] of nodes.entries()) {
      for (const bytes of answers[i] ?? []) await node.session?.receive(fromBinary(AttestRequestSchema, bytes) as AttestRequest);
      if (i % 10 === 9) await new Promise(setImmediate);
    }
    await acknowledgedAll(nodes);
    const { user, system } = process.threadCpuUsage(before);
    spentUs += user + system;
  }
  return spentUs / 1000 / rounds / nodes.length;
}

mkdirSync(join(STATE_ROOT, "bench"), { recursive: true });
const directory = mkdtempSync(join(STATE_ROOT, "bench/session-"));
const sqlite = await openSqliteStore(join(directory, "verifier.db"));
try {
  const nodes = Array.from({ length: Number(values.nodes) }, (_, i) => new BenchNode(i));
  const rows = await Promise.all(nodes.map((node) => node.row()));
  await sqlite.store.commit({ commits: [{ nodes: rows }], log: undefined });
  const sessions = await sessionsOver(sqlite, directory, rows);
  for (const node of nodes) await node.open(sessions);
  await measured(nodes, 3);
  const ms = await measured(nodes, Number(values.rounds));
  const unvouched = nodes.filter(({ session }) => session?.live.node.verdict !== Verdict.WARNING).length;
  if (unvouched > 0) throw new Error(`${unvouched} nodes are not vouched for`);
  console.log(`  ${ms.toFixed(3)} ms of the event loop for each attestation: ${(1000 / ms).toFixed(0)}/s`);
  if (values.json) writeFileSync(values.json, JSON.stringify({ bench: "session", loopMs: ms }));
  await sessions.stop();
} finally {
  await sqlite.close();
  rmSync(directory, { recursive: true });
}
