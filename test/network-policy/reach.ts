/** Who reaches whom on a node where NetworkPolicies are enforced: each way by a new connection, with what came of it. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Kubernetes } from "../../deploy/testbed/index.ts";
import { program } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { CACHE } from "../e2e/images/programs.ts";

const execute = promisify(execFile);

/** Words for what gets through; otherwise what was said instead. */
const REACHED = "reached";

/** Each way with what came of it. */
export async function ways(asked: Readonly<Record<string, Promise<string>>>): Promise<Readonly<Record<string, string>>> {
  return Object.fromEntries(await Promise.all(Object.entries(asked).map(async ([way, said]) => [way, await said] as const)));
}

export const getThrough = (seen: Readonly<Record<string, string>>): string[] => Object.keys(seen).filter((way) => seen[way] === REACHED);

/** A pod's shell script that fetches an address. Not wget's own time limit: with that, Debian 12's busybox crashes once all has come. */
export const fetching = (url: string): string => `busybox timeout 3 wget -q -O /dev/null ${url} 2>&1 && echo ${REACHED} || echo exit $?`;

/** By the host, which is outside of the cluster. */
export async function fetched(url: string): Promise<string> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(3000) });
    await response.text();
    return response.ok ? REACHED : `status ${response.status}`;
  } catch (error) {
    return String((error as Error).cause ?? error);
  }
}

/**
 * Whether a TCP connection comes about, whatever is spoken over it.
 * @param from process in whose network it is begun, as the pod's own would; the host's where there is none
 */
export async function connected(from: number | undefined, address: string, port: number): Promise<string> {
  const busybox = join(CACHE, "busybox");
  const dial = [busybox, "timeout", "6", busybox, "nc", "-w", "3", address, String(port), "-e", "/bin/sh", "-c", `echo ${REACHED} >&2`];
  const [file = "", ...args] = [...inNetworkOf(from), ...dial];
  return execute(file, args).then(
    ({ stderr }) => stderr.trim(),
    (error: { stderr?: string; message: string }) => error.stderr?.trim() || error.message,
  );
}

/** The prefix that runs a command in a process's network. */
export const inNetworkOf = (pid: number | undefined): readonly string[] => (pid === undefined ? [] : [program("nsenter"), `--net=/proc/${pid}/ns/net`]);

/** The node's, as iptables-save tells it. */
export const packetFilter = (cluster: Kubernetes): Promise<string> => run(cluster.namespace.wrap([program("iptables-save"), "--table", "filter"]));
