/** Where declared mounts lie once the image's symlinks are followed, and the one program that an engine itself brings into a container. */
import { decodeRecord } from "@hullmark/proto/codec";
import type { ContainerConfiguration } from "@hullmark/proto/v1/attestation";
import type { ReferenceImage } from "./types.ts";

/** Linux follows 40 links in one path. */
const MAX_LINKS = 40;

/**
 * The path as the kernel lists it: the runtime mounts `/var/run/secrets` of an image where `/var/run` leads to `/run` at `/run/secrets`.
 * Only links of the signed image are followed; components that it lacks stay as they are.
 */
export function resolveInImage(reference: ReferenceImage, destination: string): string {
  const left = destination.split("/").filter((part) => part !== "");
  const done: string[] = [];
  for (let links = 0; left.length > 0; ) {
    const part = left.shift() as string;
    if (part === ".") continue;
    if (part === "..") {
      done.pop();
      continue;
    }
    const found = reference.merged(Buffer.from([...done, part].join("/")));
    const record = found && decodeRecord(found.record);
    if (record?.type !== "l" || ++links > MAX_LINKS) {
      done.push(part);
      continue;
    }
    const target = record.target.toString();
    if (target.startsWith("/")) done.length = 0;
    left.unshift(...target.split("/").filter((each) => each !== ""));
  }
  return `/${done.join("/")}`;
}

/**
 * `docker run --init`: the engine binds its own init, read-only. The agent names the type so only where the engine was asked for an init and no mount
 * of the user's stands in its place; no user can give a mount this type.
 */
export const ENGINE_INIT = { type: "engine-init", destination: "/sbin/docker-init" } as const;

/** Where the engine's own init shows in the container; undefined: there is none. */
export function engineInitPath(configuration: ContainerConfiguration, reference: ReferenceImage): string | undefined {
  const { type, destination } = ENGINE_INIT;
  const present = configuration.mounts.some((mount) => mount.declared && mount.type === type && mount.destination === destination);
  return present ? resolveInImage(reference, destination) : undefined;
}
