/** The container engine, as far as an action changes it. Every method may be called again after it was done, with the same result. */

export interface RestartPolicy {
  readonly name: string;
  readonly maximumRetryCount: number;
}

/** An image that is gone back to. */
export interface TargetImage {
  /** As the engine names it: `sha256:<hex>`. */
  readonly imageId: string;
  /** `repository@sha256:<hex>`: how it is called where the engine knows it by that. */
  readonly reference: string;
}

/** A network that a container is on, and what joining it as before takes. */
export interface EngineNetwork {
  readonly name: string;
  /** In the engine's own words, as it was asked for: aliases, links and addresses of one's own, without those that the engine chose. */
  readonly endpoint: Readonly<Record<string, unknown>>;
}

/** The network that leads nowhere: the engine lets a container that is on it onto no other, and puts it there again whenever it starts. */
export const NO_NETWORK = "none";

/** What is looked at before a container is touched. Names and labels are those of whoever started it. */
export interface EngineContainer {
  /** 64 hex digits. */
  readonly id: string;
  readonly name: string;
  /** `sha256:<hex>` of the image's configuration, or, where containerd keeps the images, of its manifest or index. */
  readonly imageId: string;
  readonly running: boolean;
  /** It vanishes when it stops, and what it wrote with it, `unnamedVolumes` too. */
  readonly autoRemove: boolean;
  /** Volumes that nobody named, by the engine's own names. */
  readonly unnamedVolumes: readonly string[];
  /** Those of its image too. */
  readonly labels: Readonly<Record<string, string>>;
  /** Without those that its image has, with the same value: the word of whoever started it. All of them where the engine tells nothing of the image. */
  readonly givenLabels: Readonly<Record<string, string>>;
  readonly restartPolicy: RestartPolicy;
  /** As it was started: `host`, `none`, `container:<id>`, or the name of a network. */
  readonly networkMode: string;
  /** That it is on now, {@link NO_NETWORK} among them. */
  readonly networks: readonly EngineNetwork[];
}

/** ENGINE_UNREACHABLE may pass by itself; ENGINE_REFUSED is the engine's answer; OTHER_IMAGE: what was created has another digest. */
export type EngineErrorCode = "ENGINE_UNREACHABLE" | "ENGINE_REFUSED" | "OTHER_IMAGE";

export class EngineError extends Error {
  readonly code: EngineErrorCode;

  constructor(code: EngineErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "EngineError";
    this.code = code;
  }
}

/** Methods reject with {@link EngineError}. */
export interface Engine {
  /** By its full id; undefined where there is none. */
  find(id: string): Promise<EngineContainer | undefined>;
  /** Containers that run. */
  countRunning(): Promise<number>;
  /** Names of running containers that live in a namespace of this one, and die with it. */
  sharers(container: Pick<EngineContainer, "id" | "name">): Promise<readonly string[]>;
  setRestartPolicy(id: string, policy: RestartPolicy): Promise<void>;
  /** SIGTERM (or the container's own stop signal), SIGKILL after `graceSeconds`. One that has vanished is stopped. */
  stop(id: string, graceSeconds: number): Promise<void>;
  start(id: string): Promise<void>;
  rename(id: string, name: string): Promise<void>;
  /** Also while it runs; its volumes stay. */
  remove(id: string): Promise<void>;
  /** The container that was made for this intent; undefined where none was. */
  madeFor(intentId: string): Promise<EngineContainer | undefined>;
  /** Whether it has exactly this image, without asking a registry. */
  hasImage(imageId: string): Promise<boolean>;
  /**
   * Makes, and does not start, a container of the same configuration, volumes and networks as `like`, marked with the intent. Of the same image digest, or of `target`:
   * then what `like` has from its own image is taken from that one in place of it. @param networks in place of those of `like`, which is isolated @returns its id
   */
  createLike(like: string, name: string, intentId: string, target?: TargetImage, networks?: readonly EngineNetwork[]): Promise<string>;
  /** Joins the networks of `like`, or those that are given, that it has not joined. */
  joinNetworks(id: string, like: string, networks?: readonly EngineNetwork[]): Promise<void>;
  /** It is off this network at once, with every connection over it. */
  leave(id: string, network: string): Promise<void>;
  join(id: string, network: EngineNetwork): Promise<void>;
}
