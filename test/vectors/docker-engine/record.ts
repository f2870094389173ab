/**
 * Records what a Docker Engine tells of a container, and what the kernel and containerd's store say beside it:
 *   HULLMARK_ENGINE_BIN=… HULLMARK_ENGINE_STORE=containerd HULLMARK_STATE=/srv/hullmark node test/vectors/docker-engine/record.ts >test/vectors/docker-engine/NAME.json
 * The container runs, by digest, an index of one platform with an attestation of BuildKit's form.
 */
import { readFileSync } from "node:fs";
import Docker from "dockerode";
import { parentOf, readOciSpec } from "../../../agent/adapters/docker/oci-spec.ts";
import { startTestbed } from "../../../deploy/testbed/index.ts";
import { program } from "../../../deploy/testbed/paths.ts";
import { run } from "../../../deploy/testbed/run.ts";
import { acceptanceImage } from "../../e2e/images/acceptance.ts";
import { loadPrograms } from "../../e2e/images/programs.ts";
import { pushImage } from "../../e2e/images/push.ts";

await using bed = await startTestbed({ name: "record", parts: { engine: true, registry: true } });
const { engine, registry } = bed;
if (!engine || !registry) throw new Error("no engine");
const docker = (...args: string[]): Promise<string> => run([program("docker"), "--host", engine.dockerHost, ...args]);
const image = await pushImage(registry.host, "acme/web", "1", { ...acceptanceImage(await loadPrograms()), index: "attested" });
const id = (await docker("run", "--detach", "--name", "web", "--init", "--volume", "data:/data", image.reference)).trim();
// As the agent asks: without a version, which is the engine's newest.
const api = new Docker({ socketPath: engine.socketPath });
const container = await api.getContainer(id).inspect();
const inspectedImage = await api.getImage(container.Image).inspect();
const { ApiVersion } = await api.version();
const pid = container.State.Pid;
const spec = await readOciSpec(pid, id);
const shim = readFileSync(`/proc/${await parentOf(pid)}/mountinfo`, "latin1");
const manifest = await (await fetch(`http://${registry.host}/v2/acme/web/manifests/${image.manifestDigest}`, { headers: { accept: "application/vnd.oci.image.manifest.v1+json" } })).text();
const seen = {
  recorded: `Docker Engine ${engine.version}, API ${ApiVersion}, image store ${process.env["HULLMARK_ENGINE_STORE"] ?? "overlay2"}`,
  pushed: { digest: image.digest, manifestDigest: image.manifestDigest, configDigest: image.configDigest, layers: image.diffIds.length },
  container,
  image: inspectedImage,
  spec,
  /** Of the shim: the container's root, as the engine mounted it. */
  shimMountInfo: shim.split("\n").filter((line) => line.includes(spec?.root?.path ?? "-")),
  mountInfo: readFileSync(`/proc/${pid}/mountinfo`, "latin1").split("\n"),
  hosts: readFileSync(`/proc/${pid}/root/etc/hosts`, "utf8"),
  resolver: readFileSync(`/proc/${pid}/root/etc/resolv.conf`, "utf8"),
  manifest,
};
console.log(JSON.stringify(seen, null, 1));
