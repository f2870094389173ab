/** Hands in one container of a pod and on its node. */
import { readFileSync } from "node:fs";
import { parseMountInfo, parseOverlayOptions } from "../../../agent/core/mountinfo.ts";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { run } from "../../../deploy/testbed/run.ts";
import type { Programs } from "../images/programs.ts";
import type { Victim } from "../scenarios.ts";

export class PodVictim implements Victim {
  readonly container: string;
  readonly programs: Programs;
  readonly #cluster: Kubernetes;
  readonly #pod: string;
  readonly #name: string;

  /** @param pod in namespace `default` */
  constructor(cluster: Kubernetes, programs: Programs, pod: string, name = "web") {
    this.container = `default/${pod}/${name}`;
    this.programs = programs;
    this.#cluster = cluster;
    this.#pod = pod;
    this.#name = name;
  }

  async exec(...argv: string[]): Promise<string> {
    return (await this.#cluster.kubectl(["exec", this.#pod, `--container=${this.#name}`, "--", ...argv])).trim();
  }

  sh(script: string): Promise<string> {
    return this.exec("/bin/sh", "-c", script);
  }

  background(...argv: string[]): Promise<string> {
    return this.exec("/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", ...argv);
  }

  async onHost(...argv: string[]): Promise<string> {
    return (await run(this.#cluster.namespace.wrap(argv))).trim();
  }

  async layerDirectory(index: number): Promise<string> {
    const root = parseMountInfo(readFileSync(`/proc/${await this.pid()}/mountinfo`, "latin1")).find(({ destination }) => destination === "/");
    const directory = parseOverlayOptions(root?.superOptions ?? "")?.lowerdirs.toReversed()[index];
    if (!directory) throw new Error(`${this.container} has no layer ${index}`);
    return directory;
  }

  /** Main process in the host's pid namespace. */
  pid(): Promise<number> {
    return taskPid(this.#cluster, () => this.id());
  }

  /** The container's id at the runtime; empty where the API server does not have it yet. */
  async id(): Promise<string> {
    const status = await this.#cluster.kubectl([
      "get",
      "pod",
      this.#pod,
      `--output=jsonpath={.status.containerStatuses[?(@.name=="${this.#name}")].containerID}`,
    ]);
    return status.replace("containerd://", "");
  }
}

/** Main process of a container, in the host's pid namespace. @param idOf its id at the runtime; empty where nobody has it yet */
export async function taskPid(cluster: Kubernetes, idOf: () => Promise<string>): Promise<number> {
  let tasks = "";
  // The API server may not have the id yet, and a list leaves out a task whose shim does not answer at once.
  for (let attempt = 0; attempt < 30; attempt++) {
    const id = await idOf();
    tasks = `${id}\n${await run(cluster.ctr("tasks", "list"))}`;
    const pid = Number((id !== "" && new RegExp(`^${id}\\s+(\\d+)\\s`, "m").exec(tasks)?.[1]) || 0);
    if (pid > 0) return pid;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  throw new Error(`no such task: ${tasks}`);
}
