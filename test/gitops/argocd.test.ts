/** Argo CD itself: its application controller and repository server, with Redis between them. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { answers, freePort } from "../../deploy/testbed/http-service.ts";
import { tool } from "../../deploy/testbed/kubernetes/tools.ts";
import { program } from "../../deploy/testbed/paths.ts";
import { type Daemon, run, startDaemon } from "../../deploy/testbed/run.ts";
import { APPS, type App, GitOpsBed } from "./gitops-bed.ts";
import { deploysFromRepository } from "./gitops-suite.ts";

const NAMESPACE = "argocd";
/** Where its repository server listens for git's questions, whatever it is told of folders. */
const ASK_PASS = "/tmp/reposerver-ask-pass.sock";
const AUTOMATED = { prune: true, selfHeal: true };

interface Application {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: { readonly syncPolicy?: { readonly automated?: object } };
  readonly status?: { readonly history?: readonly { readonly revision: string }[] };
}

let on: GitOpsBed;
let first = "";
/** It writes over its environment, by which the test bed would know it. */
let redis: Daemon | undefined;

const application = (app: App): Promise<Application> => on.get("applications.argoproj.io", app, `--namespace=${NAMESPACE}`);

function settings(): object[] {
  const labels = { "app.kubernetes.io/part-of": "argocd" };
  const named = (name: string) => ({ metadata: { name, namespace: NAMESPACE, labels } });
  return [
    { apiVersion: "v1", kind: "ConfigMap", ...named("argocd-cm") },
    { apiVersion: "v1", kind: "Secret", ...named("argocd-secret"), stringData: { "server.secretkey": "of-this-test" } },
    {
      ...{ apiVersion: "argoproj.io/v1alpha1", kind: "AppProject", ...named("default") },
      spec: { sourceRepos: ["*"], destinations: [{ server: "*", namespace: "*" }], clusterResourceWhitelist: [{ group: "*", kind: "*" }] },
    },
  ];
}

const applications = (): object[] =>
  APPS.map((app) => ({
    ...{ apiVersion: "argoproj.io/v1alpha1", kind: "Application", metadata: { name: app, namespace: NAMESPACE } },
    spec: {
      ...{ project: "default", source: { repoURL: on.git.url, path: `apps/${app}`, targetRevision: "main" } },
      ...{ destination: { server: "https://kubernetes.default.svc", namespace: "default" }, syncPolicy: { automated: AUTOMATED } },
    },
  }));

/** @returns its address */
async function startRedis(): Promise<string> {
  const port = `${await freePort()}`;
  redis = await startDaemon({
    name: "redis",
    argv: [program("redis-server"), "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
    env: on.bed.env,
    logPath: join(on.bed.directory, "redis.log"),
    ready: async () => (await run([program("redis-cli"), "-p", port, "ping"])).startsWith("PONG"),
  });
  return `127.0.0.1:${port}`;
}

async function startArgo(): Promise<void> {
  const address = await startRedis();
  const [port, metrics, controllerMetrics] = [await freePort(), await freePort(), await freePort()];
  const TMPDIR = join(on.home, "argocd");
  mkdirSync(TMPDIR);
  const local = ["--redis", address, "--loglevel", "info"];
  const often = { ARGOCD_RECONCILIATION_TIMEOUT: "5s", ARGOCD_RECONCILIATION_JITTER: "0s" };
  const own = { ARGOCD_GPG_ENABLED: "false", ARGOCD_FAKE_IN_CLUSTER: "true", TMPDIR, ARGOCD_TLS_DATA_PATH: TMPDIR, ARGOCD_SSH_DATA_PATH: TMPDIR, ...often };
  const ofServer = ["--port", `${port}`, "--metrics-port", `${metrics}`, "--address", "127.0.0.1", "--disable-tls", ...local];
  await on.controller("argocd-repo-server", ofServer, () => answers(`http://127.0.0.1:${metrics}/healthz?full=true`), own);
  const ofController = ["--repo-server", `127.0.0.1:${port}`, "--repo-server-plaintext", "--metrics-port", `${controllerMetrics}`, "--namespace", NAMESPACE];
  await on.controller("argocd-application-controller", [...ofController, ...local], () => answers(`http://127.0.0.1:${controllerMetrics}/healthz`), own);
}

beforeAll(async () => {
  on = await GitOpsBed.start("gitops-argocd", "argocd");
  await on.kubectl("create", "namespace", NAMESPACE);
  await on.kubectl("apply", "--server-side", `--filename=${tool("argocd-kinds.yaml")}`);
  await on.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=120s");
  first = await on.commit("good", on.first.tagged);
  await on.acting.apply(...settings());
  await startArgo();
  await on.acting.apply(...applications());
  await on.deployed();
});

afterAll(async () => {
  await redis?.stop();
  await on?.[Symbol.asyncDispose]();
  rmSync(ASK_PASS, { force: true });
});

deploysFromRepository(
  () => on,
  () => first,
  {
    name: "argocd",
    owner: (app) => `Argo CD Application ${NAMESPACE}/${app}`,
    revision: (commit) => commit,
    folder: (app) => `apps/${app}`,
    applied: async (app) => (await application(app)).status?.history?.at(-1)?.revision,
    isPaused: async (app) => (await application(app)).spec.syncPolicy?.automated === undefined,
    // From where it was kept.
    resume: async (app) => {
      const kept = (await application(app)).metadata.annotations?.["hullmark.dev/paused-sync"] ?? "";
      const patch = `{"spec":{"syncPolicy":{"automated":${kept}}}}`;
      return on.kubectl("patch", "applications.argoproj.io", app, `--namespace=${NAMESPACE}`, "--type=merge", `--patch=${patch}`);
    },
  },
);
