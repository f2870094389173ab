/** A release of the chart at work on a real cluster, as tests of parts of it have it at hand. */
import type { Kubernetes } from "../../../deploy/testbed/index.ts";

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ReleaseBed {
  readonly cluster: Kubernetes;
  /** Of the release `hullmark`. */
  readonly namespace: string;
  /** For files; removed with what is in it. */
  readonly home: string;
  helm(...args: readonly string[]): Promise<string>;
  /** Applies the release with these values besides those that every test here has, and waits until it is ready. */
  upgrade(...values: readonly string[]): Promise<unknown>;
  apply(...objects: readonly object[]): Promise<unknown>;
  /** `kubectl hullmark …` by this kubeconfig, to its end. */
  plugin(kubeconfig: string, ...args: string[]): Promise<Ran>;
  eventually<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs?: number): Promise<T>;
}
