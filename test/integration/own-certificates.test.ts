/** Certificates that the verifier made for itself are renewed while it runs, long before they end: nobody has to start it anew for that. */
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Scrape } from "../fakes/scrape.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const DAY_MS = 86_400_000;
// Conditions are waited for at most two minutes each.
vi.setConfig({ testTimeout: 300_000 });
const ROLES = ["admin", "responder", "viewer", "actuator"] as const;

let home: string;
let apiServer: Server;
let verifier: TestVerifier;
/** Name of a Secret → its `client.crt`, as the API server has it. */
const secrets = new Map<string, string>();

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-own-certificates-"));
  execFileSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=api"],
    ...["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", join(home, "api.key"), "-out", join(home, "api.crt")],
  ]);
  writeFileSync(join(home, "token"), "own-token\n");
  apiServer = createServer({ key: readFileSync(join(home, "api.key")), cert: readFileSync(join(home, "api.crt")) }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const [, name] = /^\/api\/v1\/namespaces\/hullmark\/secrets\/(\S+)$/.exec(request.url ?? "") ?? [];
      if (name !== undefined)
        secrets.set(name, (JSON.parse(Buffer.concat(chunks).toString()) as { stringData: Record<string, string> }).stringData["client.crt"] ?? "");
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  });
  await new Promise<void>((resolve) => apiServer.listen(0, "127.0.0.1", resolve));
  const names = ROLES.map((role) => `${role}Secret: ${role}`).join(", ");
  verifier = await new TestVerifier().start(`
kubernetes:
  apiServer: https://127.0.0.1:${(apiServer.address() as AddressInfo).port}
  caFile: ${join(home, "api.crt")}
  tokenFile: ${join(home, "token")}
  publish: { namespace: hullmark, caConfigMap: ca, ${names} }
admission: { listen: 127.0.0.1:0 }`);
});
afterAll(async () => {
  await verifier?.dispose();
  apiServer?.close();
  apiServer?.closeAllConnections();
  rmSync(home, { recursive: true });
});

/** What a listener shows whoever connects. */
const shown = (port: number | undefined): Promise<X509Certificate> =>
  new Promise((resolve, reject) => {
    // Certificates that are made at a time to come are not valid by this machine's clock.
    const socket = connect({ host: "127.0.0.1", port: port ?? 0, rejectUnauthorized: false, ALPNProtocols: ["h2", "http/1.1"] }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate) resolve(certificate);
      else reject(new Error("no certificate"));
    });
    socket.on("error", reject);
  });

async function listeners(): Promise<X509Certificate[]> {
  const { mainPort, enrolmentPort, admissionPort } = verifier.running ?? {};
  return await Promise.all([mainPort, enrolmentPort, admissionPort].map(shown));
}
const files = (): X509Certificate[] => ROLES.map((role) => new X509Certificate(readFileSync(join(verifier.directory, "state", role, "client.crt"))));
const published = (): X509Certificate[] => ROLES.map((role) => new X509Certificate(secrets.get(role) ?? ""));
const all = async (): Promise<X509Certificate[]> => [...(await listeners()), ...files(), ...published()];
const ends = (certificates: readonly X509Certificate[]): number => Math.min(...certificates.map(({ validToDate }) => validToDate.getTime()));

test("a verifier that has run for most of a year shows new ones at each listener, and brings people's and the actuator's to where they are taken from", async () => {
  const before = await vi.waitFor(all, { timeout: 120_000, interval: 200 });
  const startMs = Date.now();
  expect(ends(before)).toBeGreaterThan(startMs + 360 * DAY_MS);
  expect(new Set((await listeners()).map(({ fingerprint256 }) => fingerprint256)).size).toBe(1);
  verifier.clock.pass(350 * DAY_MS);
  const after = await vi.waitFor(
    async () => {
      const seen = await all();
      expect(ends(seen)).toBeGreaterThan(startMs + 700 * DAY_MS);
      return seen;
    },
    { timeout: 120_000, interval: 200 },
  );
  const old = new Set(before.map(({ fingerprint256 }) => fingerprint256));
  expect(after.filter(({ fingerprint256 }) => old.has(fingerprint256))).toEqual([]);
  // By the same CA: whoever pins it notices nothing.
  const root = new X509Certificate(verifier.ca);
  expect(after.every((certificate) => certificate.verify(root.publicKey))).toBe(true);
  const metrics = await Scrape.from(`http://127.0.0.1:${verifier.running?.httpPort}`);
  const [listener] = await listeners();
  expect(metrics.value("hullmark_certificate_expiry_timestamp_seconds", { certificate: "server" })).toBe((listener?.validToDate.getTime() ?? 0) / 1000);
});

test("where they cannot be written then, they are some minutes later, and published; until then each is whole, and as before", async () => {
  const before = [...files(), ...published()];
  // Of the last that is written.
  const inTheWay = join(verifier.directory, "state/actuator/client.crt.new");
  mkdirSync(inTheWay);
  verifier.clock.pass(350 * DAY_MS);
  const failures = async () => {
    const metrics = await Scrape.from(`http://127.0.0.1:${verifier.running?.httpPort}`);
    return metrics.value("hullmark_duty_failures_total", { duty: "certificates" }) ?? 0;
  };
  await vi.waitFor(async () => expect(await failures()).toBeGreaterThan(0), { timeout: 120_000, interval: 200 });
  expect(files().at(-1)?.fingerprint256).toBe(before[ROLES.length - 1]?.fingerprint256);
  rmdirSync(inTheWay);
  verifier.clock.pass(120_000);
  const old = new Set(before.map(({ fingerprint256 }) => fingerprint256));
  await vi.waitFor(() => expect([...files(), ...published()].filter(({ fingerprint256 }) => old.has(fingerprint256))).toEqual([]), {
    timeout: 120_000,
    interval: 200,
  });
});
