/** The verifier's measurement policy as it concerns one container. */
import type { MeasurementPolicy } from "@hullmark/proto/v1/attestation";
import type { ContainerFacts } from "../ports/container-runtime.ts";
import type { ExcludedClass, TreeOptions } from "../ports/tree-measurer.ts";

const DEFAULT_BUDGET = { maxEntries: 500_000, maxBytes: 64 * 1024 ** 3, maxMillis: 600_000 };

export function budgetOf(policy: MeasurementPolicy | undefined): TreeOptions["budget"] {
  const budget = policy?.budget;
  return {
    maxEntries: Number(budget?.maxEntries || DEFAULT_BUDGET.maxEntries),
    maxBytes: Number(budget?.maxBytes || DEFAULT_BUDGET.maxBytes),
    maxMillis: (budget?.maxSeconds || DEFAULT_BUDGET.maxMillis / 1000) * 1000,
  };
}

/** Classes whose conditions all hold for the container. */
export function excludedFor(policy: MeasurementPolicy | undefined, facts: ContainerFacts): ExcludedClass[] {
  return (policy?.mutableClasses ?? [])
    .filter(
      ({ imageGlob, containerGlob, labels }) =>
        (imageGlob === "" || globMatches(imageGlob, facts.imageReference)) &&
        (containerGlob === "" || globMatches(containerGlob, facts.name)) &&
        Object.entries(labels).every(([name, glob]) => globMatches(glob, facts.labels[name] ?? "")),
    )
    .map(({ paths, executables }) => ({ paths, executables }));
}

/** `*` within a `/` component, `**` across, `?` one character; the whole text must match. */
export function globMatches(glob: string, text: string): boolean {
  const pattern = glob.replace(/\*\*|[*?]|[\\^$.|+()[\]{}]/g, (token) => {
    if (token === "**") return ".*";
    if (token === "*") return "[^/]*";
    if (token === "?") return "[^/]";
    return `\\${token}`;
  });
  return new RegExp(`^${pattern}$`, "s").test(text);
}
