/** {@link Engine} over the Docker Engine API (dockerode). */
import Docker from "dockerode";
import { type Engine, type EngineContainer, EngineError, type EngineNetwork, type RestartPolicy, type TargetImage } from "../../ports/engine.ts";
import { creationOf, givenLabels, INTENT_LABEL, laterNetworks, networksOf, onNetworks, unnamedVolumes, withoutImagesOwn } from "./creation.ts";

export const CALL_TIMEOUT_MS = 30_000;

export interface DockerEngineOptions {
  /** Unix socket of the engine. */
  readonly socketPath: string;
}

export class DockerEngine implements Engine {
  readonly #docker: Docker;
  /** Of containers that ran when that was looked at last, by id: whose namespaces they were made to live in. The engine lets nobody change that of a container, and no list of its tells it. */
  readonly #modes = new Map<string, readonly string[]>();

  constructor({ socketPath }: DockerEngineOptions) {
    this.#docker = new Docker({ socketPath, timeout: CALL_TIMEOUT_MS });
  }

  async find(id: string): Promise<EngineContainer | undefined> {
    const found = await this.#inspect(id);
    // The engine takes prefixes and names too.
    return found?.Id === id ? await containerOf(found, this.#docker) : undefined;
  }

  async countRunning(): Promise<number> {
    return (await guard(() => this.#docker.listContainers())).length;
  }

  async sharers({ id, name }: Pick<EngineContainer, "id" | "name">): Promise<readonly string[]> {
    const wanted = new Set([`container:${id}`, `container:${name}`]);
    const running = new Set((await guard(() => this.#docker.listContainers())).map(({ Id }) => Id));
    for (const known of [...this.#modes.keys()]) if (!running.has(known)) this.#modes.delete(known);
    const others = [...running].filter((each) => each !== id);
    await Promise.all(others.filter((each) => !this.#modes.has(each)).map((each) => this.#readModes(each)));
    // Their names may be others by now.
    const sharing = others.filter((each) => this.#modes.get(each)?.some((mode) => wanted.has(mode)));
    return (await Promise.all(sharing.map((each) => this.#inspect(each)))).flatMap((each) => (each ? [nameOf(each)] : []));
  }

  async #readModes(id: string): Promise<void> {
    const found = await this.#inspect(id);
    if (!found) return;
    const { NetworkMode = "", PidMode = "", IpcMode = "" } = found.HostConfig;
    this.#modes.set(id, [NetworkMode, PidMode, IpcMode]);
  }

  async setRestartPolicy(id: string, { name, maximumRetryCount }: RestartPolicy): Promise<void> {
    await guard(() => this.#docker.getContainer(id).update({ RestartPolicy: { Name: name, MaximumRetryCount: maximumRetryCount } }));
  }

  async stop(id: string, graceSeconds: number): Promise<void> {
    await guard(() => this.#docker.getContainer(id).stop({ t: graceSeconds }))
      .catch(ignoreNotModified)
      .catch(ignoreMissing);
  }

  async start(id: string): Promise<void> {
    await guard(() => this.#docker.getContainer(id).start()).catch(ignoreNotModified);
  }

  async rename(id: string, name: string): Promise<void> {
    await guard(() => this.#docker.getContainer(id).rename({ name }));
  }

  async remove(id: string): Promise<void> {
    await guard(() => this.#docker.getContainer(id).remove({ force: true, v: false })).catch(ignoreMissing);
  }

  async madeFor(intentId: string): Promise<EngineContainer | undefined> {
    const filters = { label: [`${INTENT_LABEL}=${intentId}`] };
    const [found] = await guard(() => this.#docker.listContainers({ all: true, filters }));
    return found && (await this.find(found.Id));
  }

  async hasImage(imageId: string): Promise<boolean> {
    return (await this.#image(imageId))?.Id === imageId;
  }

  async createLike(like: string, name: string, intentId: string, target?: TargetImage, networks?: readonly EngineNetwork[]): Promise<string> {
    const old = onNetworks(await guard(() => this.#docker.getContainer(like).inspect()), networks);
    // By the name it was started by, where that still is the same image: policy and people know it by that.
    const wanted = target ?? { imageId: old.Image, reference: old.Config.Image };
    const image = await this.#nameOf(wanted);
    const asked = target ? await this.#asked(old, target) : old;
    const made = await guard(() => this.#docker.createContainer(creationOf(asked, { name, image, intentId })));
    const fresh = await guard(() => made.inspect());
    if (fresh.Image === wanted.imageId) return fresh.Id;
    await this.remove(fresh.Id);
    throw new EngineError("OTHER_IMAGE", `${image} is another image than ${wanted.imageId} by now`);
  }

  async joinNetworks(id: string, like: string, networks?: readonly EngineNetwork[]): Promise<void> {
    const [fresh, old] = await Promise.all([id, like].map((each) => guard(() => this.#docker.getContainer(each).inspect())));
    if (!fresh || !old) return;
    for (const [name, endpoint] of laterNetworks(onNetworks(old, networks), fresh)) await this.join(id, { name, endpoint: { ...endpoint } });
  }

  async leave(id: string, network: string): Promise<void> {
    await guard(() => this.#docker.getNetwork(network).disconnect({ Container: id, Force: false }));
  }

  async join(id: string, { name, endpoint }: EngineNetwork): Promise<void> {
    await guard(() => this.#docker.getNetwork(name).connect({ Container: id, EndpointConfig: endpoint }));
  }

  async #asked(old: Docker.ContainerInspectInfo, { imageId }: TargetImage): Promise<Docker.ContainerInspectInfo> {
    const [own, other] = await Promise.all([old.Image, imageId].map((each) => guard(() => this.#docker.getImage(each).inspect())));
    return own && other ? withoutImagesOwn(old, own, other) : old;
  }

  /** The reference, where it names the image here; else its repository's digest of it that the engine knows (that of an index, for one); else the id alone. */
  async #nameOf({ imageId, reference }: TargetImage): Promise<string> {
    if ((await this.#image(reference))?.Id === imageId) return reference;
    const repository = familiar(reference);
    return (await this.#image(imageId))?.RepoDigests?.find((each) => familiar(each) === repository) ?? imageId;
  }

  async #inspect(id: string): Promise<Docker.ContainerInspectInfo | undefined> {
    return await guard(() => this.#docker.getContainer(id).inspect()).catch(ignoreMissing);
  }

  async #image(reference: string): Promise<Docker.ImageInspectInfo | undefined> {
    return await guard(() => this.#docker.getImage(reference).inspect()).catch(ignoreMissing);
  }
}

/** The repository, as the engine writes it: without Docker Hub's own name. */
function familiar(reference: string): string {
  const [name = ""] = reference.split("@");
  return name.replace(/^docker\.io\/(?:library\/)?/, "");
}

function nameOf({ Name }: Docker.ContainerInspectInfo): string {
  return Name.replace(/^\//, "");
}

/** @param docker is asked for its image; what it refuses to tell is unknown */
export async function containerOf(found: Docker.ContainerInspectInfo, docker: Docker): Promise<EngineContainer> {
  const image = await guard(() => docker.getImage(found.Image).inspect()).catch(ignoreRefused);
  const { RestartPolicy: restart, AutoRemove } = found.HostConfig;
  return {
    id: found.Id,
    name: nameOf(found),
    imageId: found.Image,
    running: found.State.Running,
    autoRemove: AutoRemove === true,
    unnamedVolumes: unnamedVolumes(found),
    labels: found.Config.Labels ?? {},
    givenLabels: givenLabels(found, image),
    restartPolicy: { name: restart?.Name || "no", maximumRetryCount: restart?.MaximumRetryCount ?? 0 },
    networkMode: found.HostConfig.NetworkMode ?? "default",
    networks: networksOf(found),
  };
}

class StatusError extends EngineError {
  readonly status: number;

  constructor(status: number, message: string, options: ErrorOptions) {
    super("ENGINE_REFUSED", message, options);
    this.status = status;
  }
}

export async function guard<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    const status = (cause as { statusCode?: number }).statusCode;
    const message = cause instanceof Error ? cause.message : "unknown error";
    // Without a status, or with one that tells of the engine's own trouble, the same call may go well later; 500 is its answer to bad starts too.
    if (status === undefined || status === 503) throw new EngineError("ENGINE_UNREACHABLE", message, { cause });
    throw new StatusError(status, message, { cause });
  }
}

export function ignoreMissing(error: unknown): undefined {
  if (error instanceof StatusError && error.status === 404) return undefined;
  throw error;
}

function ignoreRefused(error: unknown): undefined {
  if (!(error instanceof StatusError)) throw error;
}

/** Already as wanted. */
function ignoreNotModified(error: unknown): void {
  if (!(error instanceof StatusError) || error.status !== 304) throw error;
}
