/** Composition of the webhook: where it is configured, made, joined and started. No decisions here. */
import { readFileSync } from "node:fs";
import type { Server } from "node:https";
import { splitHostPort } from "@hullmark/daemon";
import type { Logger } from "pino";
import { buildAdmissionServer } from "./api/admission/server.ts";
import type { VerifierConfig } from "./config.ts";
import { AdmissionService, LogRecorder } from "./core/admission/index.ts";
import type { AlertBook } from "./core/alerting/index.ts";
import type { Committer } from "./core/fleet/committer.ts";
import type { PolicyHolder } from "./core/fleet/policy-holder.ts";
import type { ImportedReports } from "./core/images/image-entry.ts";
import { severityFor } from "./core/policy/match.ts";
import type { Verifiers } from "./core/provenance/index.ts";
import type { Clock } from "./ports/clock.ts";
import type { Meter } from "./ports/meter.ts";
import type { Registry } from "./ports/registry.ts";
import type { RevocationAnswers } from "./ports/revocation-answers.ts";
import type { KeyAndChain } from "./state-files.ts";

interface Parts {
  readonly config: VerifierConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly verifiers: Verifiers;
  readonly revocations: RevocationAnswers;
  readonly imported: ImportedReports;
  readonly meter: Meter;
  readonly policies: PolicyHolder;
  readonly committer: Committer;
  readonly book: AlertBook;
  readonly certificate: KeyAndChain;
}

export interface RunningAdmission {
  readonly port: number;
  /** New connections meet this certificate. */
  changeCertificate(certificate: KeyAndChain): void;
}

/** @param stack what is started is stopped with it @returns undefined where admission is not configured */
export async function admissionServer(parts: Parts, stack: AsyncDisposableStack): Promise<RunningAdmission | undefined> {
  const { config, clock, logger, registry, verifiers, revocations, imported, meter, policies, committer, book, certificate } = parts;
  if (!config.admission) return undefined;
  const onProblem = (error: unknown): void => logger.error({ err: error }, "an admission could not be recorded");
  const recorder = new LogRecorder({
    ...{ clock, onProblem, cluster: config.verifierId },
    submit: (draft) => committer.submit(draft),
    severity: () => severityFor(policies.current, undefined, "image", "break-glass") ?? "high",
    openIds: book.heldIds(),
  });
  stack.defer(() => recorder.stop());
  const { exemptNamespaces, clientCaFile, listen } = config.admission;
  const service = new AdmissionService({
    registry,
    verifiers,
    revocations,
    imported,
    clock,
    meter,
    recorder,
    exemptNamespaces,
    onProblem,
    policy: () => policies.current,
  });
  const clientCa = clientCaFile === undefined ? undefined : readFileSync(clientCaFile, "utf8");
  const server = buildAdmissionServer({
    ...{ service, certificateChain: certificate.chainPem, privateKey: certificate.privateKeyPem, clientCa },
    onError: (error) => logger.error({ err: error }, "a question of the API server could not be answered"),
  });
  stack.defer(() => server.close());
  // Who still waits for a registry is answered first, or closing would wait with them.
  stack.defer(() => service.stop());
  const [host, port] = splitHostPort(listen);
  await server.listen({ host, port });
  const https = server.server as Server;
  return {
    port: (https.address() as { port: number }).port,
    changeCertificate: ({ chainPem, privateKeyPem }) =>
      https.setSecureContext({ minVersion: "TLSv1.2", ...(clientCa !== undefined && { ca: clientCa }), cert: chainPem, key: privateKeyPem }),
  };
}
