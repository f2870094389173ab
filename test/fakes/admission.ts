/** The service behind the cluster's webhook, for tests: it records nothing, and a problem that it tells of fails the test. */
import { AdmissionService, type AdmissionServices } from "@hullmark/verifier/core/admission/service";
import type { Meter } from "@hullmark/verifier/ports/meter";
import { expect } from "vitest";
import { verifiers } from "./judging.ts";

/** @param more what the test has of its own; without a clock, the machine's */
export function admissionService(more: Pick<AdmissionServices, "registry" | "policy"> & Partial<AdmissionServices>): AdmissionService {
  return new AdmissionService({
    ...{ verifiers, exemptNamespaces: [], clock: { nowMs: Date.now, after: () => () => undefined } },
    ...{ meter: { admission: () => undefined } as unknown as Meter, recorder: { record: async () => undefined, accepted: () => undefined } },
    onProblem: (error) => expect.unreachable(String(error)),
    ...more,
  });
}
