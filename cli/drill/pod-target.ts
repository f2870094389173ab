/** A drill's own pod. */
import * as z from "zod";
import { type Kubectl, KubectlError, kubectlError } from "../kubectl/kubectl.ts";
import type { Release } from "../kubectl/release.ts";
import { DRILL_LABEL, DrillError, type DrillTarget, FOREIGN_SHELL } from "./target.ts";

export interface PodTargetOptions {
  readonly kubectl: Kubectl;
  readonly release: Release;
  readonly namespace: string;
  /** Of this drill: a-z 0-9. */
  readonly run: string;
  /** With a shell; undefined: the verifier's own, which is in the cluster already and has Node. */
  readonly image: string | undefined;
  readonly startSeconds: number;
}

const CONTAINER = "drill";
/** The pod ends by itself, should nobody be there to remove it. */
const LIFE_SECONDS = 900;
const NODE = "/usr/bin/node";
/** {@link FOREIGN_SHELL} with Node. */
const FOREIGN_NODE = `const { appendFileSync, copyFileSync, mkdirSync } = require("node:fs");
const program = process.argv[1] + "/node";
mkdirSync(process.argv[1]);
copyFileSync(process.execPath, program);
appendFileSync(program, "hullmark drill\\n");
require("node:child_process").spawn(program, ["-e", "setTimeout(() => {}, ${LIFE_SECONDS * 1000})"], { detached: true, stdio: "ignore" }).unref();`;
/** The API server names the webhook that said no. */
const HULLMARK_REFUSES = /admission webhook "[a-z0-9.-]+[.]admission[.]hullmark[.]dev" denied the request.*/s;

const Pod = z.object({ metadata: z.object({ uid: z.string(), labels: z.record(z.string(), z.string()).default({}) }) });

export class PodTarget implements DrillTarget {
  readonly #options: PodTargetOptions;
  readonly #name: string;
  #uid: string | undefined;

  constructor(options: PodTargetOptions) {
    this.#options = options;
    this.#name = `hullmark-drill-${options.run}`;
  }

  get container(): string {
    return `${this.#options.namespace}/${this.#name}/${CONTAINER}`;
  }

  async start(signal: AbortSignal): Promise<void> {
    const { image, startSeconds } = this.#options;
    const pod = this.#pod(image ?? (await this.#verifierImage(signal)), image === undefined);
    this.#uid = await this.#create(pod, signal);
    try {
      await this.#here(["wait", "--for=condition=Ready", `pod/${this.#name}`, `--timeout=${startSeconds}s`], signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      throw new DrillError("NO_START", `the pod ${this.container} does not run: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }

  async write(path: string, signal: AbortSignal): Promise<void> {
    const write = 'require("node:fs").writeFileSync(process.argv[1], "hullmark drill\\n", { flag: "wx" })';
    await this.#inside({ node: write, shell: 'set -C; echo hullmark drill > "$1"' }, path, signal);
  }

  async execute(directory: string, signal: AbortSignal): Promise<void> {
    await this.#inside({ node: FOREIGN_NODE, shell: FOREIGN_SHELL }, directory, signal);
  }

  async remove(): Promise<void> {
    // By label and name: the API server itself looks whether it is the drill's.
    const own = [`--selector=${DRILL_LABEL}=${this.#options.run}`, `--field-selector=metadata.name=${this.#name}`];
    await this.#here(["delete", "pod", ...own, "--grace-period=1", "--wait=true", "--timeout=60s"], undefined);
  }

  /** @returns its uid @throws DrillError REFUSED, KubectlError */
  async #create(pod: object, signal: AbortSignal): Promise<string> {
    const { kubectl, namespace } = this.#options;
    // Not `apply`: what is there already is not the drill's.
    const args = ["--namespace", namespace, "create", "--filename=-", "--output=json"];
    const { stdout, stderr, status } = await kubectl.ask(args, { input: JSON.stringify(pod), signal });
    const [refusal] = HULLMARK_REFUSES.exec(stderr) ?? [];
    if (status !== 0 && refusal !== undefined) throw new DrillError("REFUSED", refusal.replaceAll(/\s*\n\s*/g, "; ").slice(0, 500));
    if (status !== 0) throw kubectlError(stderr);
    return Pod.parse(JSON.parse(stdout)).metadata.uid;
  }

  /** Runs one of the two in the pod, whichever its image has the program for, with one argument. @throws DrillError FOREIGN, FAILED */
  async #inside(script: { readonly node: string; readonly shell: string }, argument: string, signal: AbortSignal): Promise<void> {
    const { run, image } = this.#options;
    const { uid, labels } = Pod.parse(JSON.parse(await this.#here(["get", "pod", this.#name, "--output=json"], signal))).metadata;
    if (labels[DRILL_LABEL] !== run || uid !== this.#uid)
      throw new DrillError("FOREIGN", `${this.container} is not the pod that this drill made: it has not the label ${DRILL_LABEL}=${run}`);
    const command = image === undefined ? [NODE, "-e", script.node, argument] : ["/bin/sh", "-c", script.shell, "sh", argument];
    await this.#here(["exec", this.#name, `--container=${CONTAINER}`, "--", ...command], signal);
  }

  async #here(args: readonly string[], signal: AbortSignal | undefined, input = ""): Promise<string> {
    try {
      return await this.#options.kubectl.run(["--namespace", this.#options.namespace, ...args], { input, ...(signal && { signal }) });
    } catch (error) {
      // Wrong context or no right is the user's to change; that the pod would not take it is for the drill to tell.
      if (error instanceof KubectlError && error.code === "UNREACHABLE") throw new DrillError("FAILED", error.message, { cause: error });
      throw error;
    }
  }

  async #verifierImage(signal: AbortSignal): Promise<string> {
    const { kubectl, release } = this.#options;
    const select = "--selector=app.kubernetes.io/name=hullmark,app.kubernetes.io/component=verifier";
    const image = await kubectl.run(["--namespace", release.namespace, "get", "pods", select, "--output=jsonpath={.items[0].spec.containers[0].image}"], {
      signal,
    });
    if (image === "") throw new DrillError("NO_START", `no verifier's pod in ${release.namespace}, whose image the drill would take: name one by --image`);
    return image;
  }

  #pod(image: string, own: boolean): object {
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: this.#name, labels: { [DRILL_LABEL]: this.#options.run, "app.kubernetes.io/managed-by": "hullmark-drill" } },
      spec: {
        restartPolicy: "Never",
        activeDeadlineSeconds: LIFE_SECONDS,
        terminationGracePeriodSeconds: 1,
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: { seccompProfile: { type: "RuntimeDefault" } },
        containers: [
          {
            name: CONTAINER,
            image,
            imagePullPolicy: "IfNotPresent",
            command: own ? [NODE, "-e", `setTimeout(() => {}, ${LIFE_SECONDS * 1000})`] : ["/bin/sh", "-c", `sleep ${LIFE_SECONDS}`],
            resources: { requests: { cpu: "10m", memory: "48Mi" }, limits: { memory: "256Mi" } },
            // Root without any capability: its own files are what it can write.
            securityContext: { runAsUser: 0, runAsGroup: 0, privileged: false, allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
          },
        ],
      },
    };
  }
}
