/** Flux itself: its source-controller and kustomize-controller. */
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { answers, freePort } from "../../deploy/testbed/http-service.ts";
import { tool } from "../../deploy/testbed/kubernetes/tools.ts";
import { APPS, type App, GitOpsBed } from "./gitops-bed.ts";
import { deploysFromRepository } from "./gitops-suite.ts";

const NAMESPACE = "flux-system";

interface Kustomization {
  readonly spec: { readonly suspend?: boolean };
  readonly status?: { readonly lastAppliedRevision?: string };
}

let on: GitOpsBed;
let first = "";

const kustomization = (app: App): Promise<Kustomization> => on.get("kustomizations", app, `--namespace=${NAMESPACE}`);

function objects(): object[] {
  const source = { kind: "GitRepository", name: "shop" };
  const repository = { apiVersion: "source.toolkit.fluxcd.io/v1", kind: "GitRepository", metadata: { name: "shop", namespace: NAMESPACE } };
  return [
    { ...repository, spec: { url: on.git.url, interval: "5s", ref: { branch: "main" } } },
    ...APPS.map((app) => ({
      ...{ apiVersion: "kustomize.toolkit.fluxcd.io/v1", kind: "Kustomization", metadata: { name: app, namespace: NAMESPACE } },
      spec: { interval: "10s", retryInterval: "10s", timeout: "3m", prune: true, wait: true, path: `./apps/${app}`, sourceRef: source },
    })),
  ];
}

async function startController(name: string, more: readonly string[]): Promise<void> {
  const [health, metrics] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const args = [`--health-addr=${health}`, `--metrics-addr=${metrics}`, "--enable-leader-election=false", ...more];
  await on.controller(name, args, () => answers(`http://${health}/healthz`), { RUNTIME_NAMESPACE: NAMESPACE });
}

beforeAll(async () => {
  on = await GitOpsBed.start("gitops-flux", "flux");
  await on.kubectl("create", "namespace", NAMESPACE);
  await on.kubectl("apply", "--server-side", `--filename=${tool("flux-kinds.yaml")}`);
  await on.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=120s");
  first = await on.commit("good", on.first.tagged);
  const storage = `127.0.0.1:${await freePort()}`;
  await startController("source-controller", [`--storage-path=${join(on.home, "git")}`, `--storage-addr=${storage}`, `--storage-adv-addr=${storage}`]);
  await startController("kustomize-controller", []);
  await on.acting.apply(...objects());
  await on.deployed();
});

afterAll(() => on?.[Symbol.asyncDispose]());

deploysFromRepository(
  () => on,
  () => first,
  {
    name: "flux",
    owner: (app) => `Flux Kustomization ${NAMESPACE}/${app}`,
    revision: (commit) => `main@sha1:${commit}`,
    folder: (app) => `./apps/${app}`,
    applied: async (app) => (await kustomization(app)).status?.lastAppliedRevision,
    isPaused: async (app) => (await kustomization(app)).spec.suspend === true,
    resume: (app) => on.kubectl("patch", "kustomizations", app, `--namespace=${NAMESPACE}`, "--type=merge", '--patch={"spec":{"suspend":false}}'),
  },
);
