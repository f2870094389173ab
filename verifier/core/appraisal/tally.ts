/** Findings by how grave they are, kept as they come and go, so that nobody has to look at all of them to say which are the gravest. */
import type { Severity } from "@hullmark/proto/v1/common";
import type { Finding } from "./types.ts";

const GRAVEST = 5;

export class Tally {
  /** Index: severity; by key, in the order of their coming. */
  readonly #drifts: readonly Map<string, Finding>[] = Array.from({ length: GRAVEST + 1 }, () => new Map());
  readonly #notices: readonly Map<string, Finding>[] = Array.from({ length: GRAVEST + 1 }, () => new Map());
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Takes some out and puts others in. A finding that stays equally grave keeps its place. */
  replace(before: Iterable<Finding>, after: readonly Finding[]): void {
    const staying = new Map(after.map((finding) => [finding.key, finding]));
    for (const finding of before) {
      const next = staying.get(finding.key);
      if (next?.severity === finding.severity && next.notice === finding.notice) continue;
      if (this.#of(finding).delete(finding.key)) this.#size--;
    }
    for (const finding of after) {
      const of = this.#of(finding);
      if (!of.has(finding.key)) this.#size++;
      of.set(finding.key, finding);
    }
  }

  /** Of what counts as drift; undefined: none does. */
  get gravest(): Severity | undefined {
    return gravestOf(this.#drifts.map(({ size }) => size));
  }

  /** Of one severity. */
  of(severity: Severity, notice: boolean): Iterable<Finding> {
    return (notice ? this.#notices : this.#drifts)[severity]?.values() ?? [];
  }

  get(key: string): Finding | undefined {
    for (const of of [...this.#drifts, ...this.#notices]) {
      const found = of.get(key);
      if (found) return found;
    }
    return undefined;
  }

  #of({ severity, notice }: Finding): Map<string, Finding> {
    return (notice ? this.#notices : this.#drifts)[severity] as Map<string, Finding>;
  }
}

function gravestOf(sizes: readonly number[]): Severity | undefined {
  for (let severity = GRAVEST; severity >= 0; severity--) if ((sizes[severity] ?? 0) > 0) return severity as Severity;
  return undefined;
}
