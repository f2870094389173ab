/** What whoever is on call for a cluster types, as the documentation has it: the commands of playbooks, and the training lab. */
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { create } from "@bufbuild/protobuf";
import { DriftSchema } from "@hullmark/proto/v1/query";
import { expect, test } from "vitest";
import { commandsOf } from "../../../cli/playbook/page.ts";
import { PLAYBOOKS } from "../../../cli/playbook/text.ts";
import { freePort } from "../../../deploy/testbed/http-service.ts";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms } from "../images/programs.ts";
import { pushImage } from "../images/push.ts";
import { assertDone, doLab, type LabRun } from "../lab.ts";

/** It waits for what it has to see: whatever does not come ends it, and the test says where. */
const LAB_SECONDS = 600;

export interface OnCallBed {
  readonly cluster: Kubernetes;
  /** HOST:PORT, without TLS. */
  readonly registry: string;
  /** For files; removed with what is in it. */
  readonly home: string;
  /** Of the release `hullmark`. */
  readonly namespace: string;
  /** Of somebody who has the command, its plugin, kubectl and helm. */
  environment(kubeconfig: string): NodeJS.ProcessEnv;
}

export interface DriftView {
  readonly id: string;
  readonly kind: string;
  readonly alertedAt: string | null;
  readonly path: string;
  readonly node: { readonly name: string };
  readonly container: { readonly id: string; readonly name: string };
}

interface Ran extends LabRun {
  readonly stdout: string;
  readonly stderr: string;
}

function shell(script: string, cwd: string, env: NodeJS.ProcessEnv): Promise<Ran> {
  const argv = [`${LAB_SECONDS}`, "/bin/bash", "-c", script];
  return promisify(execFile)("/usr/bin/timeout", argv, { cwd, env, maxBuffer: 16 << 20 }).then(
    ({ stdout, stderr }) => ({ code: 0, text: `${stdout}${stderr}`, stdout, stderr }),
    ({ code, stdout, stderr }: Omit<Ran, "text">) => ({ code, text: `${stdout}${stderr}`, stdout, stderr }),
  );
}

const commandsIn = (page: string): string[][] => [...page.matchAll(/^```sh\n(.*?)^```/gms)].map(([, block = ""]) => block.trimEnd().split("\n"));

/** Declares the test. `default/web` has a drift of its `/etc/nginx/nginx.conf`, whose content its node lets out. @param of the bed, once it is up */
export function playbooks(of: () => OnCallBed): void {
  test("prints playbooks whose commands do as they are typed, whichever the context's namespace is", async () => {
    const { cluster, home, environment } = of();
    const [elsewhere, folder] = [join(home, "elsewhere.kubeconfig"), join(home, "playbook")];
    writeFileSync(elsewhere, readFileSync(cluster.kubeconfig), { mode: 0o600 });
    mkdirSync(folder);
    const type = (line: string) => shell(line, folder, environment(elsewhere));
    await type("kubectl config set-context --current --namespace=kube-public");
    const { drifts } = JSON.parse((await type("kubectl hullmark drift ls -A -o json")).stdout) as { drifts: DriftView[] };
    const found = drifts.find(({ container, path }) => container.name.startsWith("default/web/") && path === "/etc/nginx/nginx.conf");
    if (!found) throw new Error(`no drift of default/web: ${JSON.stringify(drifts)}`);
    const [, incident = ""] = /incident (I-\w+)/.exec((await type(`kubectl hullmark drift show ${found.id}`)).stdout) ?? [];
    const page = await type(`kubectl hullmark playbook show ${incident}`);
    expect(page).toMatchObject({ code: 0, stderr: "" });
    // Of this kind as it is told; of all others what asks the cluster about the pod.
    const drift = create(DriftSchema, {
      ...{ nodeName: cluster.nodeName, containerName: found.container.name, containerId: found.container.id, path: Buffer.from(found.path) },
    });
    const ofKinds = commandsIn(PLAYBOOKS).flatMap((block) => commandsOf(block, incident, drift).filter((line) => line.startsWith("kubectl ")));
    const lines = [...new Set([...commandsIn(page.stdout).flat(), ...ofKinds])].filter((line) => !line.includes(" incident ack "));
    expect(lines.length).toBeGreaterThan(10);
    const told: string[] = [];
    for (const line of lines) {
      const { code, stdout, stderr } = await type(line);
      // 1: there is drift.
      const done = code === 0 || (code === 1 && line.startsWith("kubectl hullmark drift "));
      expect({ line, done, stderr: stderr.replace("No resources found\n", "") }).toEqual({ line, done: true, stderr: "" });
      told.push(stdout);
    }
    expect(told.join("\n")).toMatch(new RegExp(`^${found.id} +med +default/web `, "m"));
    expect(told.join("\n")).toMatch(/^\+x$/m);
    expect(readFileSync(join(folder, "evidence"), "utf8")).toMatch(/\nx\n$/);
    expect(readdirSync(folder).sort()).toEqual([`${incident}.json`, "evidence"].sort());
  });
}

/** Declares the test. @param of the bed, once the release is installed there with an actuator */
export function trainingLab(of: () => OnCallBed): void {
  test("every block of the training lab does what it says", { timeout: 900_000 }, async () => {
    const { cluster, registry, home, namespace, environment } = of();
    const programs = await loadPrograms();
    for (const edition of ["1", "2"]) await pushImage(registry, "lab/shop", edition, acceptanceImage(programs, `lab-${edition}`));
    const [directory, values] = [join(home, "lab"), join(home, "values.yaml")];
    mkdirSync(directory);
    const env = {
      ...{ ...environment(cluster.kubeconfig), HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home },
      ...{ IMAGES: `${registry}/ship`, SHOP: `${registry}/lab/shop`, CHART: join(REPOSITORY, "deploy/helm/hullmark"), VALUES: values },
      ...{ SIGNING: `--plain-http ${registry}`, PORT: String(await freePort()) },
    };
    // What is installed stays as it is: nothing is rolled out for the lab.
    writeFileSync(values, (await shell(`helm get values hullmark --namespace ${namespace} --output yaml`, directory, env)).stdout);
    assertDone(await doLab("docs/training-lab-kubernetes.md", join(home, "blocks"), (script) => shell(script, directory, env)));
    expect(readdirSync(directory)).toEqual([]);
  });
}
