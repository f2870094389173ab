/** {@link Layers} over the Docker Engine API (dockerode), and this host's own file system for what an engine with overlay2 keeps there. */
import { createHash } from "node:crypto";
import { lstat } from "node:fs/promises";
import Docker from "dockerode";
import type { Layers, PurgeTarget, Standing } from "../../ports/layers.ts";
import { CALL_TIMEOUT_MS, containerOf, type DockerEngineOptions, guard, ignoreMissing } from "./docker-engine.ts";

interface Found {
  readonly id: string;
  readonly name: string;
  readonly depth: number;
  readonly directory: string | undefined;
  /** Whether it stands on the layer. */
  readonly standing: boolean;
}

export class DockerLayers implements Layers {
  readonly #docker: Docker;

  constructor({ socketPath }: DockerEngineOptions) {
    this.#docker = new Docker({ socketPath, timeout: CALL_TIMEOUT_MS });
  }

  async standing(target: PurgeTarget, before: string | undefined): Promise<Standing> {
    const known = await this.#images(target.chainId);
    const images = known.filter(({ standing }) => standing);
    const directory = before ?? images.find((each) => each.directory !== undefined)?.directory;
    // Of what the engine has the layers tell, whatever is named.
    const elsewhere = new Set(known.filter(({ standing }) => !standing).map(({ id }) => id));
    const ids = new Set([...target.imageDigests, ...images.map(({ id }) => id)].filter((id) => !elsewhere.has(id)));
    const listed = await guard(() => this.#docker.listContainers({ all: true }));
    const containers = await Promise.all(listed.map(({ Id }) => guard(() => this.#docker.getContainer(Id).inspect()).catch(ignoreMissing)));
    const own = containers.flatMap((each) => (each && (ids.has(each.Image) || isMadeOf(each, directory)) ? [containerOf(each, this.#docker)] : []));
    return { images: images.toSorted((a, b) => b.depth - a.depth).map(({ id, name }) => ({ id, name })), containers: await Promise.all(own), directory };
  }

  async removeImage(id: string): Promise<void> {
    await guard(() => this.#docker.getImage(id).remove({ force: true })).catch(ignoreMissing);
  }

  async hasDirectory(path: string): Promise<boolean> {
    try {
      await lstat(path);
      return true;
    } catch (error) {
      // What cannot be looked at counts as there.
      return (error as NodeJS.ErrnoException).code !== "ENOENT";
    }
  }

  /** All of which the engine tells the layers, those without a name too. */
  async #images(chainId: string): Promise<Found[]> {
    const listed = await guard(() => this.#docker.listImages({ all: true }));
    const images = await Promise.all(
      [...new Set(listed.map(({ Id }) => Id))].map((id) => guard(() => this.#docker.getImage(id).inspect()).catch(ignoreMissing)),
    );
    return images.flatMap((image) => {
      const diffIds = image?.RootFS?.Layers ?? [];
      const index = chainIdsOf(diffIds).indexOf(chainId);
      if (!image || diffIds.length === 0) return [];
      const directories = directoriesOf(image.GraphDriver);
      const directory = directories.length === diffIds.length ? directories[index] : undefined;
      return [{ id: image.Id, name: image.RepoTags?.[0] ?? image.Id, depth: diffIds.length, directory, standing: index >= 0 }];
    });
  }
}

/** OCI image-spec, config.md, "Layer ChainID": lowest first. */
function chainIdsOf(diffIds: readonly string[]): string[] {
  const chains: string[] = [];
  for (const diffId of diffIds) {
    const below = chains.at(-1);
    chains.push(below === undefined ? diffId : `sha256:${createHash("sha256").update(`${below} ${diffId}`).digest("hex")}`);
  }
  return chains;
}

type GraphDriver = { readonly Name: string; readonly Data?: Readonly<Record<string, string>> | null } | undefined;

/** As overlay2 tells them of an image, lowest first; empty: another driver, or containerd's store. */
function directoriesOf(driver: GraphDriver): string[] {
  if (driver?.Name !== "overlay2" || !driver.Data) return [];
  const { UpperDir, LowerDir } = driver.Data;
  return [UpperDir, ...(LowerDir?.split(":") ?? [])].filter((each): each is string => Boolean(each)).reverse();
}

function isMadeOf({ GraphDriver }: Docker.ContainerInspectInfo, directory: string | undefined): boolean {
  return directory !== undefined && directoriesOf(GraphDriver as GraphDriver).includes(directory);
}
