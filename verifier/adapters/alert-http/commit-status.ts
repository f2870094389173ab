/**
 * Commit statuses at GitHub and GitLab: at the commit from which an image was built stands whether what runs of it is as it was signed. Repository and commit are those
 * of provenance that policy's authorities have signed; whoever can sign one names them. So the server is the route's, the repository must be one that the route lists,
 * and what becomes part of a path is held against a pattern first.
 * https://docs.github.com/rest/commits/statuses · https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
 */
import { compileNames } from "@hullmark/proto/codec";
import { REFUSAL_LASTS_MS, type StandingAlerts } from "../../core/alerting/index.ts";
import { webOrigin } from "../../core/policy/code-hosts.ts";
import type { CommitService } from "../../core/policy/types.ts";
import { plainRepository } from "../../core/provenance/slsa.ts";
import { type AlertEvent, type Notifier, NotifierError } from "../../ports/notifier.ts";
import { httpPost } from "./http-post.ts";
import type { Secret } from "./secrets.ts";

/** GitHub's limit of a description, GitLab's is 255; and of a context. */
const MAX_DESCRIPTION = 140;
const MAX_CONTEXT = 255;

export interface CommitStatusOptions {
  readonly route: string;
  readonly service: CommitService;
  /** Base of the API. */
  readonly url: string;
  readonly token: Secret;
  /** Globs over repositories, without `.git`. */
  readonly repositories: readonly string[];
  /** Other alerts that this route was told of, for the same commit and workload, as they stand at the time of sending. */
  readonly standing: (alert: AlertEvent) => StandingAlerts;
  readonly timeoutMs: number;
  /** Where people reach the verifier; undefined: left out. */
  readonly externalUrl: string | undefined;
  /** PEM certificates for https. */
  readonly ca: string | undefined;
}

/** What a status is of. */
interface Place {
  /** Below the API's base. */
  readonly path: string;
  readonly context: string;
}

export function commitStatusNotifier(options: CommitStatusOptions): Notifier {
  const { route, service, repositories, token, timeoutMs, ca } = options;
  const base = options.url.replace(/\/+$/, "");
  const origin = webOrigin(service, options.url);
  const listed = compileNames(repositories);
  return {
    route,
    type: "commit-status",
    async notify({ alerts }, signal) {
      const secret = await token();
      const post = (path: string, body: object | undefined) => {
        const request = { url: `${base}${path}`, method: body ? ("POST" as const) : ("GET" as const), headers: headersOf(service, secret) };
        return httpPost({ ...request, body: body ? JSON.stringify(body) : "", timeoutMs, ca, secrets: [secret] }, signal);
      };
      // Of no commit: what can be tried is whether the token is taken.
      if (alerts.every(({ kind }) => kind === "test")) return await post(service === "github" ? "/rate_limit" : "/version", undefined);
      let answer = "nothing to say: no commit of a listed repository is concerned";
      const said = new Set<string>();
      let refused: NotifierError | undefined;
      for (const alert of alerts.toReversed()) {
        if (isLapsed(alert)) continue;
        const place = placeOf(alert, service, origin, listed);
        const key = place && `${place.path} ${place.context}`;
        if (!place || !key || said.has(key)) continue;
        said.add(key);
        try {
          answer = await post(place.path, bodyOf(service, place.context, alert, options));
        } catch (error) {
          // Whoever signs names the commit: that there is none of that name must not keep from the others what is said of theirs.
          if (!(error instanceof NotifierError) || error.retryable) throw error;
          refused ??= error;
        }
      }
      if (refused) throw refused;
      return answer;
    },
  };
}

function headersOf(service: CommitService, token: string): Record<string, string> {
  const common = { "content-type": "application/json", "user-agent": "Hullmark" };
  if (service === "gitlab") return { ...common, "private-token": token };
  return { ...common, accept: "application/vnd.github+json", "x-github-api-version": "2022-11-28", authorization: `Bearer ${token}` };
}

/** undefined: it is of no commit, or of one to which this route says nothing. */
function placeOf({ source, workload }: AlertEvent, service: CommitService, origin: string, listed: (name: string) => boolean): Place | undefined {
  if (!source || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(source.commit)) return undefined;
  const repository = plainRepository(source.repository);
  if (!repository.startsWith(`${origin}/`) || !listed(repository)) return undefined;
  const names = repository.slice(origin.length + 1).split("/");
  if (names.length < 2 || names.length > 20 || names.some((name) => !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/.test(name))) return undefined;
  const context = `hullmark${workload === "" ? "" : `/${workload}`}`.slice(0, MAX_CONTEXT).toWellFormed();
  if (service === "gitlab") return { path: `/projects/${encodeURIComponent(names.join("/"))}/statuses/${source.commit}`, context };
  return names.length === 2 ? { path: `/repos/${names.join("/")}/statuses/${source.commit}`, context } : undefined;
}

function bodyOf(service: CommitService, context: string, alert: AlertEvent, { standing, externalUrl }: CommitStatusOptions): object {
  const others = standing(alert);
  const fails = alert.status === "firing" || others.count > 0;
  const words = fails ? failing(alert, others) : alert.kind === "refused" ? "The cluster let it in" : "What runs is as it was signed again";
  const common = { context, description: words, ...(externalUrl === undefined ? {} : { target_url: externalUrl }) };
  if (service === "gitlab") return { ...common, state: fails ? "failed" : "success" };
  return { ...common, state: fails ? "failure" : "success" };
}

/** It was refused, and nobody has asked again: what stands at the commit is still so. */
function isLapsed({ kind, status, startsAtMs, endsAtMs = startsAtMs }: AlertEvent): boolean {
  return kind === "refused" && status === "resolved" && endsAtMs - startsAtMs >= REFUSAL_LASTS_MS;
}

/** No names of nodes: whoever may read the repository reads it. */
function failing({ status, severity, kind, path, incident, nodeCount, description }: AlertEvent, { count, gravest }: StandingAlerts): string {
  if (status !== "firing") return cut(`${count} ${count === 1 ? "difference" : "differences"} from what was signed still, ${gravest}`, MAX_DESCRIPTION);
  if (kind === "refused") return cut(`kept out of the cluster: ${/^What {3}(.*)$/m.exec(description)?.[1] ?? ""}`, MAX_DESCRIPTION);
  const nodes = `on ${nodeCount} ${nodeCount === 1 ? "node" : "nodes"}`;
  const rest = ` ${nodes}${count > 0 ? `, and ${count} more` : ""}${incident ? `: hullmark incident show ${incident}` : ""}`;
  return `${cut(`${severity} ${kind}${path ? ` ${path}` : ""}`, MAX_DESCRIPTION - rest.length)}${rest}`;
}

function cut(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1).toWellFormed()}…`;
}
