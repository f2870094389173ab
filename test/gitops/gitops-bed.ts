/** A cluster that Hullmark watches and acts on, and a repository that something else applies to it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Stack, startStack } from "../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { tool } from "../../deploy/testbed/kubernetes/tools.ts";
import { type Daemon, startDaemon } from "../../deploy/testbed/run.ts";
import { eventually } from "../e2e/fault-support.ts";
import { acceptanceImage } from "../e2e/images/acceptance.ts";
import { loadPrograms } from "../e2e/images/programs.ts";
import { type PushedImage, pushImage } from "../e2e/images/push.ts";
import { Acting, type ToldAction, WITHIN_MS } from "../e2e/kubernetes/acting.ts";
import { podFollower } from "../e2e/kubernetes/follower.ts";
import { podSpec } from "../e2e/kubernetes/workloads.ts";
import { cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { GitServer } from "./git-server.ts";

/** Both are deployed from the repository; policy lets one of them be paused. */
export const APPS = ["told", "paused"] as const;
export type App = (typeof APPS)[number];

const policy = (publicKey: string, owner: "argocd" | "flux", pagerUrl: string): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: gitops }
spec:
  mode: enforce
  authorities:
    - name: release
      key: |
${publicKey.trim().replace(/^/gm, "        ")}
  rules:
    - { name: acme, select: { images: ["**/acme/**"] }, require: { signatures: { authorities: [release] } } }
    - { name: everything-else, allow: { env: ["**"], args: true } }
  alerts: { routes: [{ name: page, type: webhook, url: "${pagerUrl}", minSeverity: info, match: { kinds: [unsigned] } }] }
  intervals: { quote: 10s, heartbeat: 2s, rescan: 60s }
  response:
    pause: 1m
    hourlyPercent: 100
    rules:
      - { name: paused, select: { workloads: [default/paused] }, untrusted: [rollback], rollbackOnOneNode: true, owners: [${owner}] }
      - { name: told, select: { workloads: [default/told] }, untrusted: [rollback], rollbackOnOneNode: true }
`;

export class GitOpsBed implements AsyncDisposable {
  readonly home = mkdtempSync(join(tmpdir(), "hullmark-gitops-"));
  bed!: Testbed;
  cluster!: Kubernetes;
  stack!: Stack;
  acting!: Acting;
  git!: GitServer;
  /** Who is told of images that are not signed. */
  readonly pager = new HttpReceiver();
  /** Signed. */
  first!: PushedImage;
  /** Not signed. */
  stranger!: PushedImage;

  /** @param owner whose things the policy lets be paused */
  static async start(name: string, owner: "argocd" | "flux"): Promise<GitOpsBed> {
    const started = new GitOpsBed();
    try {
      await started.#start(name, owner);
      return started;
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(name: string, owner: "argocd" | "flux"): Promise<void> {
    const [bed, programs] = await Promise.all([startTestbed({ name, parts: { kubernetes: true, registry: true, tpms: 1 } }), loadPrograms()]);
    this.bed = bed;
    if (!bed.kubernetes) throw new Error("no cluster");
    this.cluster = bed.kubernetes;
    const push = (tag: string): Promise<PushedImage> => pushImage(bed.registry?.host ?? "", "acme/web", tag, acceptanceImage(programs, tag));
    this.first = await push("1");
    this.stranger = await push("2");
    const key = await cosignKeyPair("v2", this.home, "release");
    const offline = ["--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry", "--yes"];
    await cosign("v2", this.home, ["sign", "--key", key.privateKey, ...offline, this.first.reference]);
    await this.pager.start();
    const kubernetes = { ...(await podFollower(this.cluster, this.home)), pods: { graceSeconds: 30 } };
    this.stack = await startStack({ bed, policy: policy(readFileSync(key.publicKeyPath, "utf8"), owner, this.pager.url), kubernetes });
    this.acting = await Acting.start({ bed, cluster: this.cluster, stack: this.stack, programs, image: this.first.tagged });
    mkdirSync(join(this.home, "git"));
    this.git = await GitServer.start(join(this.home, "git"));
  }

  /** A program that deploy/testbed/go-tools.sh gitops builds, with the administrator's rights, as its installation gives it. */
  async controller(name: string, args: readonly string[], ready: () => Promise<boolean>, more: Readonly<Record<string, string>> = {}): Promise<Daemon> {
    const env = { ...this.bed.env, KUBECONFIG: this.cluster.kubeconfig, HOME: this.home, ...more };
    return await startDaemon({ name, argv: [tool(name), ...args], env, logPath: join(this.bed.directory, `${name}.log`), ready });
  }

  kubectl(...args: string[]): Promise<string> {
    return this.cluster.kubectl(args);
  }

  async get<T>(...what: string[]): Promise<T> {
    return JSON.parse(await this.kubectl("get", ...what, "--output=json")) as T;
  }

  /** Pushes both apps with this image. @param mark something to tell commits apart by @returns the commit */
  commit(mark: string, image: string): Promise<string> {
    const manifest = (app: App): string => {
      const metadata = { name: app, namespace: "default", annotations: { "example.com/mark": mark } };
      const spec = { selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(image) } };
      return JSON.stringify({ apiVersion: "apps/v1", kind: "Deployment", metadata, spec }, null, 2);
    };
    return this.git.commit(mark, Object.fromEntries(APPS.map((app) => [`apps/${app}/deployment.yaml`, manifest(app)])));
  }

  async imageOf(app: App): Promise<string> {
    return await this.kubectl("get", `deployment/${app}`, "--output=jsonpath={.spec.template.spec.containers[0].image}");
  }

  async rollsOut(app: App, image: string): Promise<void> {
    await eventually(
      `${app} is of ${image}`,
      () => this.imageOf(app),
      (found) => found === image,
      WITHIN_MS,
    );
  }

  /** Waits until both run as the first commit has them. */
  async deployed(): Promise<void> {
    for (const app of APPS) {
      await this.rollsOut(app, this.first.tagged);
      await this.acting.clean(app, 1);
    }
  }

  /** @returns them once so many rollbacks of it were done */
  async rollbacks(app: App, count: number): Promise<readonly ToldAction[]> {
    return await eventually(
      `${count} rollbacks of ${app}`,
      async () => (await this.acting.told(`${app}-`)).filter(({ kind, state }) => kind === "rollback" && state === "done"),
      (done) => done.length >= count,
      WITHIN_MS,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.acting?.stop().catch(() => undefined);
    await this.git?.[Symbol.asyncDispose]();
    await this.bed?.down();
    await this.pager[Symbol.asyncDispose]();
    rmSync(this.home, { recursive: true, force: true });
  }
}
