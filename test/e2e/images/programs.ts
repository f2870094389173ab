import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { STATE_ROOT } from "../../../deploy/testbed/paths.ts";
import { run } from "../../../deploy/testbed/run.ts";

/** Where what takes long to make is kept between runs. */
export const CACHE: string = join(STATE_ROOT, "cache");

/** The programs that go into the test image. */
export interface Programs {
  /** Static busybox of the distribution; deploy/setup.sh puts it into the cache. */
  readonly busybox: Buffer;
  /** Static hullmark-tool (tool.c). */
  readonly tool: Buffer;
  /** A dynamically linked program that prints "hello", for `ld.so ./prog`. */
  readonly hello: Buffer;
  /** What the dynamic program needs: absolute path in the image → content. */
  readonly libraries: ReadonlyMap<string, Buffer>;
}

const HELLO =
  '#include <stdio.h>\n#include <unistd.h>\nint main(int argc, char **argv) { (void)argv; puts("hello"); fflush(stdout); if (argc > 1) pause(); return 0; }\n';

/** Compiles what is not cached. Needs g++ and the cached busybox. @throws Error naming what is missing */
export async function loadPrograms(): Promise<Programs> {
  const busyboxPath = join(CACHE, "busybox");
  if (!existsSync(busyboxPath)) throw new Error(`${busyboxPath} is missing: run deploy/setup.sh`);
  const source = readFileSync(join(import.meta.dirname, "tool.c"), "utf8");
  const tool = await compile("tool", source, ["-static"]);
  const hello = await compile("hello", HELLO, []);
  const libraries = new Map<string, Buffer>();
  for (const match of (await run(["ldd", hello])).matchAll(/(\/\S+) \(0x/g)) {
    const path = match[1] as string;
    libraries.set(path, readFileSync(path));
  }
  return { busybox: readFileSync(busyboxPath), tool: readFileSync(tool), hello: readFileSync(hello), libraries };
}

/** Compiles a C program, once. @returns its path in the cache */
export async function compile(name: string, source: string, flags: readonly string[]): Promise<string> {
  const folder = join(CACHE, "programs");
  mkdirSync(folder, { recursive: true });
  const key = createHash("sha256")
    .update(`${source}${flags.join(" ")}`)
    .digest("hex")
    .slice(0, 12);
  const path = join(folder, `${name}-${key}`);
  if (existsSync(path)) return path;
  const temporary = `${path}.${process.pid}`;
  writeFileSync(`${temporary}.c`, source);
  // No build id and no paths: the same source and compiler make the same bytes.
  await run(["gcc", "-O2", "-s", "-Wall", "-Wl,--build-id=none", ...flags, "-o", temporary, `${temporary}.c`]);
  renameSync(temporary, path);
  await run(["rm", "-f", `${temporary}.c`]);
  return path;
}
