/** A port of this machine that leads to the verifier's Service through the API server, for as long as one command runs. */
import { type Kubectl, KubectlError, kubectlError } from "./kubectl.ts";
import type { Release } from "./release.ts";

export interface PortForward {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  close(): Promise<void>;
}

/** Of the chart's Service. */
const SERVICE_PORTS = { main: 7443, http: 7480 } as const;
const OPEN_MS = 30_000;

/** @throws KubectlError; the signal's reason */
export async function openPortForward(
  kubectl: Kubectl,
  { namespace, name }: Release,
  port: keyof typeof SERVICE_PORTS,
  signal: AbortSignal,
): Promise<PortForward> {
  const to = ["--namespace", namespace, "port-forward", `service/${name}-verifier`, `:${SERVICE_PORTS[port]}`];
  const child = kubectl.start(...to, "--address=127.0.0.1", `--pod-running-timeout=${OPEN_MS / 1000}s`);
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const close = async (): Promise<void> => {
    child.kill();
    await ended;
  };
  try {
    const port = await new Promise<string>((resolve, reject) => {
      let [said, problem] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => {
        said = `${said}${chunk}`.slice(-4000);
        const found = /^Forwarding from 127\.0\.0\.1:(\d+) /m.exec(said)?.[1];
        if (found) resolve(found);
      });
      child.stderr.on("data", (chunk: Buffer) => {
        problem = `${problem}${chunk}`.slice(-4000);
      });
      child.once("error", () => reject(new KubectlError("MISSING", "kubectl is not in PATH")));
      child.once("close", () => reject(kubectlError(problem)));
      const given = AbortSignal.any([signal, AbortSignal.timeout(2 * OPEN_MS)]);
      given.addEventListener("abort", () => reject(signal.aborted ? signal.reason : new KubectlError("UNREACHABLE", "no port-forward came about")), {
        once: true,
      });
    });
    return { address: `127.0.0.1:${port}`, close };
  } catch (error) {
    await close();
    throw error;
  }
}
