/** The verifier's measurement policy as it concerns one container. */
import { compileGlob } from "@hullmark/proto/codec";
import type { MeasurementPolicy } from "@hullmark/proto/v1/attestation";
import type { ContainerFacts } from "../ports/container-runtime.ts";
import type { ExcludedClass, TreeOptions } from "../ports/tree-measurer.ts";

const DEFAULT_RESCAN_SECONDS = 300;
/** As policy may have them: another's word wears out no disk, and no timer wraps. */
const RESCAN_SECONDS = { min: 60, max: 86_400 };
const DEFAULT_BUDGET = { maxEntries: 500_000, maxBytes: 64 * 1024 ** 3, maxMillis: 600_000 };

/** Milliseconds from one look at everything to the next. */
export function rescanPeriodMs(policy: MeasurementPolicy | undefined): number {
  return Math.min(Math.max(policy?.rescanIntervalSeconds || DEFAULT_RESCAN_SECONDS, RESCAN_SECONDS.min), RESCAN_SECONDS.max) * 1000;
}

export function budgetOf(policy: MeasurementPolicy | undefined): TreeOptions["budget"] {
  const budget = policy?.budget;
  return {
    maxEntries: Number(budget?.maxEntries || DEFAULT_BUDGET.maxEntries),
    maxBytes: Number(budget?.maxBytes || DEFAULT_BUDGET.maxBytes),
    maxMillis: (budget?.maxSeconds || DEFAULT_BUDGET.maxMillis / 1000) * 1000,
  };
}

/** Classes whose conditions all hold for the container, under every name that its image may have been asked for by: what is measured beyond them the verifier leaves out itself. */
export function excludedFor(policy: MeasurementPolicy | undefined, facts: ContainerFacts): ExcludedClass[] {
  return (policy?.mutableClasses ?? [])
    .filter(
      ({ imageGlob, containerGlob, workloadGlob, labels }) =>
        [facts.imageReference, ...(facts.otherImageNames ?? [])].every((name) => matches(imageGlob, name)) &&
        matches(containerGlob, facts.name) &&
        matches(workloadGlob, facts.workload) &&
        Object.entries(labels).every(([name, glob]) => Object.hasOwn(facts.labels, name) && compileGlob(glob)(Buffer.from(facts.labels[name] ?? ""))),
    )
    .map(({ paths, executables }) => ({ paths, executables }));
}

/** The verifier's own rule (core/policy): an empty glob is no condition. */
function matches(glob: string, name: string): boolean {
  return glob === "" || compileGlob(glob)(Buffer.from(name));
}
