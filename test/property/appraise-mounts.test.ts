import { create } from "@bufbuild/protobuf";
import { ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { describe, expect, test } from "vitest";
import { appraiseConfiguration } from "../../verifier/core/appraisal/appraise-configuration.ts";
import type { ContainerInput, ReferenceImage } from "../../verifier/core/appraisal/types.ts";
import { defaultPolicy, EVERYTHING, OBSERVED_ALLOWANCES } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";
import type { Policy } from "../../verifier/core/policy/types.ts";

const image = {
  merged: () => undefined,
  config: { env: [], entrypoint: [], cmd: [], user: "", workingDirectory: "", volumes: ["/volume"] },
} as unknown as ReferenceImage;

/** Where findings of mounts are, of a container with the runtime's own mounts and these. */
function found(
  policy: Policy,
  mounts: readonly { readonly destination: string; readonly declared: boolean; readonly type?: string; readonly missing?: boolean }[],
  unmet: string[] = [],
): string[] {
  const runtime = ["/proc", "/dev", "/dev/shm", "/etc/hosts"].map((destination) => ({ destination, declared: true, type: "bind" }));
  const configuration = create(ContainerConfigurationSchema, { mounts: [...runtime, ...mounts], seccomp: "default", unmet });
  const rules = containerRules(policy, { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
  const input = { state: { configuration, identity: {} }, rules } as unknown as ContainerInput;
  return appraiseConfiguration(input, image).map(({ kind, path }) => `${kind} ${path}`);
}

const allowing = (...mounts: string[]): Policy => ({
  ...defaultPolicy(),
  loaded: true,
  rules: [{ ...defaultPolicy().rules[0], name: "all", select: EVERYTHING, allow: { ...OBSERVED_ALLOWANCES, mounts } }] as unknown as Policy["rules"],
});

const asked = { destination: "/data", declared: true, type: "bind" };
const appeared = { destination: "/usr/lib", declared: false, type: "tmpfs" };
const root = { destination: "/", declared: false, type: "overlay" };
const over = { destination: "/dev/shm", declared: false, type: "tmpfs" };

describe("mounts that nobody declared", () => {
  test("are told without a policy, though what was asked for is taken as meant", () => {
    expect(found(defaultPolicy(), [asked])).toEqual([]);
    expect(found(defaultPolicy(), [asked, appeared, root, over])).toEqual(["undeclared-mount /usr/lib", "undeclared-mount /", "undeclared-mount /dev/shm"]);
  });

  test("are allowed where a policy says so, another root never", () => {
    expect(found(allowing("/**"), [asked, appeared, over])).toEqual([]);
    expect(found(allowing("/**"), [root])).toEqual(["undeclared-mount /"]);
    expect(found(allowing("/data"), [asked, appeared])).toEqual(["undeclared-mount /usr/lib"]);
    expect(found(allowing(), [asked])).toEqual(["mount /data"]);
  });
});

describe("what was asked for and is not there", () => {
  test("a declared mount that the kernel shows no more is told, whatever may be mounted there", () => {
    const gone = { ...asked, missing: true };
    expect(found(allowing("/**"), [gone])).toEqual(["unmounted /data"]);
    expect(found(defaultPolicy(), [{ destination: "/volume", declared: true, type: "volume", missing: true }])).toEqual(["unmounted /volume"]);
    // What runtimes mount of their own below the kernel's filesystems comes and goes.
    expect(found(allowing("/**"), [{ destination: "/sys/fs/cgroup", declared: true, missing: true }])).toEqual([]);
  });

  test("protections that the engine was asked for and that do not hold are told, names that are not known are not", () => {
    expect(found(defaultPolicy(), [], ["no-new-privileges", "read-only-root", "x"])).toEqual(["no-new-privileges ", "read-only-root "]);
  });
});
