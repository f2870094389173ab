/** A container engine in memory, which can be told to fail: for what an actuator does in every order of events. */
import { randomBytes } from "node:crypto";
import { type Engine, type EngineContainer, EngineError, type EngineNetwork, type RestartPolicy, type TargetImage } from "@hullmark/actuator/ports/engine";

export class FakeEngine implements Engine {
  readonly containers = new Map<string, EngineContainer>();
  /** Method → error thrown at its next call. */
  readonly failures = new Map<keyof Engine, EngineError>();
  readonly calls: string[] = [];
  readonly images = new Set<string>();

  add(name: string, more: Partial<EngineContainer> = {}): EngineContainer {
    const made: EngineContainer = {
      ...{ id: randomBytes(32).toString("hex"), name, imageId: `sha256:${"1".repeat(64)}`, running: true, autoRemove: false, labels: {} },
      givenLabels: more.labels ?? {},
      unnamedVolumes: [],
      restartPolicy: { name: "always", maximumRetryCount: 0 },
      ...{ networkMode: "default", networks: [{ name: "bridge", endpoint: {} }] },
      ...more,
    };
    this.containers.set(made.id, made);
    return made;
  }

  named(name: string): EngineContainer | undefined {
    return [...this.containers.values()].find((each) => each.name === name);
  }

  async find(id: string): Promise<EngineContainer | undefined> {
    this.#call("find");
    return this.containers.get(id);
  }

  async countRunning(): Promise<number> {
    return [...this.containers.values()].filter(({ running }) => running).length;
  }

  async sharers(): Promise<readonly string[]> {
    return [];
  }

  async setRestartPolicy(id: string, restartPolicy: RestartPolicy): Promise<void> {
    this.#call("setRestartPolicy");
    this.#change(id, { restartPolicy });
  }

  async stop(id: string): Promise<void> {
    this.#call("stop");
    if (this.containers.get(id)?.autoRemove) this.containers.delete(id);
    else this.#change(id, { running: false });
  }

  async start(id: string): Promise<void> {
    this.#call("start");
    this.#change(id, { running: true });
  }

  async rename(id: string, name: string): Promise<void> {
    this.#call("rename");
    if (this.named(name)) throw new EngineError("ENGINE_REFUSED", `the name ${name} is taken`);
    this.#change(id, { name });
  }

  async remove(id: string): Promise<void> {
    this.#call("remove");
    this.containers.delete(id);
  }

  async madeFor(intentId: string): Promise<EngineContainer | undefined> {
    return [...this.containers.values()].find(({ labels }) => labels["intent"] === intentId);
  }

  async hasImage(imageId: string): Promise<boolean> {
    return this.images.has(imageId);
  }

  async createLike(like: string, name: string, intentId: string, target?: TargetImage, networks?: readonly EngineNetwork[]): Promise<string> {
    this.#call("createLike");
    const old = this.containers.get(like);
    if (!old) throw new EngineError("ENGINE_REFUSED", "no such container");
    return this.add(name, {
      ...old,
      id: randomBytes(32).toString("hex"),
      name,
      running: false,
      ...(target && { imageId: target.imageId }),
      ...(networks && { networks }),
      labels: { ...old.labels, intent: intentId },
    }).id;
  }

  async joinNetworks(): Promise<void> {}

  async leave(id: string, network: string): Promise<void> {
    this.#call("leave");
    this.#change(id, { networks: this.#networksOf(id).filter(({ name }) => name !== network) });
  }

  /** As an engine does it: nothing besides the network that leads nowhere. */
  async join(id: string, network: EngineNetwork): Promise<void> {
    this.#call("join");
    const joined = this.#networksOf(id);
    if (joined.length > 0 && [network, ...joined].some(({ name }) => name === "none")) throw new EngineError("ENGINE_REFUSED", "none is not alone");
    this.#change(id, { networks: [...joined, network] });
  }

  #networksOf(id: string): readonly EngineNetwork[] {
    return this.containers.get(id)?.networks ?? [];
  }

  #call(method: keyof Engine): void {
    this.calls.push(method);
    const failure = this.failures.get(method);
    this.failures.delete(method);
    if (failure) throw failure;
  }

  #change(id: string, change: Partial<EngineContainer>): void {
    const container = this.containers.get(id);
    if (!container) throw new EngineError("ENGINE_REFUSED", "no such container");
    this.containers.set(id, { ...container, ...change });
  }
}
