/**
 * A container as it is run, against its pod's specification at the API server and its image: what neither asks for was asked of the node past both. Policy does not
 * excuse it: what policy allows is what a specification may ask for beyond the image.
 */
import { posix } from "node:path";
import type { PodContainer } from "../../ports/pod-view.ts";
import { expand, known, matches, type Pattern, shown } from "../pods/expand.ts";
import { environmentDigest } from "./appraise-configuration.ts";
import { appraiseVolumes, CLAIMS } from "./appraise-volumes.ts";
import { finding } from "./findings.ts";
import { runtimeDefaults } from "./runtime-defaults.ts";
import { type Report, type Specified, words } from "./specified.ts";
import type { ContainerInput, Finding, ReferenceConfig } from "./types.ts";

const defaults = runtimeDefaults(true);

/** What every kubelet takes for a variable of a ConfigMap's key: others it may leave out. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Variables by which whoever sets them runs code of their own in any program: a whole ConfigMap of unknown names is not taken to hold these. */
const LOADER = /^(LD_|GLIBC_TUNABLES$|NODE_OPTIONS$|PYTHON|PERL5|RUBY|JAVA_TOOL_OPTIONS$|BASH_ENV$|ENV$)/;

export function appraiseSpecification({ pod: standing, state, rules }: ContainerInput, image: ReferenceConfig): readonly Finding[] {
  const last = standing?.kind === "unknown" ? standing.last : standing;
  if (last?.kind !== "specified" || !last.container) return [];
  const { pod, container } = last;
  const specified: Specified = { pod, container, configMaps: last.configMaps ?? new Map(), image, observed: state.configuration };
  const where = `spec.${container.role === "container" ? "containers" : container.role === "init" ? "initContainers" : "ephemeralContainers"}[${container.name}]`;
  const findings: Finding[] = [];
  const report =
    (place: "configuration" | "mount", path: Buffer): Report =>
    (kind, name, expected, observed, summary) => {
      const differences = [{ field: words(`${where} ${kind}${name === "" ? "" : ` ${name}`}`), expected: words(expected), observed: words(observed) }];
      findings.push(finding({ place, kind, path, differences, summary, discriminator: place === "mount" ? kind : `${kind}|${name}` }, rules));
    };
  const told = report("configuration", Buffer.alloc(0));
  const variables = expectedVariables(specified);
  appraiseVariables(specified, variables, told);
  appraiseProcess(specified, variables, told);
  appraiseRights(specified, told);
  appraiseDevices(specified, told);
  appraiseVolumes(specified, (path) => report("mount", Buffer.from(path)));
  return findings;
}

/** What a variable should be. */
interface Expected {
  readonly pattern: Pattern;
  /** For people, to whom what a ConfigMap holds is not shown. */
  readonly shown: Pattern;
  /** Any of these; undefined: what the pattern says. */
  readonly values?: readonly string[];
  /** For people. */
  readonly source: string;
  /** Not set where the whole ConfigMap that it comes from was not there at the start. */
  readonly optional?: boolean;
}
type Variables = ReadonlyMap<string, Expected>;

/** Name → value; of later ones of a name the last counts, as for the kubelet. Never the image's: the kubelet does not know them. */
function expectedVariables(specified: Specified): Variables {
  const variables = wholeConfigMaps(specified);
  for (const { name, value, field, configMap } of specified.container.env) {
    if (value !== undefined) {
      const [pattern, shown] = (["pattern", "shown"] as const).map((which) => expand(value, lookup(specified.container, variables, which)));
      variables.set(name, { pattern: pattern ?? [], shown: shown ?? [], source: "the specification's value" });
    } else if (field !== undefined) {
      const values = fieldValues(specified, field);
      const pattern = [values.length === 1 ? values[0] : undefined];
      variables.set(name, { pattern, shown: pattern, values, source: `the pod's ${words(field)}` });
    } else variables.set(name, ofConfigMap(configMap && specified.configMaps.get(configMap.name)?.get(configMap.key), configMap?.name ?? ""));
  }
  return variables;
}

function ofConfigMap(value: string | undefined, name: string): Expected {
  return { pattern: [value], shown: [undefined], source: `the value of ConfigMap ${words(name)}` };
}

/** Those of which it is known that no later source, whose names are not, can have set them otherwise. */
function wholeConfigMaps({ container, configMaps }: Specified): Map<string, Expected> {
  const variables = new Map<string, Expected>();
  for (const { prefix, configMap, optional } of container.envFrom) {
    for (const name of variables.keys()) if (name.startsWith(prefix)) variables.delete(name);
    if (configMap === undefined) continue;
    for (const [key, value] of configMaps.get(configMap) ?? [])
      if (NAME.test(`${prefix}${key}`)) variables.set(`${prefix}${key}`, { ...ofConfigMap(value, configMap), optional });
  }
  return variables;
}

/** What the kubelet can have taken from the pod; empty: that is not known. Of a pod's own network the node tells the addresses first. */
function fieldValues({ pod, observed }: Specified, field: string): readonly string[] {
  const values = pod.fields.get(field) ?? [];
  if (pod.hostNamespaces.includes("net")) return values;
  const { addresses } = observed;
  if (field === "status.podIP") return [...values, ...addresses];
  if (field === "status.podIPs") return [...values, ...[addresses, addresses.toReversed()].map((all) => all.join(",")).filter((all) => all !== "")];
  return values;
}

/** What a reference stands for where the variables so far are these. */
function lookup({ envFrom }: PodContainer, variables: Variables, which: "pattern" | "shown"): (name: string) => Pattern | null {
  return (name) =>
    variables.get(name)?.[which] ?? (envFrom.some(({ prefix }) => name.startsWith(prefix)) || defaults.envNames?.test(name) ? [undefined] : null);
}

function appraiseVariables({ container, image, observed }: Specified, expected: Variables, report: Report): void {
  const ofImage = new Set(image.env.map((each) => each.split("=", 1)[0] ?? ""));
  const present = new Set<string>();
  for (const { name, digest } of observed.env) {
    present.add(name);
    const wanted = expected.get(name);
    if (wanted) {
      const value = known(wanted.pattern);
      const values = wanted.values ?? (value === undefined ? [] : [value]);
      if (values.length > 0 && !values.some((each) => environmentDigest(observed.envKey, name, each).equals(digest)))
        report("env", name, wanted.source, "another value", `environment variable ${words(name)} has not the value of the pod's specification`);
      continue;
    }
    // The image's own are compared with its values elsewhere; here a whole ConfigMap may have set them otherwise.
    const explained =
      ofImage.has(name) ||
      defaults.env.has(name) ||
      defaults.envNames?.test(name) ||
      container.extended ||
      (container.envFrom.some(({ prefix }) => name.startsWith(prefix)) && !LOADER.test(name));
    if (!explained) report("env", name, "absent", "set", `environment variable ${words(name)} is set, which neither image nor pod's specification does`);
  }
  // What is known of a whole ConfigMap was there when the pod was made, to the second: one that no start waits for may have come after it.
  const optional = new Set(container.env.filter((each) => each.optional).map(({ name }) => name));
  for (const [name, wanted] of expected)
    if (!present.has(name) && !optional.has(name) && !wanted.optional)
      report("env", name, "set", "absent", `environment variable ${words(name)} of the pod's specification is not set`);
}

function appraiseProcess(specified: Specified, variables: Variables, report: Report): void {
  const { container, image, observed } = specified;
  const command = (which: "pattern" | "shown"): Pattern[] => {
    const own = (texts: readonly string[]): Pattern[] => texts.map((text) => expand(text, lookup(container, variables, which)));
    const literal = (texts: readonly string[]): Pattern[] => texts.map((text) => [text]);
    const args = container.args.length > 0 ? own(container.args) : container.command.length > 0 ? [] : literal(image.cmd);
    return [...(container.command.length > 0 ? own(container.command) : literal(image.entrypoint)), ...args];
  };
  const expected = command("pattern");
  if (expected.length !== observed.args.length || !expected.every((pattern, i) => matches(pattern, observed.args[i] ?? ""))) {
    const quoted = (texts: readonly string[]): string => texts.map((text) => JSON.stringify(text)).join(" ");
    report("args", "", quoted(command("shown").map(shown)), quoted(observed.args), "runs another command than its pod's specification and image say");
  }
  const directory = container.workingDirectory || image.workingDirectory || "/";
  if (posix.resolve("/", directory) !== posix.resolve("/", observed.workingDirectory))
    report("working-directory", "", directory, observed.workingDirectory, "starts in another directory than its pod's specification and image say");
  const { user, group } = container;
  const canonical = (text: string): string => text.replace(/^root\b/, "0").replace(/:(root|0)$/, "") || "0";
  const wanted = `${user ?? image.user.replace(/:.*$/, "")}${group === undefined ? "" : `:${group}`}`;
  if (canonical(wanted) !== canonical(observed.user) && !(group === undefined && canonical(image.user) === canonical(observed.user) && user === undefined))
    report("user", "", canonical(wanted), observed.user, `runs as ${words(observed.user)}, which neither image nor pod's specification says`);
  appraiseGroups(specified, report);
}

/** Those that a claim's volume brings are an annotation of it, which is not read. */
function appraiseGroups({ pod, container, observed }: Specified, report: Report): void {
  if (container.mounts.some(({ source }) => CLAIMS.has(source))) return;
  const given = new Set([...pod.groups, ...(container.group === undefined ? [] : [container.group])].map(BigInt));
  for (const group of observed.supplementaryGroups)
    if (!given.has(group)) report("user", `group ${group}`, "absent", `group ${group}`, `is of group ${group}, which its pod's specification does not say`);
}

function appraiseRights({ pod, container, observed }: Specified, report: Report): void {
  const shared = new Set([...pod.hostNamespaces, ...(pod.hostNamespaces.includes("net") ? ["uts"] : [])]);
  for (const name of observed.hostNamespaces)
    if (["pid", "net", "ipc", "uts"].includes(name) && !shared.has(name))
      report("host-namespace", name, "own", `host ${name}`, `shares the host's ${words(name)} namespace, which its pod's specification does not ask for`);
  if (container.readOnlyRoot && !observed.readOnlyRoot)
    report("read-only-root", "", "readOnlyRootFilesystem: true", "false", "may write to its root, which its pod's specification forbids");
  if (container.privileged) return;
  if (observed.privileged) {
    report("privileged", "", "false", "true", "runs privileged, which its pod's specification does not ask for");
    return;
  }
  const [added, dropped] = [new Set(container.addedCapabilities), new Set(container.droppedCapabilities)];
  const given = (name: string): boolean =>
    added.has(name) || (added.has("ALL") ? !dropped.has(name) : defaults.capabilities.has(name) && !dropped.has("ALL") && !dropped.has(name));
  for (const name of observed.capabilities)
    if (!given(name)) report("capabilities", name, "absent", name, `capability ${words(name)}, which its pod's specification does not give`);
  if (container.noEscalation && !observed.noNewPrivileges)
    report("no-new-privileges", "", "allowPrivilegeEscalation: false", "true", "may gain privileges, which its pod's specification forbids");
  if (observed.seccomp === "unconfined" && ["RuntimeDefault", "Localhost"].includes(container.seccomp))
    report("seccomp", "", container.seccomp, "unconfined", "runs without the seccomp profile of its pod's specification");
}

/** A privileged container has every device of the node; one that asks for a plug-in's has what that gives. */
function appraiseDevices({ container, observed }: Specified, report: Report): void {
  if (container.privileged || observed.privileged) return;
  const given = new Set(observed.devices.map((path) => posix.resolve("/", path)));
  const wanted = new Set(container.volumeDevices.map((path) => posix.resolve("/", path)));
  for (const device of given)
    if (!wanted.has(device) && !container.extended)
      report("device-node", device, "absent", device, `device ${words(device)}, which its pod's specification does not give`);
  for (const device of wanted)
    if (!given.has(device)) report("device-node", device, "a raw volume", "absent", `device ${words(device)} of the pod's specification is not there`);
}
