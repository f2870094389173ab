import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { buildImages } from "../../../deploy/images/build.ts";
import { buildEarlier } from "../../../deploy/images/earlier.ts";
import { publish } from "../../../deploy/images/publish.ts";
import { externalCluster } from "../../../deploy/testbed/kubernetes/external.ts";
import { STATE_ROOT } from "../../../deploy/testbed/paths.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms } from "../images/programs.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { anyCluster } from "./any-cluster.ts";
import { runPlugin } from "./plugin.ts";

describe("given", () => {
  const cluster = externalCluster();
  let home: string;
  let workload: PushedImage;
  const of = () => {
    if (!cluster) throw new Error("no cluster");
    return cluster;
  };

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), "hullmark-given-"));
    const layout = join(home, "images");
    const images = await buildImages({ output: layout, cache: join(STATE_ROOT, "cache/debian") });
    await buildEarlier(STATE_ROOT);
    await publish(images, { layout, registry: `${of().registry}/ship`, tag: "0.1.0", plainHttp: true });
    workload = await pushImage(of().registry, "acme/web", "1", acceptanceImage(await loadPrograms()));
  }, 1_800_000);
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  anyCluster(() => ({
    ...{ cluster: of(), shipped: `${of().registry}/ship`, workload: workload.tagged, home },
    hullmark: (...args) => runPlugin(home, of().kubeconfig, args),
  }));
});
