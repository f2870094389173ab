/** The container as it is run, against its image and what policy allows. Environment values are compared under the container's key, never seen. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { ByteWriter } from "@hullmark/proto/codec";
import type { ContainerConfiguration, Mount } from "@hullmark/proto/v1/attestation";
import { printable } from "../text/printable.ts";
import { ENGINE_INIT, resolveInImage } from "./engine-mounts.ts";
import { finding } from "./findings.ts";
import { hasRuntimeConfiguration, isKernelMount, isRuntimeMount, type RuntimeDefaults, runtimeDefaults } from "./runtime-defaults.ts";
import type { ContainerInput, ContainerRules, Difference, Finding, FindingKind, FindingPlace, ReferenceConfig, ReferenceImage } from "./types.ts";

/** Made by the engine for each container; told with their content. */
const ENGINE_FILES: ReadonlySet<string> = new Set(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]);
const NO_PATH = Buffer.alloc(0);

export function appraiseConfiguration(input: ContainerInput, reference: ReferenceImage): Finding[] {
  const { configuration, identity } = input.state;
  const defaults = runtimeDefaults(identity.pod !== undefined);
  const findings: Finding[] = [];
  const report = (kind: FindingKind, summary: string, difference: Difference, name = "", place: FindingPlace = "configuration"): void => {
    findings.push(finding({ place, kind, path: NO_PATH, differences: [difference], summary, discriminator: `${kind}|${name}` }, input.rules));
  };
  const setting = { configuration, image: reference.config, defaults, rules: input.rules, report };
  appraiseEnvironment(setting);
  appraiseCommand(setting);
  appraisePrivileges(setting);
  appraiseProtections(setting);
  appraiseMounts(input, reference, defaults, findings);
  return findings;
}

/** Protections: how it is told that the engine was asked for one that does not hold, and that policy asks for one that the engine was not asked for. */
const PROTECTIONS = {
  "no-new-privileges": {
    unmet: "the runtime was told to let it gain privileges, though the engine was asked not to",
    lacking: "started so that it may gain privileges, which the policy forbids",
  },
  "read-only-root": {
    unmet: "the root is mounted for writing, though the engine was asked for a read-only one",
    lacking: "started with a root that can be written, which the policy forbids",
  },
} as const;

/** What each part of the configuration is judged by. */
interface Setting {
  readonly configuration: ContainerConfiguration;
  readonly image: ReferenceConfig;
  readonly defaults: RuntimeDefaults;
  readonly rules: ContainerRules;
  report(kind: FindingKind, summary: string, difference: Difference, name?: string): void;
}

/** HMAC-SHA-256(key, u32 length ‖ name ‖ u32 length ‖ value): as ContainerConfiguration.env says. */
export function environmentDigest(key: Uint8Array, name: string, value: string): Buffer {
  const message = new ByteWriter().bytes(Buffer.from(name)).bytes(Buffer.from(value)).finish();
  return createHmac("sha256", key).update(message).digest();
}

function appraiseEnvironment({ configuration, image, defaults, rules, report }: Setting): void {
  const expected = new Map(image.env.map((each) => [each.split("=", 1)[0] ?? "", each.slice(each.indexOf("=") + 1)]));
  // `docker run -e NAME` without a value takes a variable of the image away.
  const present = new Set(configuration.env.map(({ name }) => name));
  for (const name of expected.keys()) {
    if (name === "" || present.has(name) || rules.allow.env(name)) continue;
    const shown = printable(Buffer.from(name));
    report("env", `environment variable ${shown} removed`, { field: `env ${shown}`, expected: "the image's value", observed: "absent" }, name);
  }
  for (const { name, digest } of configuration.env) {
    const value = expected.get(name);
    const matches = value !== undefined && equal(environmentDigest(configuration.envKey, name, value), digest);
    if (matches || (value === undefined && isByRuntime(name, digest, configuration, defaults)) || rules.allow.env(name)) continue;
    const shown = printable(Buffer.from(name));
    const difference = {
      field: `env ${shown}`,
      expected: value === undefined ? "absent" : "the image's value",
      observed: value === undefined ? "set" : "another value",
    };
    report("env", `environment variable ${shown} ${value === undefined ? "added" : "changed"}`, difference, name);
  }
}

/** Whether the runtime sets this variable, to this very value. */
function isByRuntime(name: string, digest: Uint8Array, { envKey, hostname }: ContainerConfiguration, { env, envNames }: RuntimeDefaults): boolean {
  if (!env.has(name)) return envNames?.test(name) === true;
  const values = env.get(name);
  return values === undefined || values(hostname).some((value) => equal(environmentDigest(envKey, name, value), digest));
}

function equal(a: Buffer, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function appraiseCommand({ configuration, image, defaults, rules, report }: Setting): void {
  const expected = [...image.entrypoint, ...image.cmd];
  const words = (args: readonly string[]): string => printable(Buffer.from(args.map((arg) => JSON.stringify(arg)).join(" "))).slice(0, 1024);
  if (!rules.allow.args && JSON.stringify(expected) !== JSON.stringify(configuration.args))
    report("args", "runs another command than the image's", { field: "args", expected: words(expected), observed: words(configuration.args) });
  const user = (defaults.dropsGroup && !configuration.user.includes(":") ? image.user.replace(/:.*$/, "") : image.user) || "0";
  const observed = configuration.user || "0";
  if (!sameUser(user, observed) && !rules.allow.user(observed))
    report("user", `runs as ${printable(Buffer.from(observed))}`, { field: "user", expected: user, observed: printable(Buffer.from(observed)) });
  const directory = image.workingDirectory || "/";
  if (!rules.allow.workingDirectory && (configuration.workingDirectory || "/") !== directory)
    report("working-directory", "starts in another directory", {
      field: "working directory",
      expected: directory,
      observed: printable(Buffer.from(configuration.workingDirectory)),
    });
}

function sameUser(image: string, observed: string): boolean {
  const canonical = (user: string): string => user.replace(/^root\b/, "0").replace(/:(root|0)$/, "");
  return canonical(image) === canonical(observed);
}

function appraisePrivileges({ configuration, defaults, rules, report }: Setting): void {
  const { allow } = rules;
  if (configuration.privileged && !allow.privileged) report("privileged", "runs privileged", { field: "privileged", expected: "false", observed: "true" });
  // A privileged container has every capability and device: one finding says so.
  if (!configuration.privileged) {
    for (const name of configuration.capabilities)
      if (!defaults.capabilities.has(name) && !allow.capability(name))
        report("capabilities", `capability ${printable(name)} added`, { field: "capability", expected: "absent", observed: printable(name) }, name);
    for (const device of configuration.devices)
      if (!allow.device(device))
        report(
          "device-node",
          `device ${printable(Buffer.from(device))} given`,
          { field: "device", expected: "absent", observed: printable(Buffer.from(device)) },
          device,
        );
    if (configuration.unmet.includes("system-paths") && !allow.privileged)
      report(
        "privileged",
        "paths of the kernel's are neither hidden nor read-only",
        { field: "system paths", expected: "masked and read-only as by default", observed: "open" },
        "system-paths",
      );
    if (!defaults.seccomp.has(configuration.seccomp) && !allow.seccomp(configuration.seccomp))
      report("seccomp", `seccomp ${printable(configuration.seccomp)}`, { field: "seccomp", expected: "default", observed: printable(configuration.seccomp) });
  }
  for (const name of configuration.hostNamespaces)
    if (!allow.hostNamespace(name))
      report(
        "host-namespace",
        `shares the host's ${printable(name)} namespace`,
        { field: "namespace", expected: "own", observed: `host ${printable(name)}` },
        name,
      );
  if (configuration.apparmor === "unconfined" && !configuration.privileged && !allow.apparmor("unconfined"))
    report("apparmor", "AppArmor unconfined", { field: "apparmor", expected: "runtime default", observed: "unconfined" });
}

function appraiseProtections({ configuration, rules: { require }, report }: Setting): void {
  const lacking = {
    "no-new-privileges": require.noNewPrivileges && !configuration.noNewPrivileges,
    "read-only-root": require.readOnlyRoot && !configuration.readOnlyRoot,
  };
  for (const kind of ["no-new-privileges", "read-only-root"] as const) {
    const words = PROTECTIONS[kind];
    if (configuration.unmet.includes(kind)) report(kind, words.unmet, { field: kind, expected: "held", observed: "not held" });
    else if (lacking[kind]) report(kind, words.lacking, { field: kind, expected: "required", observed: "absent" });
  }
}

function appraiseMounts(input: ContainerInput, reference: ReferenceImage, defaults: RuntimeDefaults, findings: Finding[]): void {
  const { rules } = input;
  const { configuration, identity } = input.state;
  const volumes = new Set(reference.config.volumes);
  const engineFiles = new Set(input.state.filesystem.bindFiles.map(({ destination }) => destination));
  // The kernel lists a mount where the image's links lead to, the runtime as it was asked for.
  const asked = new Set(configuration.mounts.filter(({ declared }) => declared).map(({ destination }) => destination));
  const resolved = new Set([...asked].map((destination) => resolveInImage(reference, destination)).filter((destination) => !asked.has(destination)));
  // Where the runtime's own mounts are declared, one that is not there, or there twice, covers something.
  const complete = hasRuntimeConfiguration(configuration);
  const shown = new Set(configuration.mounts.filter(({ declared }) => !declared).map(({ destination }) => destination));
  for (const mount of configuration.mounts) {
    const { destination, declared } = mount;
    if (mount.missing && !isKernelMount(destination) && !shown.has(resolveInImage(reference, destination))) findings.push(unmounted(mount, rules));
    // The root itself is not among the mounts that are told: what is told of `/` lies over it, or in its place.
    const mayBeRuntimes = declared || (!complete && destination !== "/") || destination === "/dev/console";
    const ofRuntime = mayBeRuntimes && isRuntimeMount(defaults, destination, mount.type);
    // What nobody asked for is not taken as meant where nothing says what is, and another root never is.
    const allowed = rules.allow.mount(destination) && (declared || (rules.hasPolicy && destination !== "/"));
    // In a pod every file that kubelet and runtime bind is told apart: a bind left over is a path of the node, wherever it is mounted.
    const ofNode = identity.pod !== undefined && declared && mount.type === "bind";
    // The place of a file of the engine's is the engine's where its file is told, and its content judged: what somebody else mounts there is a mount like any other.
    const ofUser = declared && ENGINE_FILES.has(destination) && !engineFiles.has(destination);
    if ((!ofNode && !ofUser && ofRuntime) || (declared && defaults.mountTypes.has(mount.type)) || allowed) continue;
    if (declared && ((volumes.has(destination) && mount.type === "volume") || (mount.type === ENGINE_INIT.type && destination === ENGINE_INIT.destination)))
      continue;
    if (!declared && resolved.has(destination) && !mount.replaced) continue;
    const path = Buffer.from(destination);
    const observed = `${printable(mount.type)} from ${printable(Buffer.from(mount.source))}`;
    const summary = declared ? `${observed} mounted` : `${observed} mounted after the start, unknown to the runtime`;
    const kind = declared ? "mount" : "undeclared-mount";
    findings.push(
      finding({ place: "mount", kind, path, differences: [{ field: "mount", expected: "absent", observed }], summary, discriminator: kind }, rules),
    );
  }
}

/** What should lie over the image's own files does not: whoever unmounted it chose what is seen there. */
function unmounted({ destination, type, source }: Mount, rules: ContainerRules): Finding {
  const expected = `${printable(type)} from ${printable(Buffer.from(source))}`;
  const differences = [{ field: "mount", expected, observed: "absent" }];
  const summary = `${expected} is declared, and not mounted any more`;
  return finding({ place: "mount", kind: "unmounted", path: Buffer.from(destination), differences, summary, discriminator: "unmounted" }, rules);
}
