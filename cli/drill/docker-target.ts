/** A drill's own container of a Docker host. */
import { execFile } from "node:child_process";
import { because } from "../output/because.ts";
import { DRILL_LABEL, DrillError, type DrillTarget } from "./target.ts";

const LIFE_SECONDS = 900;
const COMMAND_MS = 120_000;

export class DockerTarget implements DrillTarget {
  readonly container: string;
  readonly #run: string;
  readonly #image: string;
  #id: string | undefined;

  /** @param image with a shell */
  constructor(run: string, image: string) {
    this.container = `hullmark-drill-${run}`;
    this.#run = run;
    this.#image = image;
  }

  async start(signal: AbortSignal): Promise<void> {
    const options = [
      "--detach",
      "--rm",
      "--name",
      this.container,
      "--label",
      `${DRILL_LABEL}=${this.#run}`,
      "--network",
      "none",
      "--cap-drop",
      "ALL",
      "--user",
      "0",
    ];
    const id = await docker(["run", ...options, "--entrypoint", "/bin/sh", this.#image, "-c", `sleep ${LIFE_SECONDS}`], "NO_START", signal);
    this.#id = id.trim();
  }

  async write(path: string, signal: AbortSignal): Promise<void> {
    await docker(["exec", await this.#own(), "/bin/sh", "-c", 'set -C; echo hullmark drill > "$1"', "sh", path], "FAILED", signal);
  }

  async remove(): Promise<void> {
    if (this.#id !== undefined) await docker(["rm", "--force", await this.#own()], "FAILED", undefined);
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

function docker(args: readonly string[], code: "NO_START" | "FAILED", signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile("docker", [...args], { timeout: COMMAND_MS, maxBuffer: 1 << 20, ...(signal && { signal }) }, (error, stdout, stderr) => {
      if (error) reject(new DrillError(code, (stderr.trim() || `docker: ${because(error)}`).replace(/\s*\n\s*/g, "; ").slice(0, 500), { cause: error }));
      else resolve(stdout);
    });
  });
}
