/** From the text of a policy file to a policy, or to everything that is wrong with it. Pure: key files are read by the caller's function. */
import { hash } from "node:crypto";
import { isMap, isPair, isScalar, LineCounter, type Node, type Pair, parseDocument } from "yaml";
import { checkPolicy } from "./check.ts";
import { explain } from "./explain.ts";
import { policyFile } from "./schema.ts";
import type { Policy, PolicyProblem, Report } from "./types.ts";

export const MAX_POLICY_BYTES = 1 << 20;
const MAX_PROBLEMS = 100;

export interface ParseOptions {
  /** Content of a key file named in the policy; throws where it cannot be read. Default: every keyFile is an error. */
  readonly readKeyFile?: (path: string) => string;
  /** It is the policy of one namespace, which the cluster's holds beside. */
  readonly ofNamespace?: boolean;
}

export type ParsedPolicy =
  | { readonly ok: true; readonly policy: Policy; readonly warnings: readonly PolicyProblem[] }
  | { readonly ok: false; readonly errors: readonly PolicyProblem[] };

/** @param fileName as it is to stand in messages. Never throws for anything the text contains. */
export function parsePolicy(text: string, fileName: string, options: ParseOptions = {}): ParsedPolicy {
  const problems: PolicyProblem[] = [];
  const lines = new LineCounter();
  const add = (severity: PolicyProblem["severity"], offset: number, path: string, message: string, fix: string) => {
    const { line, col } = lines.linePos(offset);
    if (problems.length < MAX_PROBLEMS) problems.push({ severity, file: fileName, line: Math.max(1, line), column: Math.max(1, col), path, message, fix });
  };
  if (Buffer.byteLength(text) > MAX_POLICY_BYTES) {
    add("error", 0, "", `the file is larger than ${MAX_POLICY_BYTES} bytes`, "split key material into keyFile");
    return { ok: false, errors: problems };
  }
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, strict: true, version: "1.2" });
  for (const { message, pos } of [...document.errors, ...document.warnings]) add("error", pos[0], "", message, yamlFix(message));
  if (problems.length > 0) return { ok: false, errors: problems };
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const alias = /alias .*: ([^\s:]+)$/.exec(message)?.[1];
    add("error", alias === undefined ? 0 : Math.max(0, text.indexOf(`*${alias}`)), "", message, "write the parts out instead of using aliases");
    return { ok: false, errors: problems };
  }
  const place = (path: readonly PropertyKey[], atKey: boolean) => offsetOf(document.contents, path, atKey);
  const parsed = policyFile.safeParse(value ?? {}, { reportInput: true });
  if (!parsed.success) {
    for (const issue of parsed.error.issues)
      for (const { path, atKey, message, fix } of explain(issue)) add("error", place(path, atKey), formatPath(path), message, fix);
    return { ok: false, errors: sorted(problems) };
  }
  const report: Report = (severity, path, message, fix) => add(severity, place(path, false), formatPath(path), message, fix);
  const policy = checkPolicy(parsed.data, options.readKeyFile ?? noKeyFiles, report, options.ofNamespace);
  if (problems.some(({ severity }) => severity === "error")) return { ok: false, errors: sorted(problems) };
  return { ok: true, policy, warnings: sorted(problems) };
}

/** One problem on one line, as compilers print them. */
export function formatProblem({ file, line, column, severity, path, message, fix }: PolicyProblem): string {
  return `${file}:${line}:${column}: ${severity}: ${path ? `${path}: ` : ""}${message}${fix ? ` (${fix})` : ""}`;
}

/** SHA-256 of the file's bytes, hex: tells a reload whether anything was saved. */
export function textDigest(text: string): string {
  return hash("sha256", text);
}

function noKeyFiles(): never {
  throw new Error("key files cannot be read here");
}

function sorted(problems: readonly PolicyProblem[]): PolicyProblem[] {
  return problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.map((part, i) => (typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`)).join("");
}

/** Where in the text a path is; of a missing key, where its parent starts. */
function offsetOf(root: Node | null, path: readonly PropertyKey[], atKey: boolean): number {
  let at: Node | null | undefined = root;
  let offset = at?.range?.[0] ?? 0;
  for (const [i, part] of path.entries()) {
    const pair: Pair | undefined = isMap(at)
      ? at.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part))
      : undefined;
    if (pair) {
      const key = pair.key as Node;
      at = pair.value as Node | null;
      offset = (atKey && i === path.length - 1 ? key.range?.[0] : at?.range?.[0]) ?? key.range?.[0] ?? offset;
    } else {
      at = at && "get" in at ? (at.get(part, true) as Node | undefined) : undefined;
      if (!at) return offset;
      offset = at.range?.[0] ?? offset;
    }
  }
  return offset;
}

function yamlFix(message: string): string {
  if (/tab/i.test(message)) return "indent with spaces";
  if (/unique/i.test(message)) return "remove one of the two";
  if (/multiple documents/i.test(message)) return "one policy a file";
  return "check quotes, colons and indentation here";
}
