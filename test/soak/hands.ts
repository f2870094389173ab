/** Docker commands on the soak's engine, and hands on the host. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import type { Testbed } from "../../deploy/testbed/index.ts";
import { overlayDirectories } from "../fakes/overlay-directories.ts";
import { engineDump } from "./engine-dump.ts";
import { pause } from "./pause.ts";

const execute = promisify(execFile);
const COMMAND_LIMIT_MS = 120_000;
/** Further commands that run into their limit mostly wait for the same. */
const MAX_DUMPS = 3;
/** An engine that does not unpause by then has stuck: it takes a fraction of a second. */
const STUCK_AFTER_MS = 10_000;

export class Hands {
  /** Commands that ran into their limit, each with what the engine was about then. */
  readonly overdue: string[] = [];
  /** How often a container was thawed by hand. */
  thawed = 0;
  readonly #bed: Testbed;

  constructor(bed: Testbed) {
    this.#bed = bed;
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, DOCKER_HOST: this.#bed.engine?.dockerHost };
  }

  async docker(...args: string[]): Promise<string> {
    return (await this.#run("docker", args, this.#env())).trim();
  }

  /** A shell command in the container as root, as `docker exec` runs it. */
  sh(container: string, script: string): Promise<string> {
    return this.docker("exec", "--user", "0", container, "/bin/sh", "-c", script);
  }

  /** The same by the container's own user. */
  asUser(container: string, ...argv: string[]): Promise<string> {
    return this.docker("exec", container, ...argv);
  }

  /** Starts a program in the container as root and leaves it. */
  background(container: string, script: string): Promise<string> {
    return this.docker("exec", "--detach", "--user", "0", container, "/bin/sh", "-c", script);
  }

  async onHost(script: string): Promise<void> {
    const [command = "", ...args] = this.#bed.wrap(["/bin/sh", "-c", script]);
    await this.#run(command, args);
  }

  /** `docker cp` out of the container, thrown away. */
  async copyOut(container: string, path: string): Promise<void> {
    const child = spawn("docker", ["cp", `${container}:${path}`, "-"], { env: this.#env(), stdio: "ignore", timeout: COMMAND_LIMIT_MS });
    await once(child, "close");
  }

  /** Pauses the container for so long. @throws where the engine leaves it paused */
  async paused(container: string, ms: number): Promise<void> {
    await this.docker("pause", container);
    await pause(ms);
    const unpaused = this.docker("unpause", container).then(
      () => undefined,
      (error: Error) => error,
    );
    const failed = await Promise.race([unpaused, pause(STUCK_AFTER_MS).then(() => "stuck" as const)]);
    if (failed === undefined) return;
    if (failed !== "stuck") throw failed;
    await this.#thaw(container, unpaused);
  }

  /**
   * containerd 1.6.20 (Debian 12) cannot unpause a container in which a command was just being started when it was paused (docs/playbooks.md, "An engine that
   * does not answer"): on-call's way out, taken here. The runtime then finds nothing frozen, so that the engine may have to be told again.
   */
  async #thaw(container: string, unpaused: Promise<Error | undefined>): Promise<void> {
    this.thawed++;
    const id = await this.docker("ps", "--no-trunc", "--quiet", "--filter", `name=^/${container}$`);
    const [freezer] = globSync([`/sys/fs/cgroup/freezer/*/${id}/freezer.state`, `/sys/fs/cgroup/*/${id}/cgroup.freeze`]);
    if (!freezer) throw new Error(`${container} (${id}) has no freezer`);
    const [frozen, free] = freezer.endsWith("freezer.state") ? ["FROZEN", "THAWED"] : ["1", "0"];
    writeFileSync(freezer, free);
    if ((await unpaused) === undefined) return;
    writeFileSync(freezer, frozen);
    try {
      await this.docker("unpause", container);
    } finally {
      writeFileSync(freezer, free);
    }
  }

  /** SIGHUP: the engine reads its configuration again. */
  async reloadEngine(): Promise<void> {
    const pid = this.#bed.engine?.daemon().process.pid;
    if (pid) process.kill(pid, "SIGHUP");
  }

  /** Directory of an image layer on the node, 0 lowest. */
  async layerDirectory(container: string, index: number): Promise<string> {
    const { lower } = await overlayDirectories(Number(await this.docker("inspect", "-f", "{{.State.Pid}}", container)));
    const directory = lower[index];
    if (!directory) throw new Error(`${container} has no layer ${index}`);
    return directory;
  }

  /** @throws Error that says what the program said, or that it ran into its limit */
  async #run(command: string, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
    try {
      return (await execute(command, args, { env, maxBuffer: 64 << 20, timeout: COMMAND_LIMIT_MS })).stdout;
    } catch (error) {
      if (!(error as { killed?: boolean }).killed) throw error;
      const title = `killed after ${COMMAND_LIMIT_MS / 1000} s: ${command} ${args.join(" ")}`;
      if (this.overdue.length < MAX_DUMPS) this.overdue.push(`${title}\n${await engineDump(this.#bed)}`);
      throw new Error(title, { cause: error });
    }
  }
}
