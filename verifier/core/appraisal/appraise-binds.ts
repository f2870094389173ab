/** Files that the engine makes and mounts over the image (`/etc/hosts`, …): the delta never shows them, so their content is compared with what the engine declares. */
import type { BindFile, ContainerConfiguration } from "@hullmark/proto/v1/attestation";
import { printable } from "../text/printable.ts";
import { finding } from "./findings.ts";
import type { ContainerInput, Finding } from "./types.ts";

const LOOPBACK_NAMES: ReadonlySet<string> = new Set([
  "localhost",
  "ip6-localhost",
  "ip6-loopback",
  "ip6-localnet",
  "ip6-mcastprefix",
  "ip6-allnodes",
  "ip6-allrouters",
]);
const LOOPBACK = /^(127\.0\.0\.1|::1|fe00::[012]|fe00::|ff00::0|ff00::|ff02::1|ff02::2)$/;
/** Of RFC 1918 and RFC 4193: from these an engine takes its networks, unless it is told others. */
const PRIVATE = /^(10\.\d+|172\.(1[6-9]|2\d|3[01])|192\.168)\.\d+\.\d+$|^f[cd][0-9a-f]{2}:[0-9a-f:]+$/;

/** The engine removed the container whose network, and with it whose files, this one has: what they should be nobody can say. Bars judging. */
export const NETWORK_OWNER_GONE = "network-owner-gone";

/** Destinations whose content can be judged here; any other engine-made file must carry the engine's own digest. */
export function appraiseBindFiles({ state, rules, pod }: ContainerInput): Finding[] {
  const specified = pod?.kind === "unknown" ? pod.last : pod;
  // The kubelet writes a pod's `hostAliases` besides its own lines.
  const aliases = specified?.kind === "specified" ? specified.pod.hostAliases : [];
  const configuration = aliases.length === 0 ? state.configuration : { ...state.configuration, extraHosts: [...state.configuration.extraHosts, ...aliases] };
  const findings: Finding[] = [];
  if (state.filesystem.claims.some(({ code }) => code === NETWORK_OWNER_GONE)) return findings;
  for (const file of state.filesystem.bindFiles) {
    const problem = judge(file, configuration);
    if (!problem || rules.mutable(Buffer.from(file.destination), false)) continue;
    const { declaredSha256: declared, sha256 } = file;
    const digest = {
      field: "sha256",
      expected: declared.length > 0 ? Buffer.from(declared).toString("hex") : "not declared",
      observed: Buffer.from(sha256).toString("hex"),
    };
    // What is told in words is the first thing that is wrong: only the digest stands for all of it.
    const differences = [{ field: "content", expected: problem.expected, observed: problem.observed }, ...(sha256.length === 32 ? [digest] : [])];
    const summary = `not as the engine declares: ${problem.observed}`;
    findings.push(finding({ place: "bind", kind: "bind-file", path: Buffer.from(file.destination), differences, summary }, rules));
  }
  return findings;
}

interface Problem {
  readonly expected: string;
  readonly observed: string;
}

function judge(file: BindFile, configuration: ContainerConfiguration): Problem | undefined {
  // A container's root writes into these files: one that grew past what is read must not pass for an empty one.
  if (file.sha256.length !== 32) return { expected: "a file that can be read, at most 16 KiB", observed: "unreadable or larger" };
  if (file.mode & 0o7133) return { expected: "mode 0644", observed: `mode 0${file.mode.toString(8)}` };
  if (file.declaredSha256.length > 0) {
    const [expected, observed] = [Buffer.from(file.declaredSha256), Buffer.from(file.sha256)];
    if (expected.equals(observed)) return undefined;
    // On a network of the user's own, docker writes its embedded resolver into the file after it has taken the digest (libnetwork, rebuildDNS).
    if (file.destination === "/etc/resolv.conf" && onlyEmbeddedResolver(Buffer.from(file.content).toString("latin1").split("\n"))) return undefined;
    return { expected: `sha256 ${expected.toString("hex")}`, observed: `sha256 ${observed.toString("hex")}` };
  }
  const lines = Buffer.from(file.content).toString("latin1").split("\n");
  if (file.destination === "/etc/hostname")
    return lines[0] === configuration.hostname && lines.length === 2 && lines[1] === "" ? undefined : unexpected(`"${configuration.hostname}"`, lines[0] ?? "");
  if (file.destination === "/etc/hosts") return judgeHosts(lines, configuration);
  if (file.destination === "/etc/resolv.conf") return judgeResolver(lines);
  return { expected: "a file that the engine declares", observed: "unknown engine-made file" };
}

function unexpected(expected: string, line: string): Problem {
  // Engines put a tab between address and name.
  return { expected, observed: `line "${printable(Buffer.from(line.replaceAll("\t", " "), "latin1")).slice(0, 200)}"` };
}

/** Every line must be loopback, an own address with an own name, or a declared extra host. */
function judgeHosts(lines: readonly string[], configuration: ContainerConfiguration): Problem | undefined {
  // Of a name with a domain docker writes the first label too (libnetwork, etchosts).
  const written = new Set([configuration.hostname, configuration.hostname.split(".", 1)[0] ?? ""]);
  const own = new Set([...written, ...configuration.networkNames]);
  const addresses = new Set(configuration.addresses);
  // Of a container that was taken off its networks (isolated, for one) docker leaves the own line of each, and an agent that was started since does not know these
  // addresses any more. It has no way to anybody: where its own name leads is nothing to it, as long as that is where an engine's networks lie.
  const cutOff = addresses.size === 0 && !configuration.hostNamespaces.includes("net");
  const extra = new Set(configuration.extraHosts.map((each) => each.replace(/^([^:=]+)[:=](.*)$/, "$2 $1")));
  for (const line of lines) {
    const [address = "", ...names] = line.replace(/#.*$/, "").trim().split(/\s+/);
    if (address === "") continue;
    if (LOOPBACK.test(address) && names.every((name) => LOOPBACK_NAMES.has(name))) continue;
    if (addresses.has(address) && names.every((name) => own.has(name) || name.startsWith(`${configuration.hostname}.`))) continue;
    if (cutOff && PRIVATE.test(address) && names.every((name) => written.has(name))) continue;
    if (names.length > 0 && names.every((name) => extra.has(`${address} ${name}`))) continue;
    return unexpected("loopback, own addresses and declared extra hosts only", line);
  }
  return undefined;
}

/** Names resolved by the engine itself, at an address that only the container's own network namespace has. */
function onlyEmbeddedResolver(lines: readonly string[]): boolean {
  const servers = lines.filter((line) => /^\s*nameserver\s/.test(line));
  return servers.length === 1 && /^nameserver 127\.0\.0\.11\s*$/.test(servers[0] ?? "") && judgeResolver(lines) === undefined;
}

/** Without the engine's own digest only the form can be judged. */
function judgeResolver(lines: readonly string[]): Problem | undefined {
  const odd = lines.find((line) => !/^\s*(#.*|;.*|(nameserver|search|domain|options|sortlist)\s.*)?$/.test(line));
  return odd === undefined ? undefined : unexpected("resolver directives only", odd);
}
