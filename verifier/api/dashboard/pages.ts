/** The page and what it loads: three files that were bundled when Hullmark was built, held in memory, named by their content. */
import { hash } from "node:crypto";
import type { FastifyInstance } from "fastify";

export interface PageFiles {
  /** Names `dashboard.js` and `dashboard.css`, which are replaced by the names that their content gives. */
  readonly html: string;
  readonly script: Buffer;
  readonly style: Buffer;
}

/** Where the page is served: it reads the rest of the address itself. */
const PAGES = [
  "/",
  "/incidents",
  "/incidents/*",
  "/drift",
  "/drift/*",
  "/images",
  "/images/*",
  "/nodes",
  "/nodes/*",
  "/actions",
  "/exceptions",
  "/exceptions/*",
  "/drills",
  "/log",
];
const FOREVER = "public, max-age=31536000, immutable";

export function registerPages(server: FastifyInstance, { html, script, style }: PageFiles): void {
  const named = (name: string, content: Buffer): string => name.replace(".", `.${hash("sha256", content).slice(0, 16)}.`);
  const [scriptName, styleName] = [named("dashboard.js", script), named("dashboard.css", style)];
  const page = Buffer.from(html.replace("dashboard.js", scriptName).replace("dashboard.css", styleName));
  const etag = `"${hash("sha256", page).slice(0, 32)}"`;
  for (const path of PAGES)
    server.get(path, (request, reply) => {
      reply.header("cache-control", "no-cache").header("etag", etag);
      return request.headers["if-none-match"] === etag ? reply.code(304).send() : reply.type("text/html; charset=utf-8").send(page);
    });
  server.get(`/${scriptName}`, (_request, reply) => reply.header("cache-control", FOREVER).type("text/javascript; charset=utf-8").send(script));
  server.get(`/${styleName}`, (_request, reply) => reply.header("cache-control", FOREVER).type("text/css; charset=utf-8").send(style));
}
