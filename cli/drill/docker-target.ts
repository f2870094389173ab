/** A drill's own container of a Docker host. */
import { execFile } from "node:child_process";
import { because } from "../output/because.ts";
import { DRILL_LABEL, DrillError, type DrillTarget, FOREIGN_SHELL } from "./target.ts";

const LIFE_SECONDS = 900;
const COMMAND_MS = 120_000;

export class DockerTarget implements DrillTarget {
  readonly container: string;
  readonly #run: string;
  readonly #image: string;
  readonly #ownImage: boolean;
  #id: string | undefined;

  /** @param image with a shell @param ownImage it is the drill's too, and goes with the container */
  constructor(run: string, image: string, ownImage = false) {
    this.container = `hullmark-drill-${run}`;
    this.#run = run;
    this.#image = image;
    this.#ownImage = ownImage;
  }

  async start(signal: AbortSignal): Promise<void> {
    const options = ["--detach", "--name", this.container, "--label", `${DRILL_LABEL}=${this.#run}`, "--network", "none", "--cap-drop", "ALL", "--user", "0"];
    // Nothing acts on a container that its engine removes by itself (--rm): those of drills whose command was killed are cleared away now.
    await remove([`label=${DRILL_LABEL}`, "status=exited"], signal);
    const id = await docker(["run", ...options, "--entrypoint", "/bin/sh", this.#image, "-c", `sleep ${LIFE_SECONDS}`], "NO_START", signal);
    this.#id = id.trim();
  }

  async write(path: string, signal: AbortSignal): Promise<void> {
    await docker(["exec", await this.#own(), "/bin/sh", "-c", 'set -C; echo hullmark drill > "$1"', "sh", path], "FAILED", signal);
  }

  async execute(directory: string, signal: AbortSignal): Promise<void> {
    await docker(["exec", await this.#own(), "/bin/sh", "-c", FOREIGN_SHELL, "sh", directory], "FAILED", signal);
  }

  async remove(): Promise<void> {
    // By label, which nothing can change: an action may have put another container in its place and kept this one.
    await remove([`label=${DRILL_LABEL}=${this.#run}`], undefined);
    if (this.#ownImage && (await docker(["images", "--quiet", "--filter", `label=${DRILL_LABEL}=${this.#run}`], "FAILED", undefined)) !== "")
      await docker(["image", "rm", this.#image], "FAILED", undefined);
  }

  /** Its full id: a name could mean another one by now. @throws DrillError FOREIGN */
  async #own(): Promise<string> {
    const [id, label] = (await docker(["inspect", "--format", `{{.Id}} {{index .Config.Labels "${DRILL_LABEL}"}}`, this.container], "FAILED", undefined))
      .trim()
      .split(" ");
    if (id === undefined || id !== this.#id || label !== this.#run)
      throw new DrillError("FOREIGN", `${this.container} is not the container that this drill made: it has not the label ${DRILL_LABEL}=${this.#run}`);
    return id;
  }
}

/** Every container that all of these hold for. */
async function remove(filters: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const listed = await docker(["ps", "--all", "--quiet", "--no-trunc", ...filters.flatMap((filter) => ["--filter", filter])], "FAILED", signal);
  const ids = listed.split("\n").filter((id) => id !== "");
  if (ids.length > 0) await docker(["rm", "--force", "--volumes", ...ids], "FAILED", signal);
}

function docker(args: readonly string[], code: "NO_START" | "FAILED", signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile("docker", [...args], { timeout: COMMAND_MS, maxBuffer: 1 << 20, ...(signal && { signal }) }, (error, stdout, stderr) => {
      if (error) reject(new DrillError(code, (stderr.trim() || `docker: ${because(error)}`).replace(/\s*\n\s*/g, "; ").slice(0, 500), { cause: error }));
      else resolve(stdout);
    });
  });
}
