/** The words of an answer, as kubectl shows them: what is refused, by which rule, on which evidence, and what would do. */
import type { SourceCommit } from "../../ports/notifier.ts";
import type { AdmissionMode } from "../policy/types.ts";
import { printable } from "../text/printable.ts";
import type { AskedContainer } from "./pods.ts";

/** What stands between a container and the cluster. */
export interface Objection {
  readonly container: AskedContainer;
  /** `sha256:…`; empty where the image was not found out. */
  readonly digest: string;
  readonly rule: string;
  readonly mode: AdmissionMode;
  readonly kind: "refused" | "unknown";
  readonly text: string;
  readonly asked: string;
  readonly found: string;
  readonly remedy: string;
  /** What it was built from, where an authority of the policy has signed that. */
  readonly source?: SourceCommit | undefined;
}

/** An answer to the API server (admission.k8s.io/v1, AdmissionResponse). */
export interface AdmissionAnswer {
  readonly uid: string;
  readonly allowed: boolean;
  /** Why not; empty where allowed. */
  readonly message: string;
  readonly warnings: readonly string[];
  readonly audit: Readonly<Record<string, string>>;
}

const MAX_OBJECTIONS = 8;
const MAX_MESSAGE_CHARS = 4096;
/** Longer ones may be cut by the API server. */
const MAX_WARNING_CHARS = 250;
const MAX_AUDIT_CHARS = 2048;

const clean = (text: string, max: number): string => printable(text, max);

export function messageOf(objections: readonly Objection[], more: string): string {
  const shown = objections.slice(0, MAX_OBJECTIONS).map((each) => {
    const head = `${clean(each.container.title, 300)}: image ${clean(each.container.image, 600)}${each.digest ? ` (${each.digest})` : ""}`;
    const verb = each.kind === "refused" ? "is refused by" : "cannot be judged by";
    const rule = each.rule ? `rule ${JSON.stringify(each.rule)}` : "the policy";
    const lines = [`${head} ${verb} ${rule}: ${clean(each.text, 700)}`];
    if (each.asked) lines.push(`  asked for: ${clean(each.asked, 500)}`);
    if (each.found) lines.push(`  found:     ${clean(each.found, 700)}`);
    if (each.remedy) lines.push(`  would do:  ${clean(each.remedy, 700)}`);
    return lines.join("\n");
  });
  if (objections.length > MAX_OBJECTIONS) shown.push(`and ${objections.length - MAX_OBJECTIONS} more`);
  if (more) shown.push(clean(more, 500));
  const all = shown.join("\n");
  return all.length <= MAX_MESSAGE_CHARS ? all : `${all.slice(0, MAX_MESSAGE_CHARS - 1).toWellFormed()}…`;
}

/** One line each. */
export function warningsOf(objections: readonly Objection[], prefix = ""): readonly string[] {
  return objections.slice(0, MAX_OBJECTIONS).map(({ container, rule, text, remedy }) => {
    const line = clean(
      `hullmark: ${prefix}${container.title}: ${text}${rule ? ` (rule ${rule})` : ""}${remedy ? `; would do: ${remedy}` : ""}`,
      4 * MAX_WARNING_CHARS,
    );
    return line.length <= MAX_WARNING_CHARS ? line : `${line.slice(0, MAX_WARNING_CHARS - 1).toWellFormed()}…`;
  });
}

export function auditOf(decision: string, objections: readonly Objection[]): Readonly<Record<string, string>> {
  if (objections.length === 0) return { decision };
  const told = objections.map(({ container, digest, text }) => `${container.title} ${container.image} ${digest}: ${text}`).join("; ");
  return { decision, objections: clean(told, MAX_AUDIT_CHARS) };
}
