import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program } from "../paths.ts";
import { run } from "../run.ts";
import { tool } from "./tools.ts";

/** Writes the sandbox image, of one static program, as an archive that containerd imports. @returns its path */
export async function writePauseImage(directory: string, name: string): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const path = (file: string): string => join(directory, file);
  const fixed = ["--owner=0", "--group=0", "--mtime=@0", "--sort=name", "--mode=0755"];
  const binary = tool("pause");
  await run([program("tar"), ...fixed, "-C", join(binary, ".."), "-cf", path("layer.tar"), "pause"]);
  const layer = `sha256:${createHash("sha256")
    .update(readFileSync(path("layer.tar")))
    .digest("hex")}`;
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const config = { architecture, os: "linux", config: { Entrypoint: ["/pause"] }, rootfs: { type: "layers", diff_ids: [layer] } };
  writeFileSync(path("config.json"), JSON.stringify(config));
  writeFileSync(path("manifest.json"), JSON.stringify([{ Config: "config.json", RepoTags: [name], Layers: ["layer.tar"] }]));
  await run([program("tar"), "-C", directory, "-cf", path("pause.tar"), "manifest.json", "config.json", "layer.tar"]);
  return path("pause.tar");
}
