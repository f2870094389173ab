/** The runtime contract on a Docker Engine. */
import { afterAll, beforeAll, expect, test } from "vitest";
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
  if (process.env["HULLMARK_CGROUP"] === "2") expect(await docker("info", "--format", "{{.CgroupVersion}} {{.CgroupDriver}}")).toBe("2 cgroupfs\n");
  subject = {
    runtime: new DockerRuntime({ socketPath: engine.socketPath }),
    image,
    expected: {
      name: "docker",
      ...(engine.imageStore === "containerd" ? { dialect: "containerd", storageDriver: "overlayfs" } : { dialect: "docker", storageDriver: "overlay2" }),
    },
    start: async (name) => (await docker("run", "--detach", "--name", name, "--env", "COLOUR=blue", "--cap-add", "NET_ADMIN", image.tagged)).trim(),
    end: async (name) => void (await docker("kill", name)),
    remove: async (name) => void (await docker("rm", "--force", name)),
    killEngine: () => engine.kill(),
    startEngine: () => engine.start(),
    wrap: (argv) => bed.wrap(argv),
  };
});

afterAll(() => bed?.down());

containerRuntimeSuite("Docker", () => subject);

/** Where it would ask, engines before 23 would never unpause a container that was paused while a command was being started in it. */
test("does not ask for a container because it is paused", { timeout: 180_000 }, async () => {
  const docker = (...args: string[]) => run([program("docker"), "--host", bed.engine?.dockerHost ?? "", ...args]);
  const id = await subject.start("to-pause");
  const seen: string[] = [];
  let other = "";
  for await (const { kind, containerId } of subject.runtime.events(AbortSignal.timeout(120_000))) {
    if (kind === "connected") {
      await docker("pause", "to-pause");
      await docker("unpause", "to-pause");
      other = await subject.start("after-pause");
    }
    seen.push(containerId);
    // What happened before has come by then.
    if (containerId === other) break;
  }
  expect(seen).toEqual(["", id, ...seen.slice(2, -1).filter((each) => each === other), other]);
  for (const name of ["to-pause", "after-pause"]) await subject.remove(name);
});
