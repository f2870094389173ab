/** What policy says of a node's boot, compiled for one node. An empty list or undefined is no condition. */
import type { SecureBootVariable } from "./secure-boot.ts";

/** Digests are lower-case hex. */
export interface BootRules {
  /** Name of the rule that selected the node. */
  readonly rule: string;
  /** Whether a node without an event log, or with one that its PCRs contradict, will do. */
  readonly eventLog: "required" | "optional";
  readonly secureBoot: "required" | "any";
  /** SHA-256 of the variable's data. */
  readonly variables: Readonly<Partial<Record<SecureBootVariable, readonly string[]>>>;
  /** SHA-256 of what may vouch for boot code: fingerprints of certificates, digests of anything else. */
  readonly authorities: readonly string[];
  readonly images: readonly string[];
  readonly drivers: readonly string[];
  readonly files: readonly string[];
  readonly initrds: readonly string[];
  readonly commandLine: ((text: string) => boolean) | undefined;
  /** PCR → allowed values, of the banks that their lengths say. */
  readonly pcrs: ReadonlyMap<number, readonly string[]>;
}

/** Whether anything of the log is asked for. */
export function asksForLog({ eventLog, secureBoot, variables, authorities, images, drivers, files, initrds, commandLine }: BootRules): boolean {
  return (
    eventLog === "required" ||
    secureBoot === "required" ||
    commandLine !== undefined ||
    [authorities, images, drivers, files, initrds, ...Object.values(variables)].some((list) => list.length > 0)
  );
}
