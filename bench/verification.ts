/**
 * What it costs to verify a signed image: warm in a verifier, as the `hullmark` command started anew, and as `cosign verify` and notation-go start anew; and policy decisions a second.
 *
 *   node bench/verification.ts [--calls 20000] [--starts 15] [--json FILE]
 *
 * One image with a signature by key (for cosign and us) and one with a Notary Project signature, in a registry on loopback. Processor time of whole processes with their threads decides, not
 * the clock: user and system time of each child as the kernel counts it, of this process for what runs in it. "Warm": the verdict that the verifier makes of what it has collected, signature
 * checked anew each time. "Decision": an answer about a pod at the door from what is known, by a verdict that is kept for ten seconds.
 * `node -e 0` is the floor of whatever Node runs. The command keeps its compiled code in a home of the bench's own: it counts as from the second start on.
 * cosign and notary are those of deploy/testbed/go-tools.sh; what is not there is left out.
 */
import { spawnSync } from "node:child_process";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { readReview } from "@hullmark/verifier/core/admission/review";
import { AdmissionService } from "@hullmark/verifier/core/admission/service";
import { parsePolicy } from "@hullmark/verifier/core/policy/index";
import { collectArtefacts, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import { SIGN_PREDICATE, signStatement } from "hullmark/signing/bundle";
import { loadSigningKey } from "hullmark/signing/keys";
import { signImage } from "hullmark/signing/sign-image";
import { startTestbed } from "../deploy/testbed/index.ts";
import { REPOSITORY, STATE_ROOT } from "../deploy/testbed/paths.ts";
import { attachNotary } from "../test/fakes/attach.ts";
import { pushImage } from "../test/fakes/images.ts";
import { authority, manifestSubject, never, question, verifiers } from "../test/fakes/judging.ts";
import { NotaryCa, notaryPayload, notationConfig, signNotary } from "../test/fakes/notary.ts";
import { percentile } from "./support/process-usage.ts";

const { values } = parseArgs({ options: { calls: { type: "string", default: "20000" }, starts: { type: "string", default: "15" }, json: { type: "string" } } });
mkdirSync(join(STATE_ROOT, "bench"), { recursive: true });
const folder = mkdtempSync(join(STATE_ROOT, "bench/verification-"));
const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
const publicKey = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
const tool = (name: string): string => join(STATE_ROOT, "tools/bin", name);
const results: Record<string, { readonly cpuMs: number; readonly wallMs: number }> = {};

function tell(name: string, cpuMs: number, wallMs: number): void {
  results[name] = { cpuMs, wallMs };
  const figure = (ms: number): string => (ms >= 1 ? `${ms.toFixed(1)} ms` : `${(ms * 1000).toFixed(1)} µs`);
  console.log(`${name.padEnd(44)} CPU ${figure(cpuMs).padStart(10)}   clock ${figure(wallMs).padStart(10)}`);
}

/** Medians of processes started one after the other; the first fills the disk cache and does not count. */
function started(name: string, argv: readonly string[]): void {
  const [program = "", ...args] = argv;
  if (!existsSync(program)) {
    console.log(`${name.padEnd(44)} not measured: ${program} is not there`);
    return;
  }
  const times = Array.from({ length: Number(values.starts) + 1 }, () => {
    // The shell's `times` has what its children used.
    const { status, stdout, stderr } = spawnSync("bash", ["-c", '"$@" >/dev/null 2>"$LOG" || { cat "$LOG" >&2; exit 1; }; times', "bash", program, ...args], {
      env: { PATH: process.env["PATH"], HOME: folder, LOG: join(folder, "log"), COSIGN_EXPERIMENTAL: "1", DOCKER_CONFIG: "/nonexistent" },
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`${name}: ${stderr}`);
    const used = [...(stdout.trim().split("\n")[1] ?? "").matchAll(/(\d+)m([\d.]+)s/g)];
    return used.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1000, 0);
  }).slice(1);
  const walls: number[] = [];
  for (let i = 0; i < Number(values.starts); i++) {
    const at = performance.now();
    spawnSync(program, args, { env: { PATH: process.env["PATH"], HOME: folder, COSIGN_EXPERIMENTAL: "1", DOCKER_CONFIG: "/nonexistent" } });
    walls.push(performance.now() - at);
  }
  tell(name, percentile(times, 0.5), percentile(walls, 0.5));
}

async function repeated(name: string, run: () => unknown): Promise<number> {
  for (let i = 0; i < 500; i++) await run();
  const calls = Number(values.calls);
  const [cpu, at] = [process.cpuUsage(), performance.now()];
  for (let i = 0; i < calls; i++) await run();
  const { user, system } = process.cpuUsage(cpu);
  tell(name, (user + system) / 1000 / calls, (performance.now() - at) / calls);
  return (user + system) / 1000 / calls;
}

const bed = await startTestbed({ name: "bench-verify", parts: { registry: true } });
const host = bed.registry?.host ?? "";
const client = new OciRegistry();
try {
  console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${availableParallelism()} CPUs, Linux ${release()}, Node ${process.version}`);
  writeFileSync(join(folder, "key"), pair.privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(join(folder, "release.pub"), publicKey);
  const image = await pushImage(`${host}/bench/app`, { tag: "1" });
  const reference = `${image.repository}@${image.manifestDigest}`;
  const key = await loadSigningKey(join(folder, "key"), {});
  await signImage(client, reference, SIGN_PREDICATE, (statement) => signStatement(statement, key), Date.now(), never);
  const { artefacts } = await collectArtefacts(client, [manifestSubject(image.repository, image.manifestDigest)], never);
  const ca = await NotaryCa.create();
  const other = await pushImage(`${host}/bench/notary`, { tag: "1" });
  const payload = notaryPayload(other.manifestDigest, other.manifestBytes.length);
  await attachNotary(client, other, signNotary(await ca.identity(), payload, { format: "jws" }));
  notationConfig(folder, ca.rootPem, "x509.subject: C=US, ST=WA, O=acme, CN=release");

  const asked = question({ subjects: [image.manifestDigest], artefacts, authorities: [authority("release", publicKey)], atMs: Date.now() });
  const warm = await repeated("warm in the verifier, signature checked", () => {
    if (!verifyProvenance(asked, verifiers).satisfied) throw new Error("not signed");
  });
  const text = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: bench }\nspec:\n  authorities: [{ name: release, key: ${JSON.stringify(publicKey)} }]\n  rules: [{ name: all, require: { signatures: { authorities: [release] } } }]\n  admission: { mode: enforce }\n`;
  const parsed = parsePolicy(text, "bench.yaml");
  if (!parsed.ok) throw new Error("the policy has mistakes");
  const { policy } = parsed;
  // It stands still: what is known stays fresh, and a verdict is made once.
  const nowMs = Date.now();
  const clock = { nowMs: () => nowMs, after: () => () => undefined };
  const door = new AdmissionService({
    ...{ registry: client, verifiers, policy: () => policy, clock, exemptNamespaces: [], onProblem: (error) => console.error(error) },
    ...{ meter: { admission: () => undefined } as never, recorder: { record: async () => undefined, accepted: () => undefined } },
  });
  const object = { metadata: { name: "web", labels: { app: "web" } }, spec: { containers: [{ name: "web", image: reference }] } };
  const request = { uid: randomUUID(), kind: { kind: "Pod" }, namespace: "shop", operation: "CREATE", userInfo: { username: "ann" }, object };
  const review = readReview({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
  const answer = async (): Promise<void> => {
    if (!(await door.answer(review, "fail", never)).allowed) throw new Error("refused");
  };
  const decision = await repeated("a policy decision about a pod", answer);
  console.log(`${"".padEnd(44)} ${Math.round(1000 / decision).toLocaleString("en")} a second and core`);
  console.log(`${"with its signature checked anew each time".padEnd(44)} ${Math.round(1000 / warm).toLocaleString("en")} a second and core`);
  door.stop();

  started("node -e 0, started anew", [process.execPath, "-e", "0"]);
  started("hullmark --help, started anew", [process.execPath, join(REPOSITORY, "dist/hullmark.js"), "--help"]);
  started("hullmark verify, started anew", [process.execPath, join(REPOSITORY, "dist/hullmark.js"), "verify", "--key", join(folder, "release.pub"), reference]);
  started("cosign v3 verify, started anew", [tool("cosign-v3"), "verify", "--insecure-ignore-tlog", "--key", join(folder, "release.pub"), reference]);
  started("notation-go verify, started anew", [tool("notary"), "verify", "-ref", `${other.repository}@${other.manifestDigest}`, "-config", folder]);
  const ratio = (name: string): string => `${Math.round((results[name]?.cpuMs ?? Number.NaN) / warm).toLocaleString("en")} × (CPU)`;
  for (const name of Object.keys(results).filter((each) => each.includes(" verify, started anew")))
    console.log(`warm against ${name.padEnd(36)} ${ratio(name)}`);
  if (values.json) writeFileSync(values.json, JSON.stringify({ bench: "verification", results }));
} finally {
  client.close();
  await bed.down();
  rmSync(folder, { recursive: true });
}
