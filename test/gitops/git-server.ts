/** A repository as tools fetch it: git's own server program behind HTTP. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { run } from "../../deploy/testbed/run.ts";

const IDENTITY = ["-c", "user.name=ci", "-c", "user.email=ci@example.com"];
const BRANCH = "main";

export class GitServer implements AsyncDisposable {
  readonly #directory: string;
  readonly #server = createServer((request, response) => this.#serve(request, response));

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** With one empty repository. @param directory its own */
  static async start(directory: string): Promise<GitServer> {
    const server = new GitServer(directory);
    await run(["git", "init", "--quiet", `--initial-branch=${BRANCH}`, server.#worktree]);
    await run(["git", "clone", "--quiet", "--bare", server.#worktree, join(directory, "shop.git")]);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get #worktree(): string {
    return join(this.#directory, "work");
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/shop.git`;
  }

  /** @param files content by path; what is not named stays @returns the commit */
  async commit(message: string, files: Readonly<Record<string, string>>): Promise<string> {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(this.#worktree, path)), { recursive: true });
      writeFileSync(join(this.#worktree, path), content);
    }
    const git = (...args: string[]): Promise<string> => run(["git", "-C", this.#worktree, ...IDENTITY, ...args]);
    await git("add", "--all");
    await git("commit", "--quiet", `--message=${message}`);
    await git("push", "--quiet", join(this.#directory, "shop.git"), BRANCH);
    return (await git("rev-parse", "HEAD")).trim();
  }

  /** CGI (RFC 3875), as far as git asks for it. */
  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, search } = new URL(request.url ?? "/", "http://localhost");
    const env = {
      ...{ PATH: process.env["PATH"] ?? "", GIT_PROJECT_ROOT: this.#directory, GIT_HTTP_EXPORT_ALL: "1", REMOTE_ADDR: "127.0.0.1" },
      ...{ REQUEST_METHOD: request.method ?? "", PATH_INFO: pathname, QUERY_STRING: search.slice(1), CONTENT_TYPE: request.headers["content-type"] ?? "" },
      ...{ HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "", GIT_PROTOCOL: `${request.headers["git-protocol"] ?? ""}` },
    };
    const child = spawn("git", ["http-backend"], { env, stdio: ["pipe", "pipe", "ignore"] });
    request.pipe(child.stdin);
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.on("close", () => {
      const answer = Buffer.concat(chunks);
      const end = answer.indexOf("\r\n\r\n");
      const headers = answer.subarray(0, end).toString("latin1").split("\r\n");
      const pairs = headers.map((line): [string, string] => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
      const status = Number.parseInt(pairs.find(([name]) => name === "Status")?.[1] ?? "200", 10);
      response.writeHead(end < 0 ? 500 : status, Object.fromEntries(pairs.filter(([name]) => name !== "Status"))).end(answer.subarray(end + 4));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
