/** Hands in one container of a node's containerd, past any kubelet, and on its node. */
import { randomUUID } from "node:crypto";
import type { NodeRuntime } from "../../../deploy/testbed/index.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { overlayDirectories } from "../../fakes/overlay-directories.ts";
import type { Programs } from "../images/programs.ts";
import type { Victim } from "../scenarios.ts";

export class CriVictim implements Victim {
  readonly container: string;
  readonly programs: Programs;
  readonly #node: NodeRuntime;
  readonly #id: string;

  /** @param container as Hullmark names it @param id at the runtime */
  constructor(node: NodeRuntime, programs: Programs, container: string, id: string) {
    this.container = container;
    this.programs = programs;
    this.#node = node;
    this.#id = id;
  }

  async exec(...argv: string[]): Promise<string> {
    return (await run(this.#node.ctr("tasks", "exec", "--exec-id", randomUUID(), this.#id, ...argv))).trim();
  }

  sh(script: string): Promise<string> {
    return this.exec("/bin/sh", "-c", script);
  }

  background(...argv: string[]): Promise<string> {
    return this.exec("/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", ...argv);
  }

  async onHost(...argv: string[]): Promise<string> {
    return (await run(this.#node.namespace.wrap(argv))).trim();
  }

  async layerDirectory(index: number): Promise<string> {
    const directory = (await overlayDirectories(await this.pid())).lower[index];
    if (!directory) throw new Error(`${this.container} has no layer ${index}`);
    return directory;
  }

  async pid(): Promise<number> {
    const tasks = await run(this.#node.ctr("tasks", "list"));
    return Number(new RegExp(`^${this.#id}\\s+(\\d+)\\s`, "m").exec(tasks)?.[1]);
  }
}
