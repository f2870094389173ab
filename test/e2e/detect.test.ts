/** The main job, end to end, on real parts: signed by released cosign, run by a real engine, attacked, found, told. */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Stack, startStack, tail } from "../../deploy/stack/stack.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { type CosignKey, cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { directory, file, symlink, tar } from "../fakes/tar-writer.ts";
import { type ExpectedDrift, isExpected, saysExpected } from "./expected-drift.ts";
import { ACCEPTANCE, acceptanceImage } from "./images/acceptance.ts";
import { loadPrograms, type Programs } from "./images/programs.ts";
import { layerOf, type PushedImage, pushImage } from "./images/push.ts";
import { CANARY, DockerVictim, HOST_SCENARIOS, plantCanary, SCENARIOS, type Scenario } from "./scenarios.ts";

interface DriftView {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly path: string;
  readonly summary: string;
  readonly differences: readonly { readonly field: string; readonly expected: string; readonly observed: string }[];
  readonly container: { readonly name: string };
  readonly origin: { readonly place: string; readonly layerIndex: number; readonly history: string };
  readonly actor: { readonly executable: string } | null;
  readonly provenance: { readonly status: string; readonly commit: string; readonly authorities: readonly string[] } | null;
  readonly changedAt: string | null;
  readonly measuredAt: string;
  readonly committedAt: string;
  readonly alertedAt: string | null;
  readonly logIndex: number;
}
interface WorkloadView {
  readonly container: { readonly name: string };
  readonly verdict: string;
  readonly content: string;
  readonly provenance: { readonly status: string; readonly text: string };
  readonly reasons: readonly { readonly code: string }[];
  readonly openDrifts: number;
}

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const FOUND_WITHIN_MS = 20_000;
/** What is told within a second or two takes longer on a machine that is busy. */
const TOLD_WITHIN_MS = 60_000;

let bed: Testbed;
let stack: Stack;
let programs: Programs;
let image: PushedImage;
let receiver: HttpReceiver;
let home: string;
let keys: { release: CosignKey; stranger: CosignKey };
const builder = generateKeyPairSync("ed25519");

function policy(publicKey: string): string {
  return `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: acceptance }
spec:
  mode: observe
  authorities:
    - name: release
      key: |
${publicKey.trim().replace(/^/gm, "        ")}
    - { name: builder, key: ${JSON.stringify(builder.publicKey.export({ type: "spki", format: "pem" }))} }
  fileManifests: { authorities: [builder] }
  rules:
    - name: acme
      select: { images: ["**/acme/**"] }
      require: { signatures: { authorities: [release] } }
      allow: { env: [TZ] }
    - name: everything-else
      allow: { env: ["**"], args: true }
  intervals: { quote: 10s, heartbeat: 2s, rescan: 60s }
  alerts:
    routes:
      - { name: hook, type: webhook, url: "${receiver.url}", minSeverity: low, groupWait: 0s }
      - { name: pager, type: alertmanager, url: "${bed.alertmanager?.url}", minSeverity: low }
`;
}

beforeAll(async () => {
  receiver = await new HttpReceiver().start();
  home = mkdtempSync(join(tmpdir(), "hullmark-e2e-"));
  [bed, programs] = await Promise.all([
    startTestbed({ name: "e2e-detect", parts: { engine: true, registry: true, tpms: 1, alertmanager: true } }),
    loadPrograms(),
  ]);
  keys = { release: await cosignKeyPair("v3", home, "release"), stranger: await cosignKeyPair("v2", home, "stranger") };
  image = await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(programs));
  await cosign("v3", home, signing(keys.release, image.reference));
  const predicate = join(home, "provenance.json");
  writeFileSync(predicate, JSON.stringify(slsa()));
  await cosign("v3", home, ["attest", "--type", "slsaprovenance1", "--predicate", predicate, ...signing(keys.release, image.reference).slice(1)]);
  stack = await startStack({ bed, policy: policy(readFileSync(keys.release.publicKeyPath, "utf8")) });
});

afterAll(async () => {
  await bed?.down();
  await receiver?.[Symbol.asyncDispose]();
  if (home) rmSync(home, { recursive: true, force: true });
});

function signing(key: CosignKey, reference: string): string[] {
  const offline = ["--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry", "--yes"];
  return ["sign", "--key", key.privateKey, ...(key === keys.release ? ["--use-signing-config=false"] : []), ...offline, reference];
}

function slsa(): object {
  return {
    buildDefinition: {
      buildType: "https://example.com/build/v1",
      externalParameters: { workflow: { ref: "refs/heads/main", repository: ACCEPTANCE.source } },
      resolvedDependencies: [{ uri: `git+${ACCEPTANCE.source}@refs/heads/main`, digest: { gitCommit: ACCEPTANCE.revision } }],
    },
    runDetails: { builder: { id: "https://example.com/builder/release" }, metadata: { invocationId: "e2e" } },
  };
}

async function victim(name: string, reference: string = image.reference, options: readonly string[] = []): Promise<DockerVictim> {
  const made = new DockerVictim(name, programs, bed.engine?.dockerHost ?? "", (argv) => bed.wrap(argv));
  await made.docker("run", "-d", "--name", name, ...options, reference);
  return made;
}

async function drifts(container: string): Promise<DriftView[]> {
  const { drifts: found } = await stack.json<{ drifts: DriftView[] }>("drift", "ls", "--all", "--container", container);
  return found.filter(({ state }) => state === "open" || state === "acknowledged");
}

async function workload(name: string): Promise<WorkloadView | undefined> {
  return (await stack.json<WorkloadView[]>("workloads")).find(({ container }) => container.name === name);
}

/** Polls until `done`, and gives what it saw last. */
async function eventually<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs = FOUND_WITHIN_MS): Promise<T> {
  const untilMs = Date.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (done(seen) || Date.now() > untilMs) return seen;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function settled(name: string): Promise<WorkloadView> {
  const seen = await eventually(
    () => workload(name),
    (each) => each !== undefined && each.verdict !== "unknown",
    60_000,
  );
  if (!seen || seen.verdict === "unknown")
    throw new Error(`${name}: ${JSON.stringify(seen)}\n${tail(join(bed.directory, "verifier.log"))}\n${tail(join(bed.directory, "agent-0.log"))}`);
  return seen;
}

function describeAll(found: readonly DriftView[]): string {
  return found.map(({ kind, path, origin, summary }) => `${origin.place} ${kind} ${path.slice(0, 80)}: ${summary}`).join("\n");
}

const says = (drift: DriftView, expected: ExpectedDrift): boolean => isExpected(drift, expected) && saysExpected(drift, expected, programs);

async function assertFound(name: string, expected: readonly ExpectedDrift[]): Promise<void> {
  const found = await eventually(
    () => drifts(name),
    (seen) => expected.every((each) => seen.some((drift) => says(drift, each))),
  );
  for (const each of expected) {
    const drift = found.find((candidate) => says(candidate, each));
    expect(drift, `${each.place} ${each.kinds} ${each.path} ${JSON.stringify(each.differences?.(programs))}; found:\n${describeAll(found)}`).toBeDefined();
    if (!drift) continue;
    if (each.layerIndex !== undefined) expect(drift.origin.layerIndex).toBe(each.layerIndex);
    if (each.layerIndex !== undefined) expect(drift.origin.history).not.toBe("");
    if (each.who !== undefined) expect(drift.actor?.executable.split("/").at(-1), drift.path).toBe(each.who);
    expect(drift.provenance).toMatchObject({ status: "signed", commit: ACCEPTANCE.revision, authorities: ["release"] });
    expect(drift.logIndex).toBeGreaterThanOrEqual(0);
  }
  await assertTold(name, expected);
}

/** Every drift says when it was written (where an event told), measured, recorded and told, in this order. */
async function assertTold(name: string, expected: readonly ExpectedDrift[]): Promise<void> {
  const told = (seen: readonly DriftView[], each: ExpectedDrift): DriftView | undefined =>
    seen.find((drift) => isExpected(drift, each) && drift.alertedAt !== null);
  const seen = await eventually(
    () => drifts(name),
    (found) => expected.every((each) => told(found, each)),
    TOLD_WITHIN_MS,
  );
  for (const each of expected) {
    const drift = told(seen, each);
    expect(drift, `alert for ${each.place} ${each.kinds} ${each.path}; found:\n${describeAll(seen)}`).toBeDefined();
    const [measured = Number.NaN, recorded = Number.NaN, alerted = Number.NaN] = [drift?.measuredAt, drift?.committedAt, drift?.alertedAt].map((time) =>
      Date.parse(time ?? ""),
    );
    if (drift?.changedAt) expect(Date.parse(drift.changedAt), "changed before it was measured").toBeLessThanOrEqual(measured);
    expect(recorded, "recorded before it was told").toBeLessThanOrEqual(alerted);
    expect(alerted - recorded, "told after it was recorded").toBeLessThan(TOLD_WITHIN_MS);
  }
}

describe("untouched", () => {
  test("a signed image is affirming, whatever the engine added, and the command says 0", async () => {
    await victim("untouched");
    expect(await settled("untouched")).toMatchObject({ verdict: "affirming", content: "affirming", provenance: { status: "signed" }, openDrifts: 0 });
    const { code, stdout } = await stack.hullmark("drift", "ls", "--container", "untouched");
    expect({ code, stdout }).toEqual({ code: 0, stdout: "no drift\n" });
  });

  test("volumes of the image, shared memory and a terminal are no drift; a volume that stands for a directory of the host is", async () => {
    const definition = acceptanceImage(programs, "volumes");
    const config = { ...definition.config, Volumes: { "/srv/kept": {}, "/srv/anonymous": {} } };
    const { reference } = await pushImage(bed.registry?.host ?? "", "acme/volumes", "1", { ...definition, config });
    const kept = ["--tty", "--ipc", "shareable", "--device-cgroup-rule", "c 1:3 rw", "--volume", "kept:/srv/kept"];
    const sharing = await victim("volumes-kept", reference, kept);
    await victim("volumes-joined", reference, ["--ipc", "container:volumes-kept", "--volume", "kept:/srv/kept"]);
    await sharing.docker("volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "bound");
    await victim("volumes-bound", reference, ["--volume", "bound:/srv/kept"]);
    const told = async (name: string): Promise<string[]> => {
      await settled(name);
      return (await drifts(name)).map(({ kind, path }) => `${kind} ${path}`).filter((each) => !each.startsWith("unsigned"));
    };
    expect(await told("volumes-kept")).toEqual([]);
    expect(await told("volumes-joined")).toEqual([]);
    const bound = await eventually(
      () => told("volumes-bound"),
      (seen) => seen.length > 0,
    );
    expect(bound).toEqual(["mount /srv/kept"]);
    await sharing.docker("rm", "--force", "volumes-joined", "volumes-kept", "volumes-bound");
  });

  test("hosts, names and an init of the engine's making are no drift; a user's file in their place is", async () => {
    const own = join(bed.directory, "resolver");
    writeFileSync(own, "nameserver 6.6.6.6\n");
    const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
      ["made-gateway", ["--add-host", "host.docker.internal:host-gateway", "--hostname", "web.example.com", "--init"], []],
      // Another program than the image's, which would listen on the host.
      ["made-host", ["--network", "host", "--entrypoint", "/bin/sleep"], ["args ", "host-namespace "]],
      ["made-joined", ["--network", "container:made-base", "--entrypoint", "/bin/sleep"], ["args "]],
      ["made-joined-host", ["--network", "container:made-hosted", "--entrypoint", "/bin/sleep"], ["args ", "host-namespace "]],
      ["made-user", ["--volume", `${own}:/etc/resolv.conf:ro`, "--volume", `${own}:/etc/hosts:ro`], ["mount /etc/hosts", "mount /etc/resolv.conf"]],
    ];
    // Whose network others join.
    const base = await victim("made-base", image.reference, ["--add-host", "db:10.1.2.3", "--hostname", "base.example.com"]);
    await base.docker("run", "-d", "--name", "made-hosted", "--network", "host", "--entrypoint", "/bin/sleep", image.reference, "3600");
    for (const [name, options, expected] of cases) {
      const made = new DockerVictim(name, programs, bed.engine?.dockerHost ?? "", (argv) => bed.wrap(argv));
      await made.docker("run", "-d", "--name", name, ...options, image.reference, ...(options.includes("--entrypoint") ? ["3600"] : []));
      await settled(name);
      const told = await eventually(
        () => drifts(name),
        (seen) => seen.length >= expected.length,
      );
      expect(told.map(({ kind, path }) => `${kind} ${path}`).sort(), `${name}: ${describeAll(told)}`).toEqual(expected);
      if (name === "made-joined") await assertOwnerGone(name, "made-base", expected, made);
      await made.docker("rm", "--force", name);
    }
    await base.docker("rm", "--force", "made-hosted");
  });

  /** The engine takes its files along with the container whose they are: nobody can say what they should be in one that joined its network, and that alone is told. */
  async function assertOwnerGone(name: string, owner: string, expected: readonly string[], made: DockerVictim): Promise<void> {
    await made.docker("rm", "--force", owner);
    const seen = await eventually(
      () => workload(name),
      (each) => each?.reasons.some(({ code }) => code === "network-owner-gone") === true,
      60_000,
    );
    // The arguments are drift as before; of the files nothing is known, and nothing is good.
    expect(seen).toMatchObject({ verdict: "contraindicated", content: "unknown" });
    const left = await drifts(name);
    expect(left.map(({ kind, path }) => `${kind} ${path}`).sort(), describeAll(left)).toEqual(expected);
  }

  test("the node is attested under its TPM", async () => {
    const [node] = await stack.json<{ trust: string; verdict: string; lastQuote: string | null }[]>("nodes");
    expect(node).toMatchObject({ trust: "tpm", verdict: "affirming" });
    expect(node?.lastQuote).not.toBeNull();
  });
});

describe("attacks", () => {
  const named = new Map<Scenario, string>([...SCENARIOS, ...HOST_SCENARIOS].map((scenario, i) => [scenario, `victim-${i}`]));

  for (const scenario of named.keys()) {
    test(`${scenario.name}${scenario.expected.length === 0 ? " is no drift" : ""}`, async () => {
      const name = named.get(scenario) ?? "";
      const target = await victim(name, image.reference, scenario.runOptions);
      await settled(name);
      await scenario.attack(target);
      try {
        if (scenario.expected.length > 0) await assertFound(name, scenario.expected);
        else {
          await plantCanary(target);
          await assertFound(name, [CANARY]);
          expect(describeAll((await drifts(name)).filter((drift) => !isExpected(drift, CANARY)))).toBe("");
        }
      } finally {
        await scenario.restore?.(target);
      }
      if (scenario.restore) {
        const left = await eventually(
          () => drifts(name),
          (seen) => seen.length === 0,
        );
        expect(describeAll(left), "resolved when undone").toBe("");
      }
      await target.docker("rm", "-f", name);
    });
  }
});

describe("who did it", () => {
  test("of 500 writes by short-lived programs at least 95 % name the right one, none a wrong one", { timeout: 300_000 }, async () => {
    // Five programs take turns; each write is a process of its own, and its file's name says which program wrote it. Of one container 500 drifts are listed.
    const writer = (path: string): string => `/opt/busybox-${path.charAt("/srv/w-".length)}`;
    let right = 0;
    for (const name of ["attribution-1", "attribution-2"]) {
      const target = await victim(name);
      await settled(name);
      await target.sh(`mkdir -p /opt; for p in 1 2 3 4 5; do cp /bin/busybox /opt/busybox-$p; done
        for i in $(seq 1 50); do for p in 1 2 3 4 5; do /opt/busybox-$p dd if=/dev/zero of=/srv/w-$p-$i bs=1 count=9 2>/dev/null; done; done`);
      const written = await eventually(
        async () => (await drifts(name)).filter(({ path }) => path.startsWith("/srv/w-")),
        (found) => found.length >= 250,
        120_000,
      );
      expect(written).toHaveLength(250);
      right += written.filter(({ path, actor }) => actor?.executable === writer(path)).length;
      const wrong = written.filter(({ path, actor }) => actor !== null && actor.executable !== writer(path));
      expect(wrong.map(({ path, actor }) => `${path} ${actor?.executable}`)).toEqual([]);
      await target.docker("rm", "-f", name);
    }
    expect(right).toBeGreaterThanOrEqual(475);
  });
});

describe("provenance", () => {
  test("unsigned and wrong key are told apart; content is judged all the same", async () => {
    const host = bed.registry?.host ?? "";
    const unsigned = await pushImage(host, "acme/unsigned", "1", acceptanceImage(programs, "unsigned"));
    const wrong = await pushImage(host, "acme/wrong", "1", acceptanceImage(programs, "wrong"));
    await cosign("v2", home, signing(keys.stranger, wrong.reference));
    await victim("unsigned", unsigned.reference);
    await victim("wrong", wrong.reference);
    expect(await settled("unsigned")).toMatchObject({ verdict: "contraindicated", content: "affirming", provenance: { status: "unsigned" } });
    expect(await settled("wrong")).toMatchObject({ verdict: "contraindicated", content: "affirming", provenance: { status: "wrong key" } });
    expect((await drifts("unsigned")).map(({ kind }) => kind)).toEqual(["unsigned"]);
    expect((await drifts("wrong")).map(({ kind }) => kind)).toEqual(["wrong-key"]);
  });
});

describe("an image whose layers are in no registry any more", () => {
  /** Of layers that no other image has. */
  async function pushed(name: string): Promise<PushedImage> {
    const first = layerOf(tar(directory("bin"), directory("etc"), file("bin/busybox", programs.busybox, { mode: 0o755 }), symlink("bin/sh", "busybox")));
    const own = layerOf(tar(file("etc/edition", `${name}\n`), file("bin/printer", "#!/bin/sh\necho\n", { mode: 0o755 })));
    const steps = [first, own].map((layer, i) => ({ createdBy: `step ${i}`, layer }));
    const config = { Cmd: ["/bin/busybox", "sleep", "86400"], Env: ["PATH=/bin"] };
    const image = await pushImage(bed.registry?.host ?? "", `acme/${name}`, "1", { steps, config });
    await cosign("v3", home, signing(keys.release, image.reference));
    return image;
  }
  /** The engine has it; then nobody else can. */
  async function lost(name: string, { reference, diffIds }: PushedImage): Promise<DockerVictim> {
    const made = new DockerVictim(name, programs, bed.engine?.dockerHost ?? "", (argv) => bed.wrap(argv));
    await made.docker("pull", reference);
    const manifest = (await (await fetch(manifestUrl(reference), { headers: { accept: OCI_MANIFEST } })).json()) as { layers: { digest: string }[] };
    expect(manifest.layers).toHaveLength(diffIds.length);
    for (const { digest } of manifest.layers) {
      const hex = digest.slice("sha256:".length);
      rmSync(join(bed.registry?.storage ?? "", "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex), { recursive: true, force: true });
      expect((await fetch(manifestUrl(reference).replace(/manifests\/.*/, `blobs/${digest}`))).status).toBe(404);
    }
    await made.docker("run", "-d", "--name", name, reference);
    return made;
  }
  const manifestUrl = (reference: string): string => reference.replace(/^([^/]+)\/(.+)@(.+)$/, "http://$1/v2/$2/manifests/$3");

  test("is measured by its signed file manifest, the registry stopped too; without one nobody can tell", async () => {
    writeFileSync(join(home, "builder.key"), builder.privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
    const [told, untold] = [await pushed("told"), await pushed("untold")];
    const made = await stack.hullmark("manifest", told.reference, "--key", join(home, "builder.key"));
    expect(made, made.stderr).toMatchObject({ code: 0 });
    const container = await lost("files-told", told);
    await lost("files-untold", untold);
    expect(await settled("files-told")).toMatchObject({ verdict: "affirming", content: "affirming", provenance: { status: "signed" }, openDrifts: 0 });
    const images = await stack.json<{ configDigest: string; reference: { state: string; detail: string } }[]>("images");
    expect(images.find(({ configDigest }) => configDigest === told.configDigest)?.reference).toEqual({
      state: "ready",
      detail: "files by a manifest of builder",
    });
    const unable = await eventually(
      () => workload("files-untold"),
      (seen) => seen?.reasons.some(({ code }) => code.startsWith("registry") || code.startsWith("reference")) === true,
      TOLD_WITHIN_MS,
    );
    expect(unable).toMatchObject({ verdict: "unknown", openDrifts: 0 });

    writeFileSync(join(home, "without.yaml"), policy(readFileSync(keys.release.publicKeyPath, "utf8")).replace(/ {2}fileManifests: .*\n/, ""));
    expect((await stack.hullmark("policy", "simulate", join(home, "without.yaml"))).stdout).toContain(
      "file manifests of builder would count no more: of 1 of them the layers would be read, and nothing known until then\n",
    );

    await bed.registry?.stop();
    try {
      await container.docker("run", "-d", "--name", "files-second", told.reference);
      expect(await settled("files-second")).toMatchObject({ verdict: "affirming", openDrifts: 0 });
      await container.sh("printf x >> /etc/edition");
      const layer = await container.layerDirectory(1);
      await container.onHost("sh", "-c", `printf 'echo evil' >> ${layer}/bin/printer`);
      const found = await eventually(
        () => drifts("files-told"),
        (seen) => seen.length === 2,
        90_000,
      );
      expect(found.map(({ path, kind, origin }) => [path, kind, origin.place, origin.layerIndex]).sort()).toEqual([
        ["/bin/printer", "content", "layer", 1],
        ["/etc/edition", "content", "upper", expect.anything()],
      ]);
    } finally {
      await bed.registry?.start();
      await container.docker("rm", "--force", "files-told", "files-untold", "files-second");
    }
  });
});

describe("told", () => {
  test("one alert for one thing at webhook and Alertmanager, resolved when the container is recreated", async () => {
    const target = await victim("alerted");
    await settled("alerted");
    await target.sh("echo evil >> /app/serve.sh");
    const [drift] = await eventually(
      () => drifts("alerted"),
      (seen) => seen[0]?.alertedAt != null,
    );
    expect(drift?.alertedAt).not.toBeNull();
    const events = () => receiver.received.map(({ body }) => String(body)).filter((body) => body.includes("/app/serve.sh"));
    // The time is that of the first route that delivered; the other may still be on its way.
    const firing = async (): Promise<string[]> => events().filter((body) => body.includes("firing"));
    expect(await eventually(firing, (bodies) => bodies.length > 0)).toHaveLength(1);
    const alertmanager = async (): Promise<string> => (await fetch(`${bed.alertmanager?.url}/api/v2/alerts?active=true`)).text();
    expect(await eventually(alertmanager, (text) => text.includes("/app/serve.sh"))).toContain("/app/serve.sh");
    await target.docker("rm", "-f", "alerted");
    const resolved = await eventually(
      async () => events().filter((body) => body.includes("resolved")),
      (bodies) => bodies.length > 0,
    );
    expect(resolved).toHaveLength(1);
    expect(await eventually(alertmanager, (text) => !text.includes("/app/serve.sh"))).not.toContain("/app/serve.sh");
  });

  test("show and explain say what, from which layer, who and when; an acknowledgement is kept with its name", async () => {
    const target = await victim("shown");
    await settled("shown");
    await target.sh("echo evil >> /usr/bin/curl");
    const [drift] = await eventually(
      () => drifts("shown"),
      (seen) => seen.length > 0,
    );
    const { stdout: page, code } = await stack.hullmark("drift", "show", drift?.id ?? "");
    expect(code).toBe(1);
    for (const part of ["/usr/bin/curl", "sha256", "apt-get install", ACCEPTANCE.revision, "/bin/busybox", "write "]) expect(page).toContain(part);
    expect((await stack.hullmark("drift", "explain", drift?.id ?? "")).stdout).toContain("no longer what the signed image holds");
    expect((await stack.hullmark("drift", "ack", drift?.id ?? "", "-m", "known")).code).toBe(0);
    expect((await stack.hullmark("drift", "show", drift?.id ?? "")).stdout).toMatch(/Acked +admin at \S+: known/);
    await target.docker("rm", "-f", "shown");
  });

  test("the log verifies offline, and no longer when a byte of it is changed", async () => {
    const copy = join(home, "log");
    const key = join(stack.directory, "verifier/admin/log.pub");
    expect((await stack.hullmark("log", "export", copy, "--url", `${stack.httpUrl}/log`, "--key", key)).code).toBe(0);
    expect((await stack.hullmark("log", "verify", "--dir", copy, "--key", key)).code).toBe(0);
    const [entries = ""] = readdirSync(join(copy, "tile/entries"), { recursive: true, encoding: "utf8" })
      .map((name) => join(copy, "tile/entries", name))
      .filter((path) => statSync(path).isFile());
    const bytes = readFileSync(entries);
    const middle = bytes.length >> 1;
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
    writeFileSync(entries, bytes);
    expect(await stack.hullmark("log", "verify", "--dir", copy, "--key", key)).toMatchObject({ code: 1, stdout: expect.stringContaining("TAMPERED WITH") });
  });

  test("names from a container never reach the terminal raw", async () => {
    const { stdout } = await stack.hullmark("drift", "ls", "--all", "-o", "wide");
    expect(stdout.replaceAll("\n", "")).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
  });
});
