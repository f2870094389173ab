/** What it takes to install the chart with the images as they are shipped, on a cluster of the test bed. */
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { buildImages } from "../../../deploy/images/build.ts";
import { publish } from "../../../deploy/images/publish.ts";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { tool } from "../../../deploy/testbed/kubernetes/tools.ts";
import { REPOSITORY, STATE_ROOT } from "../../../deploy/testbed/paths.ts";

const execute = promisify(execFile);

export const CHART: string = join(REPOSITORY, "deploy/helm/hullmark");

/**
 * Makes the images and copies them to a registry without TLS, as {@link chartSettings} has the chart take them.
 * @param home for files; the layout is its folder `images` afterwards @param signed names of those that are signed and attested
 * @returns PEM of the key that signed them
 */
export async function shipImages(home: string, registryHost: string, signed: readonly string[] = []): Promise<string> {
  const layout = join(home, "images");
  const images = await buildImages({ output: layout, cache: join(STATE_ROOT, "cache/debian") });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = join(home, "release.key");
  writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  const shipped = { layout, registry: `${registryHost}/ship`, tag: "0.1.0", plainHttp: true };
  const isSigned = ({ name }: { readonly name: string }): boolean => signed.includes(name);
  await publish(
    images.filter((image) => !isSigned(image)),
    shipped,
  );
  await publish(images.filter(isSigned), { ...shipped, key });
  return publicKey.export({ type: "spki", format: "pem" }).toString();
}

/** Values as helm's arguments: images of {@link shipImages}, and what is the test bed's own. */
export function chartSettings(cluster: Kubernetes, registryHost: string): readonly string[] {
  const values = [
    `image.registry=${registryHost}/ship`,
    `agent.runtime.rootDirectory=${cluster.containerdRoot}`,
    "agent.runtime.otherContainers=ignore",
    `verifier.registries.plainHttp={${registryHost}}`,
  ];
  return values.flatMap((value) => ["--set", value]);
}

/** Runs helm to its end. @param home for what it keeps @returns what it wrote to either output */
export async function chartHelm(cluster: Kubernetes, home: string, args: readonly string[]): Promise<string> {
  const env = { ...process.env, KUBECONFIG: cluster.kubeconfig, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home };
  const { stdout, stderr } = await execute(tool("helm"), args, { env, maxBuffer: 16 << 20 });
  return `${stdout}${stderr}`;
}
