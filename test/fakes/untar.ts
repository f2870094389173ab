/** The files of a tar archive, by name; of what is no file nothing. */
import { buffer } from "node:stream/consumers";
import { extract } from "tar-stream";

export async function untar(bytes: Buffer): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  const reader = extract();
  reader.on("entry", ({ name }, stream, next) => {
    buffer(stream).then((content) => {
      found.set(name, content);
      next();
    }, next);
  });
  const end = new Promise((resolve, reject) => reader.once("finish", resolve).once("error", reject));
  reader.end(bytes);
  await end;
  return found;
}
