/** An actuator of a Docker host as it is shipped, on the test bed's engine, and what people see of what it does. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFailed } from "vitest";
import { stringify } from "yaml";
import { tail } from "../../deploy/stack/stack.ts";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";
import { type Daemon, startDaemon } from "../../deploy/testbed/run.ts";
import { engineOf, eventually, type FaultBed, workloads } from "./fault-support.ts";

export interface ToldAction {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly reason: string;
  readonly drift: string;
  readonly container: { readonly id: string; readonly name: string };
  readonly newContainerId: string | null;
  /** RFC 3339. */
  readonly createdAt: string;
  /** null: it was not. */
  readonly issuedAt: string | null;
}

export interface ToldActions {
  readonly actions: readonly ToldAction[];
  /** Containers, by what holds them back. */
  readonly held: Readonly<Record<string, number>>;
  readonly paused: { readonly by: string; readonly reason: string } | null;
}

const SETTLE_MS = 120_000;

/**
 * The actuator of one node as it is shipped, with its credentials made: of the bed's engine, where it has one.
 * @param settings besides those that every actuator has @returns it; its log is `actuator-NODE.log` in the bed's folder, the caller ends it
 */
export async function startActuatorOf(node: string, { stack, bed }: Pick<FaultBed, "stack" | "bed">, settings: object): Promise<Daemon> {
  const name = `actuator-${node}`;
  const home = join(stack.directory, name);
  mkdirSync(home, { mode: 0o700 });
  const credentialDirectory = join(home, "credentials");
  await eventually(
    "the node is known",
    () => stack.hullmark("node", "actuator", node, "--dir", credentialDirectory),
    ({ code }) => code === 0,
    SETTLE_MS,
  );
  const config = join(home, "actuator.yaml");
  const address = /localhost:\d+/.exec(readFileSync(stack.cliConfig, "utf8"))?.[0];
  const own = { stateDirectory: join(home, "state"), credentialDirectory, verifier: { address } };
  writeFileSync(config, stringify({ ...own, ...(bed.engine && { docker: { socket: bed.engine.socketPath } }), ...settings }));
  const argv = bed.wrap([process.execPath, join(REPOSITORY, "dist/actuator.js"), "--config", config]);
  return await startDaemon({ name, argv, env: { ...bed.env }, logPath: join(bed.directory, `${name}.log`), ready: async () => true });
}

export class HostActuator {
  readonly #faults: FaultBed;
  #daemon: Daemon | undefined;

  private constructor(faults: FaultBed) {
    this.#faults = faults;
  }

  /** With its credentials made. @param settings besides those that every actuator has */
  static async start(faults: FaultBed, settings: object = {}): Promise<HostActuator> {
    const actuator = new HostActuator(faults);
    mkdirSync(actuator.#directory, { mode: 0o700 });
    await eventually(
      "the node is known",
      () => faults.stack.hullmark("node", "actuator", "node-0", "--dir", join(actuator.#directory, "credentials")),
      ({ code }) => code === 0,
      SETTLE_MS,
    );
    await actuator.restart(settings);
    return actuator;
  }

  get #directory(): string {
    return join(this.#faults.stack.directory, "actuator");
  }

  /** On the same state. */
  async restart(settings: object = {}): Promise<void> {
    const { stack, bed } = this.#faults;
    await this.stop();
    const config = join(this.#directory, "actuator.yaml");
    const address = /localhost:\d+/.exec(readFileSync(stack.cliConfig, "utf8"))?.[0];
    const [stateDirectory, credentialDirectory] = [join(this.#directory, "state"), join(this.#directory, "credentials")];
    writeFileSync(config, stringify({ stateDirectory, credentialDirectory, verifier: { address }, docker: { socket: engineOf(bed).socketPath }, ...settings }));
    const argv = bed.wrap([process.execPath, join(REPOSITORY, "dist/actuator.js"), "--config", config]);
    this.#daemon = await startDaemon({ name: "actuator", argv, env: { ...bed.env }, logPath: join(bed.directory, "actuator.log"), ready: async () => true });
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
  }

  told(): Promise<ToldActions> {
    return this.#faults.stack.json<ToldActions>("action", "ls");
  }

  /** What was to be done to containers of this name, newest first. */
  async toldOf(name: string): Promise<readonly ToldAction[]> {
    return (await this.told()).actions.filter(({ container }) => container.name === name);
  }

  /** Waits for the newest action on containers of this name. @throws Error where it is none of this kind that is done */
  async done(name: string, kind: string): Promise<ToldAction> {
    const [newest] = await eventually(
      `${name}: ${kind} is done`,
      () => this.toldOf(name),
      ([first]) => first?.state === "done" && first.kind === kind,
      SETTLE_MS,
    );
    if (!newest) throw new Error("no action");
    return newest;
  }

  /** Waits until a container of this name is as its image says. @returns its id */
  async clean(name: string): Promise<string> {
    const found = await eventually(
      `${name} is clean`,
      async () => (await workloads(this.#faults.stack)).find(({ container }) => container.name === name),
      (each) => each?.content === "affirming",
      SETTLE_MS,
    );
    return found?.container.id ?? "";
  }

  /** Starts one, and waits until it is clean. @returns its id */
  async run(name: string): Promise<string> {
    await this.#faults.victim(name).docker("run", "-d", "--name", name, "--stop-signal", "SIGKILL", this.#faults.image.reference, "sleep", "3600");
    return this.clean(name);
  }

  logsOnFailure(): void {
    onTestFailed(() => {
      for (const name of ["actuator", "verifier"]) console.error(`--- ${name}\n${tail(join(this.#faults.bed.directory, `${name}.log`), 40)}`);
    });
  }
}
