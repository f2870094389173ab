import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { ACCEPTANCE, acceptanceImage } from "../../test/e2e/images/acceptance.ts";
import { loadPrograms, type Programs } from "../../test/e2e/images/programs.ts";
import { type PushedImage, pushImage } from "../../test/e2e/images/push.ts";
import { type Stack, startStack } from "../stack/stack.ts";
import { startTestbed, type Testbed } from "../testbed/index.ts";
import { program, REPOSITORY } from "../testbed/paths.ts";
import { run } from "../testbed/run.ts";
import type { Reporter } from "./reporter.ts";

/** What the scenarios play on. */
export interface Stage {
  readonly bed: Testbed;
  readonly programs: Programs;
  /** Private and public signing key files. */
  readonly keys: { readonly privateKey: string; readonly publicKey: string };
  /** Signed, with a SLSA provenance statement. */
  readonly image: PushedImage;
  /** Verifier and agent, as shipped. */
  readonly stack: Stack;
  /** The docker command on the demo's engine. @returns its standard output */
  docker(...args: string[]): Promise<string>;
}

/** Brings up engine, registry, TPM and Alertmanager, and a signed image. @param name of the test bed */
export async function setStage(report: Reporter, name: string): Promise<Stage> {
  report.heading("Real parts");
  // The agent's, and one for a node that lies.
  const parts = { engine: true, registry: true, tpms: 2, alertmanager: true } as const;
  const bed = await report.step(
    "own Docker Engine, registry, two TPMs 2.0 and Alertmanager",
    () => startTestbed({ name, parts }),
    ({ engine }) => `engine ${engine?.version}`,
  );
  try {
    return await fillRegistry(report, bed);
  } catch (error) {
    await bed.down();
    throw error;
  }
}

async function fillRegistry(report: Reporter, bed: Testbed): Promise<Stage> {
  const folder = join(bed.directory, "demo");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const host = bed.registry?.host ?? "";
  const docker = (...args: string[]): Promise<string> => run([program("docker"), "--host", bed.engine?.dockerHost ?? "", ...args]);
  const hullmark = (...args: string[]): Promise<string> => run([process.execPath, join(REPOSITORY, "dist/hullmark.js"), ...args]);

  const programs = await loadPrograms();
  const prefix = join(folder, "signing");
  const keys = { privateKey: `${prefix}.key`, publicKey: `${prefix}.pub` };
  const image = await report.step(
    "image pushed: four layers with all that makes images hard to measure",
    () => pushImage(host, "acme/web", "1", acceptanceImage(programs)),
    ({ digest }) => `acme/web@${digest.slice(0, 19)}…`,
  );
  await report.step("signed, with SLSA provenance", async () => {
    await hullmark("keygen", "--prefix", prefix);
    const predicate = join(folder, "provenance.json");
    writeFileSync(predicate, JSON.stringify(provenance()));
    await hullmark("sign", image.reference, "--key", keys.privateKey);
    await hullmark("attest", image.reference, "--key", keys.privateKey, "--type", "slsaprovenance1", "--predicate", predicate);
  });
  const stack = await report.step("verifier, and an agent whose identity is the TPM's", () =>
    startStack({ bed, region: "demo", policy: policy(readFileSync(keys.publicKey, "utf8"), bed.alertmanager?.url ?? "") }),
  );
  return { bed, programs, keys, image, stack, docker };
}

/** Images below acme/ must be signed by the demo's key; nothing else is asked of the rest. */
function policy(publicKeyPem: string, alertmanagerUrl: string): string {
  return stringify({
    apiVersion: "hullmark.dev/v1",
    kind: "Policy",
    metadata: { name: "demo" },
    spec: {
      mode: "observe",
      authorities: [{ name: "release", key: publicKeyPem }],
      rules: [
        { name: "acme", select: { images: ["**/acme/**"] }, require: { signatures: { authorities: ["release"] } }, allow: { env: ["TZ"] } },
        { name: "everything-else", allow: { env: ["**"], args: true } },
      ],
      intervals: { quote: "10s", heartbeat: "2s", rescan: "60s" },
      alerts: { routes: [{ name: "pager", type: "alertmanager", url: alertmanagerUrl, minSeverity: "low" }] },
    },
  });
}

/** SLSA provenance v1 of the demo's build: the commit and builder that a drift is traced to. */
function provenance(): unknown {
  return {
    buildDefinition: {
      buildType: "https://example.com/build/v1",
      externalParameters: { workflow: { path: ".github/workflows/release.yml", ref: "refs/heads/main", repository: ACCEPTANCE.source } },
      resolvedDependencies: [{ uri: `git+${ACCEPTANCE.source}@refs/heads/main`, digest: { gitCommit: ACCEPTANCE.revision } }],
    },
    runDetails: { builder: { id: "https://example.com/builder/release" }, metadata: { invocationId: "demo" } },
  };
}
