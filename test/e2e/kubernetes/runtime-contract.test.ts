/**
 * The runtime contract over CRI, on the containerd of a real Kubernetes node. That of the system has the snapshotter `native` here, since every other suite has
 * it with overlayfs; what its roots are measured by is shown after.
 */
import { afterAll, beforeAll } from "vitest";
import { CriRuntime } from "../../../agent/adapters/cri/cri-runtime.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { containerRuntimeSuite, type RuntimeSubject } from "../../contract/container-runtime.suite.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { pushImage } from "../images/push.ts";
import { oneTree } from "./one-tree.ts";
import { PodVictim } from "./pod-victim.ts";
import { pod } from "./workloads.ts";

const snapshotter = process.env["HULLMARK_ENGINE_BIN"] === undefined ? "native" : "overlayfs";

let bed: Testbed;
let programs: Programs;
let runtime: CriRuntime;
let subject: RuntimeSubject;

beforeAll(async () => {
  bed = await startTestbed({ name: "runtime-cri", parts: { kubernetes: { snapshotter }, registry: true, tpms: 1 } });
  const { kubernetes, registry } = bed as { kubernetes: Kubernetes; registry: NonNullable<Testbed["registry"]> };
  programs = await loadPrograms();
  const image = await pushImage(registry.host, "acme/web", "1", acceptanceImage(programs));
  runtime = new CriRuntime({ socketPath: kubernetes.criSocket, kubeletDirectory: "/var/lib/kubelet", reportOthers: false });
  const options = { env: [{ name: "COLOUR", value: "blue" }], capabilities: ["NET_ADMIN"] };
  subject = {
    runtime,
    image,
    expected: { name: "containerd", dialect: "containerd", storageDriver: snapshotter },
    async start(name) {
      await kubernetes.kubectl(["apply", "--filename=-"], JSON.stringify(pod(name, image.tagged, options)));
      await kubernetes.kubectl(["wait", "--for=condition=Ready", `pod/${name}`, "--timeout=60s"]);
      return new PodVictim(kubernetes, programs, name).id();
    },
    end: async (name) => void process.kill(await new PodVictim(kubernetes, programs, name).pid(), "SIGKILL"),
    remove: async (name) => void (await kubernetes.kubectl(["delete", "pod", name, "--grace-period=1", "--wait"])),
    killEngine: () => kubernetes.services.containerd.kill(),
    startEngine: () => kubernetes.services.containerd.start(),
    wrap: (argv) => bed.wrap(argv),
  };
});

afterAll(async () => {
  runtime?.close();
  await bed?.down();
});

containerRuntimeSuite("CRI", () => subject);

if (snapshotter === "native")
  oneTree(() => {
    if (!bed.kubernetes) throw new Error("no cluster");
    return { bed, cluster: bed.kubernetes, programs, image: subject.image };
  });
