import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildImages } from "./build.ts";
import { run } from "./command.ts";
import { publish } from "./publish.ts";

const USAGE = "usage: npm run images -- [--output DIR] [--push REGISTRY [--tag TAG] [--key FILE] [--plain-http]]";
const REPOSITORY = new URL("../..", import.meta.url).pathname;
const MIB = 1024 * 1024;

function options() {
  return parseArgs({
    options: {
      output: { type: "string", default: join(REPOSITORY, "build/images") },
      cache: { type: "string", default: join(process.env["HULLMARK_STATE"] ?? join(REPOSITORY, ".hullmark"), "cache/debian") },
      push: { type: "string" },
      tag: { type: "string" },
      key: { type: "string" },
      "plain-http": { type: "boolean", default: false },
    },
  }).values;
}

function refuse(why: string): never {
  console.error(why);
  process.exit(2);
}

/** Before the minute that the images take. */
async function wanted(): Promise<ReturnType<typeof options>> {
  let values: ReturnType<typeof options>;
  try {
    values = options();
  } catch (error) {
    return refuse(`${(error as Error).message}\n${USAGE}`);
  }
  const { push, tag, key } = values;
  if (push === undefined && (tag ?? key) !== undefined) refuse(`--tag and --key are for what is pushed\n${USAGE}`);
  if (key !== undefined && !key.startsWith("pkcs11:") && !existsSync(key)) refuse(`${key} is not there: hullmark keygen --prefix NAME makes NAME.key`);
  if (push !== undefined)
    await run("skopeo", ["--version"]).catch(() => refuse("skopeo copies the images to the registry, and does not run here: apt-get install skopeo"));
  if (!existsSync(join(REPOSITORY, "dist/SHA256SUMS"))) refuse("the images are made of dist/, which is not there: npm run build");
  return values;
}

const values = await wanted();
const images = await buildImages(values);
for (const { name, digest, layers } of images) {
  const sum = (of: (layer: (typeof layers)[number]) => number): string => (layers.reduce((total, layer) => total + of(layer), 0) / MIB).toFixed(1);
  console.log(`${name} ${digest} ${sum(({ size }) => size)} MiB compressed, ${sum(({ unpackedSize }) => unpackedSize)} MiB unpacked`);
}
console.log(`OCI layout: ${values.output}`);
if (values.push !== undefined) {
  const tag = values.tag ?? "latest";
  const key = values.key === undefined ? {} : { key: values.key };
  const published = await publish(images, { layout: values.output, registry: values.push, tag, plainHttp: values["plain-http"], ...key });
  for (const reference of published) console.log(`pushed ${reference}${values.key === undefined ? " (not signed)" : ", signed and attested"}`);
}
