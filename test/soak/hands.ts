/** Docker commands on the soak's engine, and hands on the host. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import type { Testbed } from "../../deploy/testbed/index.ts";

const run = promisify(execFile);
const COMMAND_LIMIT_MS = 120_000;

export class Hands {
  readonly #bed: Testbed;

  constructor(bed: Testbed) {
    this.#bed = bed;
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, DOCKER_HOST: this.#bed.engine?.dockerHost };
  }

  async docker(...args: string[]): Promise<string> {
    const { stdout } = await run("docker", args, { env: this.#env(), maxBuffer: 64 << 20, timeout: COMMAND_LIMIT_MS });
    return stdout.trim();
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
    await run(command, args, { timeout: COMMAND_LIMIT_MS });
  }

  /** `docker cp` out of the container, thrown away. */
  async copyOut(container: string, path: string): Promise<void> {
    const child = spawn("docker", ["cp", `${container}:${path}`, "-"], { env: this.#env(), stdio: ["ignore", "ignore", "ignore"] });
    await once(child, "close");
  }

  /** SIGHUP: the engine reads its configuration again. */
  async reloadEngine(): Promise<void> {
    const pid = this.#bed.engine?.daemon().process.pid;
    if (pid) process.kill(pid, "SIGHUP");
  }

  /** Directory of an image layer on the node, 0 lowest. */
  async layerDirectory(container: string, index: number): Promise<string> {
    const lower = await this.docker("inspect", "-f", "{{.GraphDriver.Data.LowerDir}}", container);
    const directory = lower.split(":").toReversed()[index];
    if (!directory) throw new Error(`${container} has no layer ${index}`);
    return directory;
  }
}
