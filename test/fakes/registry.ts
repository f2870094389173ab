/** A working OCI registry in memory on loopback, with what Debian's lacks (the referrers API, logins) and with faults on demand. */
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface FakeRegistryOptions {
  /** distribution-spec v1.1. Default true. */
  readonly referrersApi?: boolean;
  /** Entries a page of referrers. Default 100. */
  readonly pageSize?: number;
  /** `token`: a bearer token for user `ann`, password `s3cret`, or her identity token. */
  readonly auth?: "none" | "basic" | "token";
}

export interface FakeRegistry {
  readonly host: string;
  /** `METHOD /path` of every request, in order. */
  readonly requests: string[];
  /** Whether a request carried an Authorization header, by the same index. */
  readonly authorized: boolean[];
  /** Answers instead of the registry; false: go on. */
  fault: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** What is stored under a digest is replaced, as a hostile registry would. */
  tamper(digest: string, bytes: Buffer): void;
  close(): Promise<void>;
}

interface Stored {
  readonly bytes: Buffer;
  readonly type: string;
}

const BASIC = `Basic ${Buffer.from("ann:s3cret").toString("base64")}`;
export const IDENTITY_TOKEN = "ann-refresh-token";

function sha256(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

async function body(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function startFakeRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const { referrersApi = true, pageSize = 100, auth = "none" } = options;
  const blobs = new Map<string, Buffer>();
  const uploads = new Map<string, Buffer>();
  const manifests = new Map<string, Stored>();
  const tags = new Map<string, string>();
  const tokens = new Set<string>();
  const requests: string[] = [];
  const authorized: boolean[] = [];

  const send = (response: ServerResponse, status: number, content: Buffer | string = "", headers: Record<string, string> = {}) => {
    response.writeHead(status, { "content-length": Buffer.byteLength(content), ...headers });
    response.end(content);
  };
  const unauthorized = (request: IncomingMessage, response: ServerResponse, scope: string): boolean => {
    const given = request.headers.authorization;
    if (auth === "none" || (auth === "basic" && given === BASIC) || (auth === "token" && tokens.has(`${given} ${scope}`))) return false;
    const challenge = auth === "basic" ? 'Basic realm="test"' : `Bearer realm="http://${request.headers.host}/token",service="fake",scope="${scope}"`;
    send(response, 401, '{"errors":[{"code":"UNAUTHORIZED"}]}', { "www-authenticate": challenge });
    return true;
  };
  const issue = async (request: IncomingMessage, response: ServerResponse, url: URL) => {
    const form = new URLSearchParams((await body(request)).toString());
    const known = request.method === "POST" ? form.get("refresh_token") === IDENTITY_TOKEN : request.headers.authorization === BASIC;
    if (!known) return send(response, 401, "{}");
    const token = randomBytes(12).toString("hex");
    tokens.add(`Bearer ${token} ${form.get("scope") ?? url.searchParams.get("scope")}`);
    send(response, 200, JSON.stringify({ token, expires_in: 300 }), { "content-type": "application/json" });
  };
  const referrers = (response: ServerResponse, name: string, digest: string, url: URL) => {
    if (!referrersApi) return send(response, 404, "404 page not found");
    const found = [...manifests].flatMap(([key, { bytes, type }]) => {
      const manifest = JSON.parse(bytes.toString()) as { subject?: { digest: string }; artifactType?: string; annotations?: object };
      if (!key.startsWith(`${name}@`) || manifest.subject?.digest !== digest) return [];
      return [
        {
          mediaType: type,
          digest: key.slice(key.indexOf("@") + 1),
          size: bytes.length,
          artifactType: manifest.artifactType,
          annotations: manifest.annotations,
        },
      ];
    });
    const from = Number(url.searchParams.get("from") ?? 0);
    const more = from + pageSize < found.length;
    const headers = more ? { link: `</v2/${name}/referrers/${digest}?from=${from + pageSize}>; rel="next"` } : {};
    const type = "application/vnd.oci.image.index.v1+json";
    send(response, 200, JSON.stringify({ schemaVersion: 2, mediaType: type, manifests: found.slice(from, from + pageSize) }), {
      "content-type": type,
      ...headers,
    });
  };
  const put = async (request: IncomingMessage, response: ServerResponse, name: string, reference: string) => {
    const bytes = await body(request);
    const digest = sha256(bytes);
    manifests.set(`${name}@${digest}`, { bytes, type: request.headers["content-type"] ?? "" });
    if (!reference.startsWith("sha256:")) tags.set(`${name}:${reference}`, digest);
    const subject = (JSON.parse(bytes.toString()) as { subject?: { digest: string } }).subject?.digest;
    send(response, 201, "", subject && referrersApi ? { "oci-subject": subject } : {});
  };
  const get = (response: ServerResponse, name: string, reference: string) => {
    const digest = reference.startsWith("sha256:") ? reference : tags.get(`${name}:${reference}`);
    const stored = manifests.get(`${name}@${digest}`);
    if (!stored) return send(response, 404, '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
    send(response, 200, stored.bytes, { "content-type": stored.type, "docker-content-digest": digest ?? "" });
  };
  const route = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    requests.push(`${request.method} ${url.pathname}`);
    authorized.push(request.headers.authorization !== undefined);
    if (fake.fault(request, response)) return;
    if (url.pathname === "/token") return issue(request, response, url);
    const [, name = "", kind = "", reference = ""] = /^\/v2\/(.+)\/(manifests|blobs|referrers)\/(.*)$/.exec(url.pathname) ?? [];
    const writes = ["PUT", "POST", "PATCH"].includes(request.method ?? "") || (request.method === "HEAD" && kind === "blobs");
    if (unauthorized(request, response, `repository:${name}:${writes ? "pull,push" : "pull"}`)) return;
    if (kind === "manifests") return request.method === "PUT" ? put(request, response, name, reference) : get(response, name, reference);
    if (kind === "referrers") return referrers(response, name, reference, url);
    if (kind !== "blobs") return send(response, 404);
    if (request.method === "POST") {
      const id = `uploads/${randomBytes(8).toString("hex")}`;
      uploads.set(id, Buffer.alloc(0));
      return send(response, 202, "", { location: `/v2/${name}/blobs/${id}?state=x` });
    }
    if (request.method === "PATCH" || request.method === "PUT") {
      const sent = uploads.get(reference);
      if (!sent) return send(response, 404, '{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}');
      const bytes = Buffer.concat([sent, await body(request)]);
      if (request.method === "PATCH") {
        if (request.headers["content-range"] !== `${sent.length}-${bytes.length - 1}`) return send(response, 416);
        uploads.set(reference, bytes);
        return send(response, 202, "", { location: `/v2/${name}/blobs/${reference}?state=y` });
      }
      uploads.delete(reference);
      const digest = url.searchParams.get("digest") ?? "";
      if (sha256(bytes) !== digest) return send(response, 400, '{"errors":[{"code":"DIGEST_INVALID"}]}');
      blobs.set(digest, bytes);
      return send(response, 201);
    }
    const blob = blobs.get(reference);
    return blob ? send(response, 200, request.method === "HEAD" ? "" : blob) : send(response, 404, '{"errors":[{"code":"BLOB_UNKNOWN"}]}');
  };

  const server = createServer((request, response) => {
    route(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const fake: FakeRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    authorized,
    fault: () => false,
    tamper: (digest, bytes) => {
      if (blobs.has(digest)) blobs.set(digest, bytes);
      for (const [key, stored] of manifests) if (key.endsWith(digest)) manifests.set(key, { ...stored, bytes });
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return fake;
}
