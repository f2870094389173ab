/** A second node by all that a verifier sees of one: another TPM, another agent, and another containerd on a host of its own. No kubelet asks it for anything: the test does. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import type { Stack } from "../../../deploy/stack/stack.ts";
import { cgroupName } from "../../../deploy/testbed/cgroup.ts";
import { type NodeRuntime, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { run, startDaemon } from "../../../deploy/testbed/run.ts";
import type { PushedImage } from "../images/push.ts";
import { podLabels, RuntimeSocket, sandboxOf } from "./past-the-kubelet.ts";

/** By its tag, and by its digest, as which alone a verifier can find what was pulled. */
export async function pull({ ctr }: Pick<NodeRuntime, "ctr">, { tagged, reference }: PushedImage): Promise<void> {
  for (const name of [tagged, reference]) await run(ctr("images", "pull", "--plain-http", name));
}

export class SecondNode {
  static readonly nodeName = "node-2";
  readonly #stack: Stack;
  readonly #bed: Testbed;
  readonly #runtime: NodeRuntime;
  readonly #id: string;

  private constructor(stack: Stack, bed: Testbed, runtime: NodeRuntime, id: string) {
    this.#stack = stack;
    this.#bed = bed;
    this.#runtime = runtime;
    this.#id = id;
  }

  /** Its agent runs, and may join. @param bed of the first node, with two TPMs at least */
  static async start({ bed, stack }: { readonly bed: Testbed; readonly stack: Stack }): Promise<SecondNode> {
    const own = await startTestbed({ name: "e2e-second-node", parts: { nodeRuntime: true } });
    try {
      if (!own.nodeRuntime) throw new Error("no runtime");
      const config = join(own.directory, "agent.yaml");
      const [first] = stack.agents;
      const stateDirectory = join(own.directory, "agent");
      mkdirSync(stateDirectory, { mode: 0o700 });
      const settings = { nodeName: SecondNode.nodeName, stateDirectory, tpm: { tcti: bed.tpms[1]?.tcti } };
      const runtime = { cri: { socket: own.nodeRuntime.criSocket, otherContainers: "ignore" } };
      writeFileSync(config, stringify({ ...parse(readFileSync(first?.configPath ?? "", "utf8")), ...settings, runtime }));
      const argv = own.wrap([process.execPath, join(REPOSITORY, "dist/agent.js"), "--config", config]);
      const { ekSha256 } = JSON.parse(await run([...argv, "--show-identity"], own.env)) as { ekSha256: string };
      const { code, stderr } = await stack.hullmark("node", "allow", ekSha256, "--name", SecondNode.nodeName);
      if (code !== 0) throw new Error(stderr);
      await startDaemon({ name: "agent-2", argv, env: { ...own.env }, logPath: join(bed.directory, "agent-2.log"), ready: async () => true });
      return new SecondNode(stack, own, own.nodeRuntime, ekSha256.slice(0, 16));
    } catch (error) {
      await own.down();
      throw error;
    }
  }

  /** A container `web` of this image, as a kubelet makes one for a pod of namespace `default`. @param labels of the pod */
  async run(pod: { readonly name: string; readonly uid: string }, image: PushedImage, labels: Readonly<Record<string, string>>): Promise<void> {
    await pull(this.#runtime, image);
    const { id } = JSON.parse(readFileSync(join(this.#bed.directory, "testbed.json"), "utf8")) as { id: string };
    const cgroup = `/${cgroupName(id)}`;
    using socket = new RuntimeSocket(this.#runtime.criSocket);
    const sandbox = await socket.runSandbox(pod, cgroup, labels);
    const named = { ...podLabels(pod), "io.kubernetes.container.name": "web" };
    const container = { name: "web", image: image.configDigest, asked: image.tagged, command: ["/bin/sleep", "3600"], labels: named };
    await socket.startContainer(sandbox, container, sandboxOf(pod, cgroup, labels));
  }

  /** With all that runs on it, and what the verifier knows of it. */
  async end(): Promise<void> {
    await this.#bed.down();
    for (const what of ["revoke", "rm"]) await this.#stack.hullmark("node", what, this.#id, "--reason", "it was a test's");
  }
}
