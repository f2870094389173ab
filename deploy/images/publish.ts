import { join } from "node:path";
import type { BuiltImage } from "./build.ts";
import { run } from "./command.ts";

const REPOSITORY = new URL("../..", import.meta.url).pathname;

export interface PublishOptions {
  /** The layout that was built. */
  readonly layout: string;
  /** HOST[:PORT][/PATH] before the images' names. */
  readonly registry: string;
  readonly tag: string;
  /** Private key (PKCS#8) that signs image and bill of materials; its passphrase in HULLMARK_KEY_PASSPHRASE. Without one nothing is signed. */
  readonly key?: string;
  /** The registry speaks no TLS. Loopback needs no telling. */
  readonly plainHttp?: boolean;
}

/** Copies each image to the registry, then signs and attests its digest there with Hullmark itself. @returns REGISTRY/NAME@DIGEST of each */
export async function publish(images: readonly BuiltImage[], { layout, registry, tag, key, plainHttp }: PublishOptions): Promise<string[]> {
  const published: string[] = [];
  const insecure = plainHttp || /^(localhost|127\.[0-9.]+|\[::1\])(:|\/|$)/.test(registry);
  for (const { name, digest, bill } of images) {
    const target = `${registry}/${name}`;
    const tls = insecure ? ["--dest-tls-verify=false"] : [];
    await run("skopeo", ["copy", "--quiet", "--preserve-digests", ...tls, `oci:${layout}:${name}`, `docker://${target}:${tag}`]);
    const reference = `${target}@${digest}`;
    if (key !== undefined) {
      const flags = ["--key", key, ...(plainHttp ? ["--plain-http", new URL(`http://${registry}`).host] : [])];
      await hullmark("sign", reference, ...flags);
      await hullmark("attest", reference, "--type", "spdxjson", "--predicate", bill, ...flags);
    }
    published.push(reference);
  }
  return published;
}

function hullmark(...args: string[]): Promise<string> {
  return run(process.execPath, [join(REPOSITORY, "dist/hullmark.js"), ...args]);
}
