/** The schema, as numbered steps. A step that has been released is never changed: add another. */

/** Step n brings `user_version` from n to n + 1. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE nodes (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE heads (
    node_id TEXT PRIMARY KEY, chain_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, state_root BLOB NOT NULL,
    received_ms REAL NOT NULL, node BLOB NOT NULL
  );
  CREATE TABLE containers (
    number INTEGER PRIMARY KEY, node_id TEXT NOT NULL, container_id TEXT NOT NULL,
    identity BLOB NOT NULL, configuration BLOB NOT NULL, code BLOB NOT NULL, filesystem BLOB NOT NULL,
    UNIQUE (node_id, container_id)
  );
  CREATE TABLE upper_entries (
    container INTEGER NOT NULL, path BLOB NOT NULL, record BLOB NOT NULL, inode INTEGER NOT NULL, actor TEXT, changed_ms REAL, seq INTEGER NOT NULL,
    PRIMARY KEY (container, path)
  ) WITHOUT ROWID;
  CREATE TABLE workloads (
    node_id TEXT NOT NULL, container_id TEXT NOT NULL, container_name TEXT NOT NULL, config_digest TEXT NOT NULL, verdict INTEGER NOT NULL,
    provenance INTEGER NOT NULL, reasons TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (node_id, container_id)
  ) WITHOUT ROWID;
  CREATE INDEX workloads_by_container ON workloads (container_id);
  CREATE INDEX workloads_by_name ON workloads (container_name);
  CREATE TABLE drifts (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, node_id TEXT NOT NULL, container_id TEXT NOT NULL, container_name TEXT NOT NULL,
    key TEXT NOT NULL, state INTEGER NOT NULL, body TEXT NOT NULL
  );
  -- DRIFT_STATE_RESOLVED = 3: one unresolved drift for each thing that differs.
  CREATE UNIQUE INDEX drifts_unresolved ON drifts (node_id, container_id, key) WHERE state <> 3;
  CREATE INDEX drifts_by_state ON drifts (state, number);
  CREATE TABLE log_entries (position INTEGER PRIMARY KEY, entry BLOB NOT NULL);
  CREATE TABLE log_tiles (level INTEGER NOT NULL, position INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, position));
  CREATE TABLE log_checkpoint (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, note TEXT NOT NULL);
  CREATE TABLE alerts (fingerprint TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, route TEXT NOT NULL, created_ms REAL NOT NULL, attempts INTEGER NOT NULL,
    not_before_ms REAL NOT NULL, last_error TEXT, dead INTEGER NOT NULL, body TEXT NOT NULL
  );
  CREATE INDEX outbox_due ON outbox (dead, route, not_before_ms);
  CREATE TABLE allowed_eks (ek_sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, node_id TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE join_tokens (sha256 BLOB PRIMARY KEY, node_name TEXT NOT NULL, expires_ms REAL NOT NULL) WITHOUT ROWID;
  CREATE TABLE nonces (nonce BLOB PRIMARY KEY, expires_ms REAL NOT NULL) WITHOUT ROWID;
  CREATE TABLE images (config_digest TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE reference_layers (
    chain_id TEXT NOT NULL, dialect TEXT NOT NULL, version INTEGER NOT NULL, root BLOB, code TEXT, reason TEXT, body BLOB,
    PRIMARY KEY (chain_id, dialect, version)
  );
  CREATE INDEX reference_layers_by_root ON reference_layers (root) WHERE root IS NOT NULL;
  CREATE TABLE coverage (
    node_id TEXT NOT NULL, hour_ms INTEGER NOT NULL, observed REAL NOT NULL, unattested REAL NOT NULL, PRIMARY KEY (node_id, hour_ms)
  ) WITHOUT ROWID;
  `,
  `
  CREATE TABLE boots (node_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  `,
  `
  CREATE TABLE imas (node_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  `,
  // Counted every few seconds: from the index alone, not from every row with its body.
  "CREATE INDEX workloads_by_result ON workloads (verdict, provenance);",
  `
  -- Parts of a node's row that change with every quote; gone when the whole row is written.
  CREATE TABLE node_quotes (
    node_id TEXT PRIMARY KEY, quote_ms REAL NOT NULL, resets INTEGER NOT NULL, restarts INTEGER NOT NULL, clock INTEGER NOT NULL, safe INTEGER NOT NULL
  ) WITHOUT ROWID;
  -- Removals that are remembered are few among many entries.
  CREATE INDEX upper_removed ON upper_entries (container, seq) WHERE length(record) = 0;
  `,
  `
  CREATE TABLE actions (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, node_id TEXT NOT NULL, container_id TEXT NOT NULL, state INTEGER NOT NULL,
    created_ms REAL NOT NULL, body TEXT NOT NULL
  );
  -- ACTION_STATE_AWAITING = 1, ACTION_STATE_ISSUED = 2: one a container at a time, whoever writes.
  CREATE UNIQUE INDEX actions_active ON actions (node_id, container_id) WHERE state IN (1, 2);
  CREATE INDEX actions_by_time ON actions (created_ms);
  CREATE TABLE action_pause (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL);
  `,
  "CREATE TABLE baselines (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;",
  `
  CREATE TABLE affirmed_images (
    node_id TEXT NOT NULL, service TEXT NOT NULL, config_digest TEXT NOT NULL, affirmed_ms REAL NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (node_id, service, config_digest)
  ) WITHOUT ROWID;
  `,
  "CREATE TABLE people (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;",
  `
  CREATE TABLE affirmed_revisions (
    workload TEXT NOT NULL, revision TEXT NOT NULL, container TEXT NOT NULL, affirmed_ms REAL NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (workload, revision, container)
  ) WITHOUT ROWID;
  `,
  "CREATE TABLE vulnerability_reports (image TEXT NOT NULL, source TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (image, source));",
  `
  -- Which drifts hold an alert open, in the order in which they joined; in the alert's own row there were too many to write it again with each.
  CREATE TABLE alert_members (number INTEGER PRIMARY KEY AUTOINCREMENT, drift_id TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL, body TEXT NOT NULL);
  CREATE INDEX alert_members_by_alert ON alert_members (fingerprint);
  -- Alerts that were open for a node and a workload go on under their fingerprints until they are over; the incident's is another one.
  INSERT OR IGNORE INTO alert_members (drift_id, fingerprint, body)
    SELECT id.value, fingerprint, json_object('driftId', id.value, 'node', body ->> '$.event.node', 'workload', body ->> '$.event.workload',
      'container', coalesce(body ->> '$.event.containers[0]', ''), 'acknowledged', json(iif(body ->> '$.acknowledged', 'true', 'false')))
    FROM alerts, json_each(body, '$.openDriftIds') AS id;
  UPDATE alerts SET body = json_object(
    'fingerprint', fingerprint, 'storm', json(iif(body ->> '$.event.kind' = 'many', 'true', 'false')), 'severity', body ->> '$.event.severity',
    'shown', json_object(
      'driftId', coalesce(body ->> '$.openDriftIds[0]', ''), 'incident', body ->> '$.event.incident', 'image', body ->> '$.event.image', 'state', 'open',
      'kind', iif(body ->> '$.event.kind' = 'many', 'content', body ->> '$.event.kind'), 'place', iif(body ->> '$.event.workload' = '', 'node', 'upper'),
      'severity', body ->> '$.event.severity', 'nodeName', body ->> '$.event.node', 'workload', body ->> '$.event.workload',
      'imageReference', body ->> '$.event.image', 'containerName', coalesce(body ->> '$.event.containers[0]', ''), 'path', body ->> '$.event.path',
      'summary', '', 'layerIndex', -1, 'layerHistory', '', 'provenance', '', 'sinceMs', body -> '$.event.startsAtMs', 'logIndex', -1),
    'opening', json_object('node', body ->> '$.event.node', 'workload', body ->> '$.event.workload', 'image', body ->> '$.event.image'),
    'startsAtMs', body -> '$.event.startsAtMs', 'reopened', 0, 'news', 1, 'newsAtMs', body -> '$.updatedAtMs', 'deliveredAtMs', body -> '$.updatedAtMs',
    'told', json((SELECT json_group_object(known.key, json_object('news', iif(at.value >= (body ->> '$.updatedAtMs'), 1, 0), 'atMs', at.value,
        'severities', json_array(known.value)))
      FROM json_each(body, '$.notifiedSeverity') AS known JOIN json_each(body, '$.notifiedAtMs') AS at ON at.key = known.key)))
    WHERE json_array_length(body, '$.openDriftIds') > 0;
  -- Who claims an item says so apart from when it is due: what a process held that is gone is due at once.
  ALTER TABLE outbox ADD COLUMN claimed_until_ms REAL NOT NULL DEFAULT 0;
  -- What was over and not yet told as such ends by itself at its receivers.
  DELETE FROM alerts WHERE body ->> '$.openDriftIds' IS NOT NULL;
  `,
  "CREATE INDEX workloads_by_image ON workloads (config_digest);",
  `
  -- 0 pending, 1 given up, 2 delivered: what was told is kept for a while, for people.
  ALTER TABLE outbox RENAME COLUMN dead TO state;
  ALTER TABLE outbox ADD COLUMN ended_ms REAL;
  `,
  "CREATE TABLE exceptions (number INTEGER PRIMARY KEY, body TEXT NOT NULL);",
  `
  -- What is due is told from the index alone: bodies are large, and the columns after them far to read.
  DROP INDEX outbox_due;
  CREATE INDEX outbox_order ON outbox (state, route, number, not_before_ms, claimed_until_ms);
  -- Which alerts each waiting notification tells of: no later one of the same alert may overtake it.
  CREATE TABLE outbox_alerts (number INTEGER NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (number, fingerprint)) WITHOUT ROWID;
  INSERT OR IGNORE INTO outbox_alerts SELECT number, value ->> '$.fingerprint' FROM outbox, json_each(body, '$.alerts') WHERE state = 0;
  CREATE TRIGGER outbox_waits AFTER INSERT ON outbox WHEN new.state = 0 BEGIN
    INSERT OR IGNORE INTO outbox_alerts SELECT new.number, value ->> '$.fingerprint' FROM json_each(new.body, '$.alerts');
  END;
  CREATE TRIGGER outbox_settles AFTER UPDATE OF state ON outbox WHEN new.state <> 0 BEGIN
    DELETE FROM outbox_alerts WHERE number = new.number;
  END;
  -- Notifications from before alerts were incidents'.
  UPDATE outbox SET body = json_set(body, '$.waiting', 0, '$.alerts', json((SELECT json_group_array(json_patch(json_object(
      'earlierSeverities', json_array(), 'nodes', json_array(value ->> '$.node'), 'nodeCount', 1,
      'workloads', json(iif(value ->> '$.workload' = '', '[]', json_array(value ->> '$.workload'))), 'workloadCount', iif(value ->> '$.workload' = '', 0, 1),
      'driftCount', coalesce(json_array_length(value, '$.driftIds'), 0), 'acknowledged', json('false'), 'reopened', 0), value))
    FROM json_each(body, '$.alerts'))))
    WHERE json_array_length(body, '$.alerts') > 0 AND body -> '$.alerts[0].nodes' IS NULL;
  `,
  "CREATE TABLE incidents (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;",
  `
  CREATE TABLE drill_runs (run TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE drill_schedules (drill TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  `,
  `
  -- ACTION_STATE_CAPTURING = 10 is between the two.
  DROP INDEX actions_active;
  CREATE UNIQUE INDEX actions_active ON actions (node_id, container_id) WHERE state IN (1, 2, 10);
  `,
];
