import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildImages } from "./build.ts";
import { publish } from "./publish.ts";

// npm run images -- [--output DIR] [--push REGISTRY --tag TAG [--key FILE] [--plain-http]]

const REPOSITORY = new URL("../..", import.meta.url).pathname;
const MIB = 1024 * 1024;

const { values } = parseArgs({
  options: {
    output: { type: "string", default: join(REPOSITORY, "build/images") },
    cache: { type: "string", default: join(process.env["HULLMARK_STATE"] ?? join(REPOSITORY, ".hullmark"), "cache/debian") },
    push: { type: "string" },
    tag: { type: "string" },
    key: { type: "string" },
    "plain-http": { type: "boolean", default: false },
  },
});

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
