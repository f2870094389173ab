/** Composition: every part of the verifier made and joined, started, and stopped in reverse. No decisions here. */
import { randomBytes, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { dieAt, splitHostPort, VERSION } from "@hullmark/daemon";
import type { CallContext, RpcError } from "@hullmark/proto/rpc";
import type { Logger } from "pino";
import { heartbeatFor, REFRESH_INTERVAL_MS } from "./adapters/alert-http/index.ts";
import { EarKeys } from "./adapters/ear-keys/index.ts";
import { KubernetesTokenReviewer } from "./adapters/kubernetes/index.ts";
import { HmacNonceSource, loadRegionKey } from "./adapters/nonce/index.ts";
import { HttpRevocationAnswers, NotaryProjectVerifier } from "./adapters/notary/index.ts";
import {
  CachingRegistry,
  defaultDockerConfigPath,
  dockerConfigCredentials,
  ListedRegistries,
  MirroringRegistry,
  OciRegistry,
  outside,
} from "./adapters/oci-registry/index.ts";
import { countLookups, countRequests, type PrometheusMeter, prometheusMeter } from "./adapters/prometheus/index.ts";
import { ReplayThread } from "./adapters/replay-thread/index.ts";
import { SigstoreVerifier } from "./adapters/sigstore/index.ts";
import { openSqliteStore, type SqliteStore } from "./adapters/sqlite/index.ts";
import { X509Ca } from "./adapters/x509-ca/index.ts";
import { admissionServer } from "./admission.ts";
import { AlertRoutes } from "./alert-routes.ts";
import type { ProcedureServices } from "./api/dashboard/procedures.ts";
import { identifier, listen, ReachedScans, type RunningServer, type TlsMaterial } from "./api/grpc/index.ts";
import { buildHttpServer } from "./api/http/server.ts";
import { clusterOf, followingPolicy, podClaims, podsOf, policyFilesOf, publishing, publishingWebhook } from "./cluster.ts";
import { tellingPods } from "./cluster-events.ts";
import { excepting } from "./cluster-exceptions.ts";
import { podTargets } from "./cluster-pods.ts";
import { reporting } from "./cluster-reports.ts";
import { keptTeams, tightening } from "./cluster-teams.ts";
import type { VerifierConfig } from "./config.ts";
import { ALERT_FAILPOINTS, AlertBook, HandledAlerts } from "./core/alerting/index.ts";
import { MAX_FINDINGS } from "./core/appraisal/index.ts";
import { DriftDiffs } from "./core/contents/drift-diffs.ts";
import { ReplicaVariables } from "./core/contents/replica-variables.ts";
import { Drills } from "./core/drill/drills.ts";
import { isAlarming } from "./core/drill/standing.ts";
import { readMakerTrust } from "./core/endorsement/index.ts";
import { nodeIdOfEk } from "./core/enrolment/decide.ts";
import { EnrolmentService } from "./core/enrolment/index.ts";
import { Administration } from "./core/fleet/administration.ts";
import { alertPlanner } from "./core/fleet/alert-planner.ts";
import { markAlerted, markAlertedBefore } from "./core/fleet/alerts.ts";
import { Baselines } from "./core/fleet/baselines.ts";
import { isAttested, members, outboxClaims } from "./core/fleet/census.ts";
import { Committer } from "./core/fleet/committer.ts";
import { Deliveries } from "./core/fleet/deliveries.ts";
import { DriftNumbers } from "./core/fleet/drift-id.ts";
import { type DutyFindings, startDuties } from "./core/fleet/duties.ts";
import { enrolmentRecords } from "./core/fleet/enrolment-records.ts";
import { EventBus } from "./core/fleet/events.ts";
import { Exceptions } from "./core/fleet/exceptions.ts";
import { Fleet } from "./core/fleet/fleet.ts";
import { Health } from "./core/fleet/health.ts";
import { startHeartbeats } from "./core/fleet/heartbeats.ts";
import { HistoryKeeper } from "./core/fleet/history-keeper.ts";
import { entry } from "./core/fleet/log-facts.ts";
import { PolicyHolder } from "./core/fleet/policy-holder.ts";
import { ImageService, type ImageServices } from "./core/images/image-service.ts";
import { LayerLibrary } from "./core/images/layer-library.ts";
import { DecidedIncidents, IncidentDecisions } from "./core/incident/decisions.ts";
import { IncidentBook } from "./core/incident/incident-book.ts";
import { OwnKeys } from "./core/keys/own-keys.ts";
import { type Credential, People } from "./core/people/people.ts";
import type { Told } from "./core/pods/index.ts";
import { agentName, CAPTURING_FAILPOINTS, CaptureTransfers, RESPONSE_FAILPOINTS, ResponseEngine } from "./core/response/index.ts";
import { Sessions, simulatePolicy } from "./core/session/index.ts";
import { askStopped } from "./core/session/stopped-containers.ts";
import { tpmQuotes } from "./core/session/tpm-quotes.ts";
import { type HistoryServices, simulateSince } from "./core/simulation/index.ts";
import { HistoryWatch, TransparencyLog } from "./core/transparency/index.ts";
import { parseVerifierKey } from "./core/transparency/note.ts";
import { runningImage, VulnerabilityAlarms, VulnerabilityOverview, VulnerabilityReports } from "./core/vulnerabilities/index.ts";
import { dashboardDoorway, dashboardServer, type RunningDashboard } from "./dashboard.ts";
import { earlierImages } from "./earlier-images.ts";
import { layerChains } from "./layer-chains.ts";
import { reachListeners } from "./listeners.ts";
import { OwnFiles } from "./own-files.ts";
import { caKey, earKey, keyToken, nonceKey, noteKey } from "./own-keys.ts";
import { bearersOf, identitiesOf, signInOf, signInRefusals, sourcesOf, tokenRefusals } from "./people.ts";
import { policySource } from "./policy-source.ts";
import type { Clock } from "./ports/clock.ts";
import type { Heartbeat } from "./ports/heartbeat.ts";
import type { Registry } from "./ports/registry.ts";
import type { DriftRow } from "./ports/rows.ts";
import {
  type AdminFiles,
  acceptedHistory,
  intentKeys,
  isCertificateDue,
  logKeys,
  makeStateDirectory,
  publishedFiles,
  publishedRoles,
  serverCertificate,
  writeActuatorFiles,
  writeAdminFiles,
} from "./state-files.ts";

/** A year: its host's root asked for it once, and revoking the node ends it. */
const ACTUATOR_CERTIFICATE_MS = 365 * 86_400_000;

export interface VerifierOptions {
  readonly config: VerifierConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where the dashboard's files are; default: beside the program. */
  readonly dashboardDirectory?: string;
}

export interface RunningVerifier {
  readonly mainPort: number;
  readonly enrolmentPort: number;
  /** For people with tokens; undefined: nobody comes with any. */
  readonly peoplePort: number | undefined;
  readonly httpPort: number;
  /** undefined: admission is not configured. */
  readonly admissionPort: number | undefined;
  /** undefined: there is no dashboard. */
  readonly dashboardPort: number | undefined;
  /** Takes no more work, makes durable what was taken, closes everything. */
  stop(): Promise<void>;
}

/** Starts everything; on failure what was started is stopped again. @throws StoreError, CertificateAuthorityError, SignerError, ConfigError; the system's errors */
export async function startVerifier(options: VerifierOptions): Promise<RunningVerifier> {
  const stack = new AsyncDisposableStack();
  try {
    const running = await start(options, stack);
    const disposal = stack.move();
    return { ...running, stop: () => disposal.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function start(
  { config, clock, logger, environment, dashboardDirectory }: VerifierOptions,
  stack: AsyncDisposableStack,
): Promise<Omit<RunningVerifier, "stop">> {
  const nowMs = (): number => clock.nowMs();
  const heartbeats = heartbeatsOf({ config, environment });
  makeStateDirectory(config.stateDirectory);
  const token = keyToken(config, environment, logger);
  if (token) stack.defer(() => token.close());
  const authority = await X509Ca.open({ stateDir: join(config.stateDirectory, "ca"), region: config.region, clock, token });
  const regionKeyFile = join(config.stateDirectory, "region.key");
  const nonces = new HmacNonceSource({ regionKey: await loadRegionKey(regionKeyFile, token), clock });
  const signers = await logKeys(config, token);
  const ear = await EarKeys.open({ directory: join(config.stateDirectory, "ear-keys"), keyDays: config.ear.keyDays, clock, token });
  let certificate = await serverCertificate(authority, config.advertisedNames);
  const certificateEnds = () => ({ server: certificate.notAfterMs, ca: Date.parse(new X509Certificate(authority.rootPem).validTo) });
  const meter = prometheusMeter(VERSION, certificateEnds());
  const sqlite = await openSqliteStore(join(config.stateDirectory, "verifier.db"));
  stack.defer(() => sqlite.close());
  const log = await TransparencyLog.open(sqlite.log, signers);
  const fleet = new Fleet(await sqlite.store.readNodes());
  const events = new EventBus();
  const decided = new DecidedIncidents(await sqlite.store.readIncidents(), events);
  const excusedAtMs = (id: string) => exceptions.approvedAtMs(id);
  const incidents = new IncidentBook({ store: sqlite.store, events, nowMs, decided: decided.of, excusedAtMs });
  const book = new AlertBook(await sqlite.outbox.readAlerts(), decided.of);
  const policies = new PolicyHolder(policySource(policyFilesOf(config), logger, config.kubernetes?.policy));
  await keptTeams(config, policies);

  const acts = () => policies.current.mode === "enforce" && policies.current.response.rules.length > 0;
  const handled = new HandledAlerts({ clock, book, acts });
  await handled.follow(sqlite.store, events);
  let deliveries: Deliveries | undefined;
  const passing = dieAt([...RESPONSE_FAILPOINTS, ...CAPTURING_FAILPOINTS, ...ALERT_FAILPOINTS], environment);
  const noMark = (error: unknown): void => logger.warn({ err: error }, "alert time not recorded");
  const planner = alertPlanner({
    ...{ book, nowMs, passing, handled, routes: () => policies.current.alerts },
    onDue: () => deliveries?.wake(),
    onTold: (driftIds, atMs) => void markAlerted(driftIds, atMs, sqlite.store, sessions).catch(noMark),
  });
  const committer = new Committer(sqlite.store, log, planner, (commit) => {
    for (const row of commit.nodes ?? []) fleet.set(row);
    if (commit.quote) fleet.quoted(commit.quote);
    events.publish(commit);
    meter.committed(commit);
  });
  stack.defer(() => committer.drain());
  const identities = identitiesOf(config);
  const { samePerson } = identities;
  const baselines = await Baselines.open({ store: sqlite.store, fleet, committer, policies, samePerson, nowMs });
  const exceptions: Exceptions = await Exceptions.open({ store: sqlite.store, committer, policies, samePerson, nowMs });
  const incidentDecisions = new IncidentDecisions({ committer, incidents, decided, nowMs });
  const drills = await Drills.open({ store: sqlite.store, committer, verifierId: config.verifierId, nowMs });
  const registry = registryOf({ config, environment }, meter);
  const revocations = new HttpRevocationAnswers({ nowMs, reach: reachOf(config) });
  const verifiers = { sigstore: new SigstoreVerifier(), notary: new NotaryProjectVerifier(revocations) };
  const vulnerabilities = await VulnerabilityReports.open({
    ...{ store: sqlite.store, committer, nowMs },
    images: () => images.rows(),
    changed: () => {
      images.reportsChanged();
      void response.reconsider().catch((error: unknown) => logger.error({ err: error }, "what is held back could not be looked at again"));
    },
  });
  const imported = (digests: readonly string[]) => vulnerabilities.counting(digests);
  const images = await imageService({ registry, verifiers, revocations, imported, clock, logger }, sqlite, policies, committer, stack);
  const vulnerabilityOverview = new VulnerabilityOverview({
    ...{ reports: vulnerabilities, images: () => images.rows(), attested: (digest) => images.reportsOf(digest) },
    ...{ policy: () => policies.current, nowMs },
  });
  const vulnerabilityAlarms = new VulnerabilityAlarms({
    ...{ overview: vulnerabilityOverview, book, store: sqlite.store, committer, policy: () => policies.current },
    ...{ isLookingUp: (digest: string) => images.isLookingUp(digest), nowMs },
  });
  const selection = config.enrolment.pcrBanks.map((bank) => ({ bank, pcrs: config.enrolment.pcrs }));
  const quotes = tpmQuotes({ nonces, verifierId: config.verifierId, region: config.region, selection });
  const numbers = new DriftNumbers(await sqlite.store.readLastDriftNumber());
  const accepted = acceptedHistory(config);
  const history = new HistoryKeeper({
    ...{ watch: new HistoryWatch(log, accepted.read()), committer, nowMs },
    remember: (size) => accepted.write(size),
    onContradiction: (fact) => logger.error(fact, "the log lost or changed entries that an agent remembers: an older or another database was restored"),
    onProblem: (nodeId, error) => logger.error({ nodeId, err: error }, "an agent's checkpoint could not be held against the log"),
  });
  const api = clusterOf(config, environment);
  const pods = podsOf(api, config, clock, logger, (result) => meter.series.configMapReads.inc({ result }));
  const sessions = new Sessions({
    ...{
      clock,
      meter,
      losses: new Map<string, number>(),
      committer,
      quotes,
      images,
      pods,
      numbers,
      fleet,
      store: sqlite.store,
      policy: () => policies.current,
      utilisation: loopUtilisation(),
      checkpoint: () => log.newest?.note ?? "",
      shown: (nodeId, note) => history.shown(nodeId, note),
      captures: {
        connect: (nodeId, stream) => {
          const ends = [
            response.connectCapturing(nodeId, (asked) => stream.ask(asked)),
            captureTransfers.listen(agentName(nodeId), (wanted) => stream.want(wanted)),
          ];
          return () => ends.forEach((end) => void end());
        },
        taken: (nodeId, answer) => {
          void response.captured(nodeId, answer).catch((error: unknown) => logger.error({ nodeId, err: error }, "what a node captured could not be stored"));
        },
      },
    },
    ...{ verifierId: config.verifierId, region: config.region },
    onProblem: (nodeId, container, error) => logger.error({ nodeId, container, err: error }, "a container could not be appraised"),
  });
  const simulation = {
    ...{ sessions: () => sessions.all(), policy: () => policies.current, images, nowMs },
    pause: () => new Promise<void>((resolve) => setImmediate(resolve)),
    onProblem: (nodeId: string, container: string, error: unknown) =>
      logger.error({ nodeId, container, err: error }, "a container could not be judged under another policy"),
  };
  const earlier = { sessions, store: sqlite.store, pods: pods?.view, vulnerabilities: vulnerabilityOverview };
  const past: HistoryServices = {
    ...{ store: sqlite.store, nowMs, pause: simulation.pause, inForce: () => policies.current },
    log: () => ({ reader: sqlite.log, size: log.size }),
    simulate: (policy, signal) => simulatePolicy(policy, simulation, signal, MAX_FINDINGS),
    rollbacks: async (policy, signal) => earlierImages({ ...earlier, images: await images.under(policy, signal) }),
    nodeVerdict: (nodeId) => (sessions.get(nodeId)?.live.node ?? fleet.get(nodeId))?.verdict,
    paused: () => response.pause !== undefined,
  };
  const intents = await intentKeys(config, token);
  const identityOf = (nodeId: string, containerId: string) => sessions.get(nodeId)?.live.memory.containers.get(containerId)?.identity;
  const response = await ResponseEngine.open({
    ...{ store: sqlite.store, committer, nowMs, verifierId: config.verifierId, region: config.region },
    ...{ policy: () => policies.current, samePerson },
    revokedSince: (by, atMs) => people.revokedSince(atMs).some((name) => samePerson(name, by)),
    node: (nodeId) => sessions.get(nodeId)?.live.node ?? fleet.get(nodeId),
    nodes: () => fleet.all().map((row) => sessions.get(row.id)?.live.node ?? row),
    rollback: earlierImages({ ...earlier, images }),
    layerChains: layerChains(sqlite.store),
    cluster: config.kubernetes?.cluster,
    pod: podTargets(config, identityOf, pods?.view),
    intentKeys: () => intents.signing,
    random: (bytes) => randomBytes(bytes),
    onProblem: (error) => logger.error({ err: error }, "an action could not be decided, stored or handed out"),
    passing,
  });
  stack.defer(() => response.stop());
  const captureTransfers = new CaptureTransfers({ clock, random: (bytes) => randomBytes(bytes) });
  const subscriptions = [
    events.on("workload", ({ nodeId, containerId }) => response.touched(nodeId, containerId)),
    events.on("workloadRemoved", ({ nodeId, containerId }) => response.removed(nodeId, containerId)),
    events.on("node", ({ id, revokedAtMs }) => {
      if (revokedAtMs !== undefined) response.disconnectNode(id);
      response.touched(id, "");
    }),
    events.on("drift", ({ nodeId, containerId }) => response.touched(nodeId, containerId)),
  ];
  stack.defer(() => subscriptions.forEach((end) => void end()));
  // A key changes only once all that must be told of it is there.
  const running = Promise.withResolvers<void>();
  let dashboard: RunningDashboard | undefined;
  const people = await People.open({
    ...{ store: sqlite.store, committer, nowMs, ownNames: ["admin", "responder", "viewer"] },
    certify: (role, name, spki, lifetimeMs, namespaces) => authority.issueOperator(role, name, spki, lifetimeMs, namespaces),
    revoked: async (name) => {
      server.endRefused();
      dashboard?.endRefused();
      if ((publishedRoles(config) as readonly string[]).includes(name))
        await filesChanged().catch((error: unknown) => logger.error({ err: error }, "a certificate that was revoked could not be made anew"));
    },
  });
  let stopPublishing = (): void => {};
  /** What the command and agents pin. */
  const ownFiles = new OwnFiles({
    nowMs,
    write: async () => {
      const ofPeople = await writeAdminFiles(config, authority, people, addresses(), nowMs());
      return (await writeActuatorFiles(config, authority, intents, nowMs())) || ofPeople;
    },
    publish: () => {
      stopPublishing();
      if (api) stopPublishing = publishing(api, config, (role) => publishedFiles(config, addresses(), role), clock, logger);
    },
  });
  const filesChanged = () => ownFiles.changed();
  const ownKeys = [
    caKey(authority, certifyAnew),
    noteKey("log", signers, filesChanged),
    earKey(ear),
    nonceKey(regionKeyFile, nonces, token),
    noteKey("intent", intents, filesChanged),
  ];
  const keys = new OwnKeys({
    ...{ keys: ownKeys, committer, nowMs, ready: running.promise },
    overlapDays: config.keys.overlapDays,
    wasTaken: (name) => token?.wasTaken(name) ?? false,
    // It gives way by itself at its age.
    maxAgeDays: { ...config.keys.maxAgeDays, ear: config.ear.keyDays + 1 },
    changed: async (name, how) => {
      if (name === "ca" && how === "retired") {
        server.reconnect();
        dashboard?.endRefused();
      }
      if (name === "intent" && how === "retired") response.disconnect();
      // By those that sign now. Where it fails, the duty does it a second later.
      if (name === "log") await log.publish().catch(() => undefined);
    },
  });
  const diffs = new DriftDiffs({
    ...{ store: sqlite.store, committer, nowMs, session: (nodeId: string) => sessions.get(nodeId) },
    original: (configDigest, file, maxBytes, signal) => images.original(configDigest, file, maxBytes, signal),
  });
  const administration = new Administration({ store: sqlite.store, fleet, committer, sessions, nowMs });

  await committer.submit({
    entries: [
      entry("start", nowMs(), { verifier: config.verifierId, region: config.region, version: VERSION, keys: keys.inUse() }),
      ...policies.facts(nowMs()),
    ],
    build: () => ({
      allowedEks: config.enrolment.allow.map(({ ekSha256, certificateSha256 = "", name }) => ({
        ...{ ekSha256: ekSha256 ?? certificateSha256, name, nodeId: ekSha256 === undefined ? "" : nodeIdOfEk(ekSha256) },
      })),
    }),
  });

  deliveries = new Deliveries({
    ...{
      clock,
      outbox: sqlite.outbox,
      book,
      handledVersion: () => handled.version,
      passing,
      random: () => randomBytes(4).readUInt32BE() / 2 ** 32,
      refreshMs: REFRESH_INTERVAL_MS,
    },
    onDelivered: async ({ alerts }) => {
      meter.series.delivered.inc();
      const deliveredAlerts = alerts.filter(({ status }) => status === "firing").map(({ fingerprint }) => fingerprint);
      if (deliveredAlerts.length > 0) await committer.submit({ entries: [], build: () => ({}), deliveredAlerts });
    },
    onRound: (type, { delivered, retried, buried }) => {
      for (const [result, count] of Object.entries({ delivered, failed: retried, "given-up": buried }))
        if (count > 0) meter.series.deliveries.inc({ type, result }, count);
    },
    onProblem: (route, error) => logger.error({ route, err: error }, "the outbox could not be emptied"),
  });
  const sending = deliveries;
  const alertRoutes = new AlertRoutes({ config, environment, logger, nowMs, deliveries, book, handled, routes: () => policies.current.alerts });
  alertRoutes.use();
  void markAlertedBefore(book, nowMs(), sqlite.store, sessions).catch(noMark);
  stack.defer(() => sending.stop());
  policies.onChange(async (facts) => {
    alertRoutes.use();
    images.policyChanged();
    sessions.policyChanged();
    await committer.submit({ entries: facts(nowMs()), build: () => ({}) });
    await response.reconsider();
  });
  stack.use(policies.watch(logger));

  const enrolment = new EnrolmentService({
    ...{ nonces, authority, clock, verifierId: config.verifierId, region: config.region },
    records: enrolmentRecords({ fleet, store: sqlite.store, committer, nowMs, sessions }),
    policy: config.enrolment,
    withheld: (nodeId) => response.withholds(nodeId),
    serviceAccounts: api && config.kubernetes?.join && { rule: config.kubernetes.join, reviewer: new KubernetesTokenReviewer(api) },
    trust: readMakerTrust(config.enrolment.makerRootFiles.flatMap((file) => certificatesIn(readFileSync(file)))),
    selection,
    beginsPerSecond: config.enrolment.perSecond,
    certificateLifetimeMs: config.enrolment.certificateMinutes * 60_000,
  });
  const access = {
    identify: identifier(config.region),
    nowMs,
    personMay: (name: string, shown: Credential) => people.counts(name, shown),
    subjectOf: identities.subjectOf,
    nodeMayAttest: (id: string) => {
      const row = fleet.get(id);
      return row !== undefined && row.revokedAtMs === undefined;
    },
    cluster: config.kubernetes?.cluster,
  };
  // It listens first and is ready last: where somebody has its port and says "ready" there, nobody finds the others listening and believes it.
  const health = new Health(nowMs());
  // What is written for whoever waits for readiness has the ports in it.
  let started = false;
  const readiness = () => {
    const { ready, components } = health.readiness(config.policyFile === undefined || policies.current.loaded, nowMs());
    return { ready: ready && started, components };
  };
  const http = buildHttpServer({ log: sqlite.log, metrics: meter.registry, readiness, jwks: () => ear.jwks() });
  stack.defer(() => http.close());
  const [httpHost, httpPortWanted] = splitHostPort(config.listen.http);
  await http.listen({ host: httpHost, port: httpPortWanted });
  const httpPort = (http.server.address() as { port: number }).port;
  const findings: DutyFindings = { census: undefined, checkpoint: { size: (await log.publish()).size, atMs: nowMs() }, logVerifiedMs: nowMs() };
  const bearers = bearersOf(config, identities, api, nowMs);
  const door = dashboardDoorway(config, clock);
  const notSignedIn = signInRefusals(logger, nowMs);
  const procedures = rpcServices();
  const server = await serve();
  stack.defer(() => server.stop(config.drainSeconds * 1000));
  // Streams end first, so that stopping the listeners need not wait for them.
  stack.defer(() => sessions.stop());
  stack.defer(() => response.disconnect());
  const admission = await admissionServer(
    { config, clock, logger, registry, verifiers, revocations, imported, meter, policies, committer, book, certificate },
    stack,
  );
  const admissionPort = admission?.port;
  dashboard = await dashboardServer(
    {
      ...procedures,
      config,
      clock,
      logger,
      access,
      hasIssued: (certificate) => authority.hasIssued(certificate),
      signIn: signInOf(config, identities, nowMs),
      events,
      door,
      certificate,
      directory: dashboardDirectory,
      onError: (error, context) => logRefusal(logger, error, context),
      onSignInResult: (fact) => {
        meter.series.signIns.inc({ result: fact.result });
        if (fact.result !== "signed-in") notSignedIn(fact);
      },
    },
    stack,
  );
  const dashboardPort = dashboard?.port;
  stack.defer(
    startDuties(
      {
        ...{ clock, sessions, fleet, committer, log, meter, health, store: sqlite.store, outbox: sqlite.outbox },
        reachListeners: () =>
          reachListeners([
            [config.listen.main, server.mainPort],
            [config.listen.enrolment, server.enrolmentPort],
            [config.listen.http, httpPort],
            ...(config.people && server.peoplePort !== undefined ? [[config.people.listen, server.peoplePort] as const] : []),
            ...(config.admission && admissionPort !== undefined ? [[config.admission.listen, admissionPort] as const] : []),
            ...(config.dashboard && dashboardPort !== undefined ? [[config.dashboard.listen, dashboardPort] as const] : []),
          ]),
        rotateEarKeys: () => ear.rotate(),
        renewCertificates,
        response: () => response.tick(),
        exceptions: () => exceptions.tick(),
        drills: () => drills.tick(),
        vulnerabilities: () => vulnerabilityAlarms.tick(),
        baselines: () => baselines.tick(),
        onProblem: (duty, error) => logger.error({ duty, err: error }, "a duty failed"),
      },
      findings,
    ),
  );
  meter.observe(() => ({
    ...sessions.load(),
    census: findings.census,
    readiness: readiness(),
    imageStates: images.rows().map(({ state }) => state),
    queuedDrafts: committer.queued,
    log: {
      entries: log.size,
      checkpoint: findings.checkpoint.size,
      checkpointMs: findings.checkpoint.atMs,
      verifiedMs: findings.logVerifiedMs,
      contradicted: history.contradicted,
    },
    policy: { loaded: policies.current.loaded, problems: policies.problems },
    response: { actuators: response.listening, held: response.held() },
    baselinesToReview: baselines.toReview.length,
    connections: server.connections(),
    drills: drills.standings().map(({ drill, state, lastPassedMs }) => ({ drill, alarming: isAlarming({ state }), lastPassedMs })),
    vulnerabilities: vulnerabilityAlarms.standing?.counts,
    keys: keys.rows(),
  }));
  await response.reconsider();
  await ownFiles.write();
  started = true;
  const onSilent = (heartbeat: string, error: unknown): void => logger.warn({ heartbeat, err: error }, "a heartbeat was not taken, or withheld: not ready");
  stack.defer(startHeartbeats(heartbeats, { clock, onSilent, ready: () => readiness().ready }));
  if (pods) {
    const stopFollowing = new AbortController();
    const following = pods.view.run(stopFollowing.signal);
    stack.defer(async () => {
      stopFollowing.abort();
      await following;
    });
  }
  const podOf = ({ nodeId, containerId }: DriftRow) => identityOf(nodeId, containerId)?.pod;
  if (api) stack.defer(tellingPods(api, config, { events, podOf, clock, logger }));
  const reportServices = { events, store: sqlite.store, nodes: () => fleet.all(), policy: () => policies.current.name, clock, logger };
  if (api) stack.defer(reporting(api, config, reportServices));
  stack.defer(excepting(api, config, { policies, committer, book, clock, logger }));
  if (api) stack.defer(tightening(api, config, { policies, clock, logger }));
  if (api) stack.defer(followingPolicy(api, config, clock, logger));
  ownFiles.publish();
  stack.defer(() => stopPublishing());
  running.resolve();
  if (api && admissionPort !== undefined) stack.defer(publishingWebhook(api, config, () => authority.trustedPem, clock, logger));
  const { mainPort, enrolmentPort, peoplePort } = server;
  return { mainPort, enrolmentPort, peoplePort, httpPort, admissionPort, dashboardPort };

  /** Of connected nodes that are believed; as of now. */
  function toldBy(): (nodeName: string) => Told {
    const ids = new Map(members(fleet).map(({ id, name }) => [name, id]));
    return (nodeName) => {
      const id = ids.get(nodeName);
      if (id === undefined) return undefined;
      const live = sessions.get(id)?.live;
      return live && isAttested(live.node.verdict) ? live.memory.containers : "away";
    };
  }

  /** Nobody who runs a verifier for years need start it for that. */
  async function renewCertificates(): Promise<void> {
    if (isCertificateDue(certificate.notAfterMs, authority.rootPem, nowMs())) {
      await certifyAnew();
      logger.info("the certificate of the listeners was made anew");
    } else await ownFiles.look();
  }

  /** What shows certificates, or pins the CA's. Agents learn the roots with their next certificate; everybody else by what is written here. */
  async function certifyAnew(): Promise<void> {
    certificate = await serverCertificate(authority, config.advertisedNames);
    for (const [name, endsMs] of Object.entries(certificateEnds())) meter.series.certificateExpiry.set({ certificate: name }, endsMs / 1000);
    server.changeTls(tls());
    admission?.changeCertificate(certificate);
    dashboard?.changeCertificate(certificate);
    await filesChanged();
  }

  function addresses(): AdminFiles {
    return { mainPort: server.mainPort, httpPort, logVerifierKeys: logVerifierKeys() };
  }

  /** One a line, the one in use first. */
  function logVerifierKeys(): string {
    return signers.signing.map(({ verifierKey }) => `${verifierKey}\n`).join("");
  }

  function tls(): TlsMaterial {
    return { trusted: Buffer.from(authority.trustedPem), certificateChain: certificate.chainPem, privateKey: certificate.privateKeyPem };
  }

  /** What people ask, by gRPC or from a browser. */
  function rpcServices(): ProcedureServices {
    const currentNode = (row: Parameters<Fleet["set"]>[0]) => sessions.get(row.id)?.live.node ?? row;
    return {
      query: {
        ...{
          ...access,
          store: sqlite.store,
          fleet,
          events,
          currentNode,
          labels: (nodeId, containerId) => identityOf(nodeId, containerId)?.labels,
          configuration: (nodeId, containerId) => {
            const state = sessions.get(nodeId)?.live.memory.containers.get(containerId);
            return state && { of: state.configuration, inPod: state.identity.pod !== undefined };
          },
          incidents,
          scans: new ReachedScans(sqlite.store, nowMs),
          decided,
          logReader: sqlite.log,
          marks: () => response.standing(),
          withheld: (nodeId) => response.withholds(nodeId),
          affected: (nodeId, signal) => response.affected(nodeId, (images) => askStopped(sessions.get(nodeId), () => images.map(runningImage), signal)),
          version: VERSION,
          startedAtMs: nowMs(),
        },
        ...{ verifierId: config.verifierId, region: config.region },
        images: () => images.rows(),
        policy: () => policies.current,
        composed: (given) => policies.composed(given),
        simulate: (policy, signal) => simulatePolicy(policy, simulation, signal),
        simulateHistory: (policy, sinceMs, onProgress, signal) => simulateSince(policy, sinceMs, past, onProgress, signal),
        ear,
        log: () => ({ size: log.size, root: log.root() }),
        vulnerabilities: vulnerabilityOverview,
        vulnerabilityStanding: () => vulnerabilityAlarms.standing,
        actuators: () => response.listening,
        variables: new ReplicaVariables({ pods: pods?.view, sessions, random: (bytes) => randomBytes(bytes) }),
        claims: () => [
          ...history.claims,
          ...policies.claims,
          ...baselines.claims,
          ...exceptions.claims,
          ...drills.claims,
          ...response.claims,
          ...keys.claims,
          ...podClaims(pods, toldBy(), nowMs()),
          ...outboxClaims(findings.census),
        ],
        baselines: () => baselines.rows,
        exceptions: () => exceptions.rows,
        drills,
        keys,
        people,
        notifications: (filter, limit) => sqlite.outbox.list(filter, limit),
        routeWorks: (route) => alertRoutes.works(route),
        caCertificates: () => authority.trustedPem,
        logVerifierKeys,
      },
      admin: {
        ...access,
        administration,
        readDrift: (id) => sqlite.store.readDrift(id),
        random: (bytes) => randomBytes(bytes),
        reloadPolicy: () => policies.reload(),
        refreshImage: (image) => images.refresh(image),
        ...{ baselines, exceptions, diffs, vulnerabilities, incidentDecisions, drills },
        acceptHistory: (by, reason) => history.accept(by, reason),
        testAlert: (test, signal) => alertRoutes.test(test, signal),
        retryNotification: async (id) => {
          const dead = await sqlite.outbox.readDead(id);
          if (dead) await committer.submit({ entries: [], build: () => ({}), deadLetters: [dead] });
          const due = dead !== undefined || (await sqlite.outbox.revive(id, nowMs()));
          if (due) sending.wake();
          return due;
        },
        openDashboard: door.open,
        findNode: (node: string) => fleet.find(node),
        issueActuator: (nodeId, publicKey) => authority.issueActuator(nodeId, publicKey, ACTUATOR_CERTIFICATE_MS),
        issueClusterActuator: (cluster, publicKey) => authority.issueClusterActuator(cluster, publicKey, ACTUATOR_CERTIFICATE_MS),
        caCertificates: () => authority.trustedPem,
        keys,
        people,
        sources: sourcesOf(config),
        intentKeys: () => intents.signing.map(({ verifierKey }) => parseVerifierKey(verifierKey).publicKey.export({ type: "spki", format: "der" })),
      },
      response: {
        ...{ ...access, engine: response, store: sqlite.store, captures: captureTransfers },
        note: (action: string, fields: Readonly<Record<string, string | number | null>>) => administration.note(action, fields),
      },
    };
  }

  async function serve(): Promise<RunningServer> {
    const isTokenRefusal = tokenRefusals(logger, nowMs);
    const placeOf = (address: string): { host: string; port: number } => {
      const [host, port] = splitHostPort(address);
      return { host, port };
    };
    return await listen({
      places: { main: placeOf(config.listen.main), enrolment: placeOf(config.listen.enrolment) },
      onDropped: (listener) => meter.series.dropped.inc({ listener }),
      people: bearers && {
        ...{ ...placeOf(config.people?.listen ?? ""), bearers },
        onToken: (result) => meter.series.tokens.inc({ result }),
      },
      tls: tls(),
      access,
      attestation: { ...access, sessions, captures: captureTransfers, after: (delayMs, run) => clock.after(delayMs, run) },
      enrolment: {
        ...{ enrolment, verifierId: config.verifierId, region: config.region },
        onRefused: ({ code, reason, detail }, nodeName, peer) => {
          meter.series.enrolmentsRefused.inc({ reason });
          // Of a flood the metric tells: a line for each would be one of the log.
          if (code === "rate" || code === "rate-of-address") logger.debug({ reason, refusal: code, peer }, "an enrolment was refused");
          else logger.warn({ reason, refusal: code, detail, nodeName, peer }, "an enrolment was refused");
        },
      },
      ...procedures,
      onError: (error, context) => {
        if (!isTokenRefusal(error, context)) logRefusal(logger, error, context);
      },
    });
  }
}

function heartbeatsOf({ config, environment }: Pick<VerifierOptions, "config" | "environment">): Heartbeat[] {
  const { verifierId, region, externalUrl, alertSecretsDirectory: secretsDirectory } = config;
  const surroundings = { ...{ environment, verifierId, region, externalUrl, secretsDirectory }, readFile: (path: string) => readFileSync(path, "utf8") };
  return config.heartbeats.map((each) => heartbeatFor(each, surroundings));
}

/** What is named here at all is meant, wherever it lies. */
function reachOf({ registries: { allow, allowPrivate, plainHttp, loopbackTls, mirrors } }: VerifierConfig): ReturnType<typeof outside> {
  return outside([...allow, ...allowPrivate, ...plainHttp, ...loopbackTls, ...mirrors.map(({ host }) => host)]);
}

function registryOf({ config, environment }: Pick<VerifierOptions, "config" | "environment">, meter: PrometheusMeter): Registry {
  const { allow, plainHttp, loopbackTls, caFile, dockerConfigFile, mirrors } = config.registries;
  const network = new OciRegistry({
    reach: reachOf(config),
    plainHttpHosts: plainHttp,
    tlsHosts: loopbackTls,
    ca: caFile === undefined ? undefined : readFileSync(caFile, "utf8"),
    credentials: dockerConfigCredentials(dockerConfigFile ?? defaultDockerConfigPath(environment)),
    proxyEnv: environment,
  });
  const cached = new CachingRegistry(new MirroringRegistry(countRequests(network, meter.series), mirrors));
  return countLookups(allow.length === 0 ? cached : new ListedRegistries(cached, allow), meter.series);
}

async function imageService(
  {
    registry,
    verifiers,
    revocations,
    imported,
    clock,
    logger,
  }: Pick<VerifierOptions, "clock" | "logger"> & Pick<ImageServices, "registry" | "verifiers" | "revocations" | "imported">,
  sqlite: SqliteStore,
  policies: PolicyHolder,
  committer: Committer,
  stack: AsyncDisposableStack,
): Promise<ImageService> {
  const replayer = new ReplayThread();
  stack.defer(() => replayer.close());
  const images = new ImageService({
    registry,
    layers: new LayerLibrary({ registry, store: sqlite.references, replayer }),
    ...{ verifiers, revocations, clock, ...(imported && { imported }) },
    policy: () => policies.current,
    stored: await sqlite.store.readImages(),
    save: (row, fact) =>
      void committer
        .submit({ entries: fact ? [fact] : [], build: () => ({ images: [row] }) })
        .catch((error: unknown) => logger.error({ image: row.configDigest, err: error }, "an image could not be stored")),
    onProblem: (error) => logger.error({ err: error }, "an image could not be looked up"),
  });
  stack.defer(() => images.stop());
  return images;
}

function logRefusal(logger: Logger, error: RpcError, { requestId, path, peer }: CallContext): void {
  const facts = { requestId, path, peer, code: error.code, reason: error.detail.reason };
  if (error.code === "INTERNAL" || error.code === "UNAVAILABLE") logger.error({ ...facts, err: error.cause ?? error }, "a call failed");
  else if (error.code !== "CANCELLED") logger.info({ ...facts, detail: error.message }, "a call was refused");
}

/** Share of the time since the last call in which the event loop was busy. */
function loopUtilisation(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}

/** A file of PEM certificates, or one certificate in DER. */
function certificatesIn(content: Buffer): (string | Buffer)[] {
  const pem = content.toString("latin1").match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g);
  return pem ?? [content];
}
