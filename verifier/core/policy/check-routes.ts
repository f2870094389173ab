/** Alert routes of the policy file: what the schema cannot say of them. */
import { known } from "./check-authorities.ts";
import { DEFAULT_API, webOrigin } from "./code-hosts.ts";
import type { PolicyFile } from "./schema.ts";
import { type AlertMatch, type AlertRoute, type CommitStatusRoute, type HeaderValue, type Report, SYSLOG_FACILITIES, type SyslogRoute } from "./types.ts";

type FileRoute = PolicyFile["spec"]["alerts"]["routes"][number];
type FileNodes = PolicyFile["spec"]["nodes"];

export function buildRoutes(routes: readonly FileRoute[], nodes: FileNodes, path: readonly PropertyKey[], report: Report): AlertRoute[] {
  const built = routes.map((route, i) => buildRoute(route, nodes, [...path, i], report));
  if (built.length > 0 && built.every(({ match }) => isNarrow(match)))
    report("warning", path, "no route takes every alert: nobody hears of what none of them matches", "leave `match` out of one route");
  return built;
}

function isNarrow({ namespaces, nodes, pools, kinds }: AlertMatch): boolean {
  return namespaces.length + nodes.length + pools.length + kinds.length > 0;
}

function buildRoute(route: FileRoute, nodes: FileNodes, path: readonly PropertyKey[], report: Report): AlertRoute {
  const caFile = route.caFile;
  if (caFile !== undefined && "url" in route && route.url?.startsWith("http:"))
    report("warning", [...path, "caFile"], "has no effect on an http URL", "use https");
  const common = {
    name: route.name,
    minSeverity: route.minSeverity,
    match: buildMatch(route, nodes, [...path, "match"], report),
    groupBy: [...new Set(route.groupBy)],
    groupWaitSeconds: route.groupWait,
    repeatSeconds: route.repeat,
    maxPerMinute: route.maxPerMinute,
    timeoutSeconds: route.timeout,
    caFile,
  };
  switch (route.type) {
    case "webhook":
      checkHeaders(route.headers, [...path, "headers"], report);
      return { type: "webhook", ...common, url: route.url, headers: route.headers, hmacKeys: hmacKeys(route, path, report) };
    case "alertmanager":
      checkHeaders(route.headers, [...path, "headers"], report);
      return { type: "alertmanager", ...common, url: route.url, headers: route.headers };
    case "pagerduty":
      checkPrivate(route.url, "routing key", [...path, "url"], report);
      return { type: "pagerduty", ...common, url: route.url, routingKey: route.routingKey };
    case "slack":
      return { type: "slack", ...common, webhookUrl: route.webhookUrl };
    case "commit-status":
      return buildCommitStatus(route, common, path, report);
    case "syslog":
      return buildSyslog(route, common, path, report);
  }
}

function buildMatch({ match }: FileRoute, nodes: FileNodes, path: readonly PropertyKey[], report: Report): AlertMatch {
  const names = nodes.map(({ name }) => name);
  for (const [i, pool] of match.pools.entries()) known(pool, names, "node rule", "spec.nodes", [...path, "pools", i], report);
  return { ...match, nodeRules: match.pools.length === 0 ? [] : nodes.map(({ name, select }) => ({ name, nodes: select.nodes })) };
}

function hmacKeys(route: Extract<FileRoute, { type: "webhook" }>, path: readonly PropertyKey[], report: Report) {
  if (route.hmacKeyFromEnv === undefined) return route.hmacKeys;
  if (route.hmacKeys.length > 0) report("error", [...path, "hmacKeyFromEnv"], "stands beside `hmacKeys`", "list it there: `{fromEnv: NAME}`");
  return [{ fromEnv: route.hmacKeyFromEnv }];
}

type Common = Omit<SyslogRoute, "type" | "host" | "port" | "transport" | "facility" | "maxBytes">;

function buildSyslog(route: Extract<FileRoute, { type: "syslog" }>, common: Common, path: readonly PropertyKey[], report: Report): SyslogRoute {
  const { address, transport, maxBytes } = route;
  if (transport === "tcp" && common.caFile !== undefined) report("warning", [...path, "caFile"], "has no effect without TLS", "use transport: tls");
  if (transport === "tcp" && !isThisHost(address.host))
    report("warning", [...path, "transport"], "lets everybody on the way read and forge what is told", "use transport: tls");
  return { type: "syslog", ...common, ...address, transport, facility: SYSLOG_FACILITIES.indexOf(route.facility), maxBytes };
}

function isThisHost(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/.test(host);
}

function buildCommitStatus(
  route: Extract<FileRoute, { type: "commit-status" }>,
  common: Common,
  path: readonly PropertyKey[],
  report: Report,
): CommitStatusRoute {
  const { service, token, repositories, url = DEFAULT_API[service] } = route;
  checkPrivate(url, "token", [...path, "url"], report);
  if (/[?#]/.test(url)) report("error", [...path, "url"], "is more than the base of an API", `for example ${DEFAULT_API[service]}`);
  const origin = webOrigin(service, url);
  for (const [i, repository] of repositories.entries()) {
    const [owner = ""] = repository.startsWith(`${origin}/`) ? repository.slice(origin.length + 1).split("/") : [];
    const fix = `for example ${origin}/acme/* (without .git)`;
    if (owner === "") report("error", [...path, "repositories", i], `"${repository}" is not on ${origin}, whose API the route speaks to`, fix);
    else if (/[*?\\]/.test(owner) || !repository.slice(origin.length + 1).includes("/"))
      report("error", [...path, "repositories", i], `"${repository}" leaves open whose repository it is`, fix);
  }
  return { type: "commit-status", ...common, service, url, token, repositories };
}

/** The secret travels with the request: in the clear only to this host itself. */
function checkPrivate(url: string, what: string, path: readonly PropertyKey[], report: Report): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === "http:" && !isThisHost(hostname)) report("error", path, `would send the ${what} in the clear`, "use https");
}

function checkHeaders(headers: Readonly<Record<string, HeaderValue>>, path: readonly PropertyKey[], report: Report): void {
  for (const [name, header] of Object.entries(headers)) {
    const at = [...path, name];
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name)) report("error", at, `"${name}" is not the name of an HTTP header`, "for example Authorization");
    else if (/^(content-type|content-length|host|connection|transfer-encoding)$/i.test(name))
      report("error", at, `"${name}" is set by the sender`, "remove it");
    if ("value" in header && /[\x00-\x08\x0a-\x1f\x7f]/.test(header.value)) report("error", at, "the value holds a control character", "remove it");
    if ("value" in header && /^(authorization|x-api-key|cookie)$/i.test(name))
      report("warning", at, "a secret stands in the policy file", "use `fromFile` or `fromEnv`");
  }
}
