/** Every series of the verifier: names, meanings, labels and buckets. docs/metrics.md explains them; a test holds both equal. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** Seconds. */
const DETECTION_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const ADMISSION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const APPRAISAL_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5];

export type Series = ReturnType<typeof declareSeries>;

/** @param collect called at each scrape, before the values of any series are read */
export function declareSeries(registry: Registry, collect: () => void) {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) => new Counter<L>({ name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]) => new Gauge<L>({ name, help, labelNames, registers });
  const histogram = (name: string, help: string, buckets: number[]) => new Histogram({ name, help, buckets, registers });
  return {
    buildInfo: gauge("hullmark_build_info", "1; the labels say which release runs on which Node.", "version", "node_version"),
    // Declared before all that `collect` sets: series are read in the order of their declaration.
    ready: new Gauge({
      name: "hullmark_component_ready",
      help: "1 where the component works, as /readyz says, else 0.",
      labelNames: ["component"],
      registers,
      collect,
    }),
    nodeObserved: counter("hullmark_node_observed_seconds_total", "Seconds that enrolled nodes were to attest, summed over nodes."),
    nodeUnattested: counter("hullmark_node_unattested_seconds_total", "Of these, seconds without a passing attestation that is fresh."),
    workloadObserved: counter("hullmark_workload_observed_seconds_total", "Seconds that containers were known, summed over containers."),
    workloadUnattested: counter("hullmark_workload_unattested_seconds_total", "Of these, seconds without a passing result."),
    nodes: gauge("hullmark_nodes", "Enrolled nodes by verdict.", "verdict"),
    connected: gauge("hullmark_nodes_connected", "Enrolled nodes whose agent has a session."),
    oldestAttestation: gauge("hullmark_oldest_attestation_timestamp_seconds", "When the node that has waited longest last passed; no sample without nodes."),
    workloads: gauge("hullmark_workloads", "Containers by verdict.", "verdict"),
    signatures: gauge("hullmark_workload_signatures", "Containers by what was found of their image's signature.", "status"),
    images: gauge("hullmark_images", "Images that containers refer to, by state of their reference values.", "state"),
    driftsOpen: gauge("hullmark_drifts_open", "Drifts that are open or acknowledged.", "severity", "kind"),
    driftsOpened: counter("hullmark_drifts_opened_total", "Drifts found.", "severity", "kind"),
    detection: histogram("hullmark_drift_detection_seconds", "From a change, by the node's clock, to its drift being durable.", DETECTION_BUCKETS),
    appraisal: histogram("hullmark_appraisal_seconds", "Time to appraise one container.", APPRAISAL_BUCKETS),
    evidence: counter("hullmark_evidence_total", "Evidence received, by what became of it.", "result"),
    quotes: counter("hullmark_quotes_total", "Quotes received: accepted, late (says nothing bad) or refused, and why.", "result", "reason"),
    enrolmentsRefused: counter("hullmark_enrolments_refused_total", "Enrolments refused, by reason.", "reason"),
    tokens: counter("hullmark_people_tokens_total", "Calls of people with tokens, by what became of the token.", "result"),
    connections: gauge("hullmark_connections", "Connections that count against the bound of their listener.", "listener"),
    dropped: counter("hullmark_connections_dropped_total", "Connections of strangers that were closed, since there were too many.", "listener"),
    signIns: counter("hullmark_dashboard_sign_ins_total", "Browsers that signed in to the dashboard at an issuer, or did not, and why.", "result"),
    commitQueue: gauge("hullmark_commit_queue_drafts", "Drafts that wait for the next transaction."),
    commitsInFlight: gauge("hullmark_session_commits_in_flight", "Commits that sessions wait for, summed over sessions."),
    outbox: gauge("hullmark_alert_outbox_notifications", "Notifications that wait to be delivered, or were given up.", "state"),
    outboxOldest: gauge("hullmark_alert_outbox_oldest_timestamp_seconds", "When the oldest waiting notification was made; no sample where none waits."),
    deliveries: counter("hullmark_alert_deliveries_total", "Attempts to deliver, by type of the route and what became of them.", "type", "result"),
    delivered: counter("hullmark_alert_notifications_delivered_total", "Notifications that a receiver took."),
    lookups: counter("hullmark_registry_lookups_total", "What was asked of registries, from the cache or not.", "object"),
    requests: counter("hullmark_registry_requests_total", "What registries were in fact asked, by how they answered.", "object", "result"),
    received: counter("hullmark_registry_received_bytes_total", "Bytes of manifests and layers that registries sent."),
    logEntries: gauge("hullmark_log_entries", "Entries of the transparency log."),
    checkpointEntries: gauge("hullmark_log_checkpoint_entries", "Entries that the newest signed checkpoint covers."),
    checkpointTime: gauge("hullmark_log_checkpoint_timestamp_seconds", "When a checkpoint was last seen to be up to date, or made so."),
    verifiedTime: gauge("hullmark_log_verified_timestamp_seconds", "When the stored log was last found to be that of its checkpoint."),
    logContradicted: gauge("hullmark_log_contradicted", "1 where an agent keeps a signed checkpoint of entries that the log lost or changed."),
    certificateExpiry: gauge("hullmark_certificate_expiry_timestamp_seconds", "When a certificate of the verifier expires.", "certificate"),
    keyDue: gauge("hullmark_key_due_timestamp_seconds", "When a key of the verifier's own should be replaced, or retired where it gave way.", "key", "state"),
    policyLoaded: gauge("hullmark_policy_loaded", "1 where a policy that was given is in force, 0 where the built-in one is."),
    policyProblems: gauge("hullmark_policy_problems", "Mistakes in the newest policy; the last good one is in force."),
    admissions: counter("hullmark_admission_requests_total", "Questions of API servers, by what came of them.", "decision"),
    admissionSeconds: histogram("hullmark_admission_seconds", "Time to answer one.", ADMISSION_BUCKETS),
    actuators: gauge("hullmark_actuators", "Hosts and clusters whose actuator listens for intents."),
    actionsHeld: gauge("hullmark_actions_held", "Containers and nodes that would be acted on, by what holds that back.", "why"),
    actions: counter("hullmark_actions_total", "Actions on containers, workloads, layers and nodes, by each state that they came to.", "kind", "state"),
    baselinesToReview: gauge("hullmark_baselines_to_review", "Approved baselines whose review date is past."),
    drillAlarm: gauge("hullmark_drill_alarm", "1 where the drill failed, never ended or did not come when it was due, else 0.", "drill"),
    drillPassed: gauge("hullmark_drill_passed_timestamp_seconds", "When the drill last passed; no sample where it never did.", "drill"),
    vulnerabilities: gauge(
      "hullmark_vulnerabilities",
      "Vulnerabilities of images that run, as reports have them: each once an image, without what a statement (VEX) excuses.",
      "severity",
    ),
    configMapReads: counter("hullmark_config_map_reads_total", "Requests to the API server for ConfigMaps that variables come from.", "result"),
    dutyFailures: counter("hullmark_duty_failures_total", "Work by the clock that failed and is tried again.", "duty"),
    spooledEvidence: gauge("hullmark_agent_spooled_evidence", "Evidence that agents hold undelivered, as their heartbeats say, summed."),
    spooledBytes: gauge("hullmark_agent_spooled_bytes", "Bytes of it, summed."),
    spooledBytesMax: gauge("hullmark_agent_spooled_bytes_max", "Bytes of it at the agent that holds most."),
    eventsLost: counter("hullmark_agent_event_losses_total", "Times that agents lost change events or reports, and measured everything again."),
  };
}
