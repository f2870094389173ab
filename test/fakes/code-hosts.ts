/**
 * The commit statuses of GitHub (github/rest-api-description `POST /repos/{owner}/{repo}/statuses/{sha}`, and the refusals of its API) and of GitLab (`doc/api/commits.md`
 * "Set commit pipeline status", `lib/api/commit_statuses.rb`): take what fits, keep the last word of a context, and refuse the rest as they do. A field that they do not
 * have is refused too: they would ignore it, and it would be our mistake.
 */
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import * as z from "zod";
import { HttpReceiver, type Received } from "./http-receiver.ts";

const url = z.url({ protocol: /^https?$/ });
/** Characters, as they count. */
const chars = (max: number) => z.string().refine((text) => [...text].length <= max, `is too long (maximum is ${max} characters)`);
const SHA = /^[0-9a-f]{40}$/;

export interface CommitStatus {
  readonly repository: string;
  readonly sha: string;
  readonly context: string;
  readonly state: string;
  readonly description: string;
}

abstract class CodeHost extends HttpReceiver {
  static readonly TOKEN = "token-0123456789abcdef";
  /** Repository → commits that it has. */
  readonly repositories = new Map<string, readonly string[]>();
  /** The last word of each context. */
  readonly statuses: CommitStatus[] = [];
  /** Answers that come before it takes anything again. */
  readonly ill: { readonly status: number; readonly headers: Record<string, string> }[] = [];

  override answer: HttpReceiver["answer"] = (response, request) => {
    const trouble = this.ill.shift();
    if (trouble) return response.writeHead(trouble.status, trouble.headers).end("{}");
    return this.take(request, (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body)));
  };

  protected abstract take(request: Received, say: (status: number, body: object) => ServerResponse): ServerResponse;

  protected keep(status: CommitStatus): void {
    const others = this.statuses.filter((each) => key(each) !== key(status));
    this.statuses.splice(0, this.statuses.length, ...others, status);
  }

  protected json({ body, headers }: { readonly body: string; readonly headers: IncomingHttpHeaders }): unknown {
    if (headers["content-type"] !== "application/json") return undefined;
    try {
      return JSON.parse(body);
    } catch {
      return undefined;
    }
  }
}

/** GitHub takes contexts that differ in case for one. */
const key = ({ repository, sha, context }: CommitStatus): string => `${repository} ${sha} ${context.toLowerCase()}`;

const githubStatus = z.strictObject({
  state: z.enum(["error", "failure", "pending", "success"]),
  target_url: url.nullable().optional(),
  description: chars(140).nullable().optional(),
  context: z.string().min(1).max(255).default("default"),
});

export class Github extends CodeHost {
  protected override take(request: Received, say: (status: number, body: object) => ServerResponse): ServerResponse {
    const { method, url: path, headers } = request;
    if (!headers["user-agent"])
      return say(403, { message: "Request forbidden by administrative rules. Please make sure your request has a User-Agent header" });
    if (headers.authorization !== `Bearer ${CodeHost.TOKEN}`) return say(401, { message: "Bad credentials" });
    if (headers["x-github-api-version"] !== "2022-11-28" || headers.accept !== "application/vnd.github+json")
      return say(400, { message: "Unsupported version" });
    if (method === "GET" && path === "/rate_limit") return say(200, { rate: { limit: 5000 } });
    const [, repository = "", sha = ""] = /^\/repos\/([^/]+\/[^/]+)\/statuses\/([^/]+)$/.exec(path) ?? [];
    const commits = this.repositories.get(repository);
    // What the token may not see is not there.
    if (method !== "POST" || !commits) return say(404, { message: "Not Found" });
    const parsed = githubStatus.safeParse(this.json(request));
    if (!parsed.success)
      return say(422, { message: `Validation Failed: ${parsed.error.issues.map((issue) => `${issue.path.join(".")} ${issue.message}`).join("; ")}` });
    if (!SHA.test(sha) || !commits.includes(sha)) return say(422, { message: `No commit found for SHA: ${sha}` });
    const { state, context, description } = parsed.data;
    this.keep({ repository, sha, context, state, description: description ?? "" });
    return say(201, { state, context });
  }
}

const gitlabStatus = z
  .strictObject({
    state: z.enum(["pending", "running", "success", "failed", "canceled", "skipped"]),
    target_url: url.max(255).optional(),
    description: chars(255).optional(),
    name: z.string().min(1).max(255).optional(),
    context: z.string().min(1).max(255).optional(),
    ref: z.string().max(255).optional(),
    coverage: z.number().optional(),
    pipeline_id: z.int().optional(),
  })
  .refine(({ name, context }) => name === undefined || context === undefined, "name, context are mutually exclusive");

export class Gitlab extends CodeHost {
  protected override take(request: Received, say: (status: number, body: object) => ServerResponse): ServerResponse {
    const { method, url: path, headers } = request;
    if (headers["private-token"] !== CodeHost.TOKEN) return say(401, { message: "401 Unauthorized" });
    if (method === "GET" && path === "/api/v4/version") return say(200, { version: "18.5.1" });
    const [, id = "", sha = ""] = /^\/api\/v4\/projects\/([^/]+)\/statuses\/([^/]+)$/.exec(path) ?? [];
    const repository = decodeURIComponent(id);
    const commits = this.repositories.get(repository);
    if (method !== "POST" || !commits) return say(404, { message: "404 Project Not Found" });
    const parsed = gitlabStatus.safeParse(this.json(request));
    if (!parsed.success) return say(400, { error: parsed.error.issues.map((issue) => `${issue.path.join(".")} ${issue.message}`).join("; ") });
    if (!SHA.test(sha) || !commits.includes(sha)) return say(404, { message: "404 Commit Not Found" });
    const { state, name, context, description = "" } = parsed.data;
    this.keep({ repository, sha, context: name ?? context ?? "default", state, description });
    return say(201, { status: state });
  }
}
