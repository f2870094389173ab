/** What the registry client does when registries lie, limit, stall or ask for logins. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CachingRegistry } from "@hullmark/verifier/adapters/oci-registry/caching";
import { dockerConfigCredentials, OciRegistry, type OciRegistryOptions } from "@hullmark/verifier/adapters/oci-registry/index";
import { readBlob } from "@hullmark/verifier/core/provenance/index";
import { MAX_MANIFEST_BYTES, RegistryError } from "@hullmark/verifier/ports/registry";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { never } from "../fakes/judging.ts";
import { type FakeRegistry, type FakeRegistryOptions, IDENTITY_TOKEN, startFakeRegistry } from "../fakes/registry.ts";

const cleanups: (() => Promise<void> | void)[] = [];
let fake: FakeRegistry;
let image: PushedImage;
let registry: OciRegistry;

beforeEach(async () => {
  fake = await fakeWith({});
  image = await pushImage(`${fake.host}/app`, { tag: "v1" });
  registry = client();
  fake.requests.length = 0;
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function fakeWith(options: FakeRegistryOptions): Promise<FakeRegistry> {
  const started = await startFakeRegistry(options);
  cleanups.push(() => started.close());
  return started;
}
function client(options: OciRegistryOptions = {}): OciRegistry {
  const made = new OciRegistry(options);
  cleanups.push(() => made.close());
  return made;
}
const manifest = (from: OciRegistry | CachingRegistry = registry, reference = image.manifestDigest, signal = never) =>
  from.manifest(image.repository, reference, MAX_MANIFEST_BYTES, signal);

describe("a registry that lies", () => {
  test("about a manifest's content is found out by its digest", async () => {
    fake.tamper(image.manifestDigest, Buffer.from(image.manifestBytes.toString().replace("2", "3")));
    await expect(manifest()).rejects.toMatchObject({ code: "DIGEST_MISMATCH", retryable: false });
  });

  test("about a blob is found out at its end, and the cache does not keep it", async () => {
    const cached = new CachingRegistry(registry);
    fake.tamper(image.configDigest, Buffer.from("{}"));
    for (let i = 0; i < 2; i++)
      await expect(readBlob(cached, image.repository, image.configDigest, 10_000, never)).rejects.toMatchObject({ code: "DIGEST_MISMATCH" });
    expect(fake.requests.filter((line) => line.includes("/blobs/"))).toHaveLength(2);
  });

  test("by an endless manifest is cut off", async () => {
    fake.fault = (_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const chunk = Buffer.alloc(256 * 1024, " ");
      const pump = () => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on("drain", pump);
      pump();
      return true;
    };
    await expect(manifest()).rejects.toMatchObject({ code: "TOO_LARGE" });
  });

  test("by breaking off a blob is UNAVAILABLE, not a short blob", async () => {
    fake.fault = (_, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write("begin");
      setImmediate(() => response.destroy());
      return true;
    };
    await expect(readBlob(registry, image.repository, image.configDigest, 10_000, never)).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
  });

  test("by redirects without end is refused", async () => {
    fake.fault = (request, response) => {
      response.writeHead(307, { location: request.url ?? "/" }).end();
      return true;
    };
    await expect(manifest()).rejects.toMatchObject({ code: "MALFORMED" });
    expect(fake.requests).toHaveLength(6);
  });

  test("by a redirect to plain http elsewhere is refused", async () => {
    fake.fault = (_, response) => {
      response.writeHead(307, { location: "http://registry.example/blob" }).end();
      return true;
    };
    await expect(readBlob(registry, image.repository, image.configDigest, 10_000, never)).rejects.toMatchObject({ code: "INSECURE" });
  });
});

describe("a registry that is not there", () => {
  test("is UNAVAILABLE, and plain http to a host that is not loopback is not even tried", async () => {
    await expect(client({ maxAttempts: 1 }).manifest("127.0.0.1:1/app", "v1", MAX_MANIFEST_BYTES, never)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    const plain = client({ maxAttempts: 1, tlsHosts: [fake.host] });
    await expect(plain.manifest(image.repository, "v1", MAX_MANIFEST_BYTES, never)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(fake.requests).toEqual([]);
  });

  test("that never answers is TIMEOUT; an abort in the meantime is the caller's reason", async () => {
    fake.fault = () => true;
    await expect(manifest(client({ headersTimeoutMs: 50 }))).rejects.toMatchObject({ code: "TIMEOUT", retryable: true });
    const controller = new AbortController();
    const asked = manifest(registry, "v1", controller.signal);
    controller.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
  });

  test("that stops in the middle of a body is TIMEOUT", async () => {
    fake.fault = (_, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write("begin");
      return true;
    };
    await expect(readBlob(client({ idleTimeoutMs: 50 }), image.repository, image.configDigest, 10_000, never)).rejects.toMatchObject({ code: "TIMEOUT" });
  });

  test("for a moment is asked again", async () => {
    let failures = 2;
    fake.fault = (_, response) => {
      if (failures-- <= 0) return false;
      response.writeHead(503, { "retry-after": "0" }).end();
      return true;
    };
    expect((await manifest()).digest).toBe(image.manifestDigest);
    expect(fake.requests).toHaveLength(3);
  });
});

describe("TLS", () => {
  test("under a private CA is trusted where that CA is configured, and nowhere else", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hullmark-tls-"));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const subject = ["-subj", "/CN=registry.test", "-addext", "subjectAltName=IP:127.0.0.1"];
    const files = ["-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")];
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", ...subject, ...files], {
      stdio: "ignore",
    });
    const [key, cert] = [readFileSync(join(folder, "key.pem"), "utf8"), readFileSync(join(folder, "cert.pem"), "utf8")];
    const server = createTlsServer({ key, cert }, (_, response) => {
      response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end(image.manifestBytes);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    cleanups.push(() => {
      server.closeAllConnections();
      return new Promise<void>((resolve) => void server.close(() => resolve()));
    });
    const ask = (ca: string | undefined) =>
      client({ ca, tlsHosts: [host], maxAttempts: 1 }).manifest(`${host}/app`, image.manifestDigest, MAX_MANIFEST_BYTES, never);
    expect((await ask(cert)).digest).toBe(image.manifestDigest);
    await expect(ask(undefined)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});

describe("a rate limit", () => {
  test("longer than we wait is told with its time, and the cache then leaves the registry alone", async () => {
    fake.fault = (_, response) => {
      response.writeHead(429, { "retry-after": "120" }).end();
      return true;
    };
    let nowMs = 0;
    const cached = new CachingRegistry(registry, { now: () => nowMs });
    await expect(manifest(cached)).rejects.toMatchObject({ code: "RATE_LIMITED", retryAfterMs: 120_000 });
    nowMs = 119_000;
    await expect(manifest(cached, "v1")).rejects.toMatchObject({ code: "RATE_LIMITED", retryAfterMs: 1000 });
    expect(fake.requests).toHaveLength(1);
    fake.fault = () => false;
    nowMs = 121_000;
    expect((await manifest(cached, "v1")).digest).toBe(image.manifestDigest);
  });
});

describe("the cache", () => {
  test("asks once for equal questions at once, and for what a digest names", async () => {
    const cached = new CachingRegistry(registry);
    await Promise.all(Array.from({ length: 20 }, () => manifest(cached)));
    await manifest(cached);
    await Promise.all([1, 2].map(() => readBlob(cached, image.repository, image.configDigest, 10_000, never)));
    await readBlob(cached, image.repository, image.configDigest, 10_000, never);
    expect(fake.requests.filter((line) => line.includes("/manifests/"))).toHaveLength(1);
  });

  test("asks again for tags, referrers and absence when their time is over", async () => {
    let nowMs = 0;
    const cached = new CachingRegistry(registry, { now: () => nowMs, mutableTtlMs: 100, absentTtlMs: 50 });
    const ask = async () => {
      await manifest(cached, "v1");
      await cached.referrers(image.repository, image.manifestDigest, never);
      await expect(manifest(cached, "absent")).rejects.toMatchObject({ code: "NOT_FOUND" });
      return fake.requests.splice(0).length;
    };
    expect(await ask()).toBe(3);
    expect(await ask()).toBe(0);
    nowMs = 60;
    expect(await ask()).toBe(1);
    nowMs = 101;
    expect(await ask()).toBe(2);
  });

  test("asked anew answers nothing that may change by what it kept, equal questions at once, and keeps what it learns", async () => {
    const cached = new CachingRegistry(registry);
    const ask = async (of: Pick<CachingRegistry, "manifest" | "referrers">) => {
      const both = [of.manifest(image.repository, "v1", MAX_MANIFEST_BYTES, never), of.referrers(image.repository, image.manifestDigest, never)];
      await Promise.all([...both, expect(of.manifest(image.repository, "absent", MAX_MANIFEST_BYTES, never)).rejects.toMatchObject({ code: "NOT_FOUND" })]);
      await of.manifest(image.repository, image.manifestDigest, MAX_MANIFEST_BYTES, never);
      return fake.requests.splice(0).length;
    };
    expect(await ask(cached)).toBe(4);
    const anew = cached.anew();
    expect(await ask(cached)).toBe(0);
    const [one, other] = await Promise.all([ask(anew), ask(anew)]);
    expect(one + other, "what a digest names is what it was").toBe(3);
    expect(await ask(anew)).toBe(0);
    expect(await ask(cached)).toBe(0);
    expect(await ask(cached.anew())).toBe(3);
  });

  test("an answer to an earlier question that comes late replaces no later one", async () => {
    const cached = new CachingRegistry(registry);
    let held: (() => void) | undefined;
    fake.fault = (request, response) => {
      if (held || !request.url?.includes("/manifests/v1")) return false;
      held = () => response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end("{}");
      return true;
    };
    const slow = manifest(cached, "v1");
    while (!held) await new Promise((resolve) => setTimeout(resolve, 5));
    const now = await cached.anew().manifest(image.repository, "v1", MAX_MANIFEST_BYTES, never);
    held();
    expect((await slow).digest).not.toBe(now.digest);
    expect((await manifest(cached, "v1")).digest).toBe(now.digest);
    fake.fault = () => false;
  });

  test("stays within its bytes", async () => {
    const cached = new CachingRegistry(registry, { maxBytes: 1200 });
    const other = await pushImage(`${fake.host}/other`, { layers: [{ a: "1" }, { b: "2" }] });
    fake.requests.length = 0;
    await manifest(cached);
    await cached.manifest(other.repository, other.manifestDigest, MAX_MANIFEST_BYTES, never);
    await manifest(cached);
    expect(fake.requests).toHaveLength(3);
  });

  test("lets one caller go without disturbing the other", async () => {
    const cached = new CachingRegistry(registry);
    let answer = () => {};
    let held = false;
    fake.fault = (request, response) => {
      if (held) return false;
      held = true;
      answer = () => {
        response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end(image.manifestBytes);
      };
      request.resume();
      return true;
    };
    const controller = new AbortController();
    const gone = manifest(cached, image.manifestDigest, controller.signal);
    const stays = manifest(cached);
    while (!held) await new Promise((resolve) => setImmediate(resolve));
    controller.abort(new Error("left"));
    await expect(gone).rejects.toThrow("left");
    answer();
    expect((await stays).digest).toBe(image.manifestDigest);
    expect(fake.requests).toHaveLength(1);
  });
});

describe("logins", () => {
  const dockerConfig = (content: object, name = "config.json"): string => {
    const folder = mkdtempSync(join(tmpdir(), "hullmark-login-"));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, name), JSON.stringify(content));
    return join(folder, name);
  };
  const withConfig = (content: object) => client({ credentials: dockerConfigCredentials(dockerConfig(content)) });
  const auth = Buffer.from("ann:s3cret").toString("base64");
  const push = (to: OciRegistry, host: string) => to.pushBlob(`${host}/app`, Buffer.from("{}"), never);

  test.each(["basic", "token"] as const)("by %s with the password from Docker's configuration, asked for once", async (kind) => {
    const guarded = await fakeWith({ auth: kind });
    const logged = withConfig({ auths: { [guarded.host]: { auth } } });
    const { digest } = await push(logged, guarded.host);
    await readBlob(logged, `${guarded.host}/app`, digest, 10, never);
    await readBlob(logged, `${guarded.host}/app`, digest, 10, never);
    expect(guarded.requests.filter((line) => line.includes("/token"))).toHaveLength(kind === "token" ? 2 : 0);
  });

  test("by an identity token", async () => {
    const guarded = await fakeWith({ auth: "token" });
    const logged = withConfig({ auths: { [guarded.host]: { identitytoken: IDENTITY_TOKEN } } });
    expect((await push(logged, guarded.host)).size).toBe(2);
    expect(guarded.requests).toContain("POST /token");
  });

  test("from a credential helper", async () => {
    const guarded = await fakeWith({ auth: "basic" });
    const path = dockerConfig({ credHelpers: { [guarded.host]: "hullmarktest" } });
    const helper = join(path, "..", "docker-credential-hullmarktest");
    writeFileSync(
      helper,
      '#!/bin/sh\nread -r server\n[ "$1" = get ] && echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"ann\\",\\"Secret\\":\\"s3cret\\"}"\n',
    );
    chmodSync(helper, 0o755);
    const before = process.env["PATH"];
    process.env["PATH"] = `${join(path, "..")}:${before}`;
    try {
      expect((await push(client({ credentials: dockerConfigCredentials(path) }), guarded.host)).size).toBe(2);
    } finally {
      process.env["PATH"] = before;
    }
  });

  test("wrong or absent are UNAUTHORIZED, without the password in the text", async () => {
    for (const kind of ["basic", "token"] as const) {
      const guarded = await fakeWith({ auth: kind });
      const wrong = Buffer.from("ann:hunter2").toString("base64");
      for (const credentials of [{}, { auths: { [guarded.host]: { auth: wrong } } }]) {
        const error = await push(withConfig(credentials), guarded.host).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(RegistryError);
        expect(error).toMatchObject({ code: "UNAUTHORIZED" });
        expect(String(error)).not.toMatch(/hunter2|s3cret/);
      }
    }
  });

  test("never follow a redirect to another host", async () => {
    const guarded = await fakeWith({ auth: "basic" });
    const seen: (string | undefined)[] = [];
    const storage: Server = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end("{}");
    });
    await new Promise<void>((resolve) => storage.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => new Promise<void>((resolve) => void storage.close(() => resolve())).finally(() => undefined));
    const logged = withConfig({ auths: { [guarded.host]: { auth } } });
    const { digest } = await push(logged, guarded.host);
    guarded.fault = (request, response) => {
      if (!request.url?.includes("/blobs/") || !request.headers.authorization) return false;
      response.writeHead(307, { location: `http://127.0.0.1:${(storage.address() as AddressInfo).port}/blob` }).end();
      return true;
    };
    expect((await readBlob(logged, `${guarded.host}/app`, digest, 10, never)).toString()).toBe("{}");
    expect(seen).toEqual([undefined]);
    logged.close();
  });
});
