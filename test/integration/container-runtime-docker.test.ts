/** The runtime contract on a Docker Engine. */
import { afterAll, beforeAll } from "vitest";
import { DockerRuntime } from "../../agent/adapters/docker/docker-runtime.ts";
import { type Engine, startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { containerRuntimeSuite, type RuntimeSubject } from "../contract/container-runtime.suite.ts";
import { acceptanceImage } from "../e2e/images/acceptance.ts";
import { loadPrograms } from "../e2e/images/programs.ts";
import { pushImage } from "../e2e/images/push.ts";

let bed: Testbed;
let subject: RuntimeSubject;

beforeAll(async () => {
  bed = await startTestbed({ name: "runtime-docker", parts: { engine: { config: { "live-restore": true } }, registry: true } });
  const { engine, registry } = bed as { engine: Engine; registry: NonNullable<Testbed["registry"]> };
  const image = await pushImage(registry.host, "acme/web", "1", acceptanceImage(await loadPrograms()));
  const docker = (...args: string[]) => run([program("docker"), "--host", engine.dockerHost, ...args]);
  subject = {
    runtime: new DockerRuntime({ socketPath: engine.socketPath }),
    image,
    expected: { name: "docker", dialect: "docker", storageDriver: "overlay2" },
    start: async (name) => (await docker("run", "--detach", "--name", name, "--env", "COLOUR=blue", "--cap-add", "NET_ADMIN", image.tagged)).trim(),
    remove: async (name) => void (await docker("rm", "--force", name)),
    killEngine: () => engine.kill(),
    startEngine: () => engine.start(),
    wrap: (argv) => bed.wrap(argv),
  };
});

afterAll(() => bed?.down());

containerRuntimeSuite("Docker", () => subject);
