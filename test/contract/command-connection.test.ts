/** What the command says where it cannot reach its verifier, by real connections: a sentence, and never the exit code that means drift. */
import { execFile } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer as createPlainServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import { RpcError } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { openChannel } from "hullmark/connection/context";
import { ContextError } from "hullmark/connection/context-error";
import { whyUnreachable } from "hullmark/connection/unreachable";
import { afterAll, beforeAll, expect, test } from "vitest";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";

const DAY_MS = 86_400_000;
const home = mkdtempSync(join(tmpdir(), "hullmark-connection-"));
const servers: Server[] = [];
const file = (name: string): string => join(home, name);
let address: string;

const pem = (der: Uint8Array): string => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE-----\n`;
const authority = (name: string, nowMs = Date.now()) => {
  mkdirSync(file(name), { recursive: true });
  return X509Ca.open({ stateDir: file(name), region: "eu-1", clock: { nowMs: () => nowMs } });
};

async function listen(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Certificate and key as NAME.crt and NAME.key. */
async function credential(name: string, issue: (spki: Buffer) => Promise<{ chain: readonly Uint8Array[] }>): Promise<{ key: string; cert: string }> {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { chain } = await issue(publicKey.export({ type: "spki", format: "der" }));
  const [cert, key] = [chain.map(pem).join(""), privateKey.export({ type: "pkcs8", format: "pem" }).toString()];
  writeFileSync(file(`${name}.crt`), cert);
  writeFileSync(file(`${name}.key`), key);
  return { cert, key };
}

beforeAll(async () => {
  const [ca, other, old] = [await authority("ca"), await authority("other"), await authority("old", Date.now() - 30 * DAY_MS)];
  writeFileSync(file("ca.crt"), ca.rootPem);
  writeFileSync(file("other.crt"), other.rootPem);
  writeFileSync(file("garbage"), "garbage");
  const server = await credential("server", (spki) => ca.issueServer(["127.0.0.1"], spki, DAY_MS));
  const elsewhere = await credential("elsewhere", (spki) => ca.issueServer(["verifier.example"], spki, DAY_MS));
  await credential("client", (spki) => ca.issueOperator("admin", "ann", spki, DAY_MS));
  await credential("stranger", (spki) => other.issueOperator("admin", "eve", spki, DAY_MS));
  await credential("expired", (spki) => old.issueOperator("admin", "ann", spki, DAY_MS));
  const options = { ca: ca.rootPem, requestCert: true, ALPNProtocols: ["h2"] };
  address = await listen(createServer({ ...options, ...server }));
  writeFileSync(file("elsewhere"), await listen(createServer({ ...options, ...elsewhere })));
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(home, { recursive: true });
});

/** What is said. @param change of a context that would do */
async function said(change: { address?: string; ca?: string; cert?: string; key?: string }): Promise<string> {
  const { ca = "ca.crt", cert = "client.crt", key = "client.key" } = change;
  const files = { caFile: file(ca), certFile: file(cert), keyFile: file(key) };
  try {
    const channel = openChannel({ name: "eu", address: change.address ?? address, ...files });
    try {
      await channel.client(Query).getStatus({});
      return "an answer";
    } finally {
      channel.close();
    }
  } catch (error) {
    if (error instanceof ContextError) return error.message;
    if (!(error instanceof RpcError)) throw error;
    return `${error.code}: ${whyUnreachable(error.message, "eu")}`;
  }
}

test("files that cannot be used are named before anything is asked", async () => {
  expect(await said({ ca: "garbage" })).toBe(`${file("garbage")} holds no certificate in PEM`);
  expect(await said({ cert: "garbage" })).toBe(`${file("garbage")} holds no certificate in PEM`);
  expect(await said({ key: "garbage" })).toBe(`${file("garbage")} holds no private key in PEM`);
  expect(await said({ key: "stranger.key" })).toBe(`${file("stranger.key")} is not the key of the certificate ${file("client.crt")}`);
  const ended = new X509Certificate(readFileSync(file("expired.crt"))).validToDate.toISOString();
  expect(await said({ cert: "expired.crt", key: "expired.key" })).toBe(`the client certificate ${file("expired.crt")} expired at ${ended}: get a new one`);
});

test("what answers is not the verifier, or does not know who asks", async () => {
  expect(await said({ ca: "other.crt" })).toMatch(/^UNAVAILABLE: its certificate is not by the CA that context "eu" names/);
  expect(await said({ cert: "stranger.crt", key: "stranger.key" })).toMatch(/^UNAVAILABLE: the connection was cut: it may not know this client certificate/);
  expect(await said({ address: readFileSync(file("elsewhere"), "utf8") })).toMatch(/^UNAVAILABLE: its certificate is for other names/);
  const plain = await listen(
    createPlainServer((socket) => socket.on("error", () => undefined).once("data", () => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"))),
  );
  expect(await said({ address: plain })).toMatch(/^UNAVAILABLE: what listens there speaks no TLS/);
});

test("nothing listens there, or the name is not known", async () => {
  const server = createPlainServer();
  const gone = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  expect(await said({ address: gone })).toBe(`UNAVAILABLE: nothing listens at ${gone}`);
  expect(whyUnreachable("Name resolution failed for target dns:verifier.invalid:7443", "eu")).toBe("no host has the name in verifier.invalid:7443");
  expect(whyUnreachable("something else", "eu")).toBe("something else");
});

/** The command as its user starts it, after what a module does. @param before JavaScript */
function started(before: string): Promise<{ code: unknown; stderr: string }> {
  const args = ["--import", `data:text/javascript,${before}`, join(REPOSITORY, "cli/main.ts"), "policy", "schema"];
  return new Promise((resolve) => execFile(process.execPath, args, (error, _out, stderr) => resolve({ code: error?.code, stderr })));
}

test("what nobody foresaw ends with 3, for 1 would say that there is drift", async () => {
  const { code, stderr } = await started("process.stdout.write=()=>{throw new Error('boom')}");
  expect(stderr).toMatch(/^hullmark: an unexpected error, please report it: Error: boom/);
  expect(code).toBe(3);
});

test("a Node that is too old is named, before anything is done", async () => {
  const { code, stderr } = await started("Object.defineProperty(process.versions,'node',{value:'22.9.0'})");
  expect(stderr).toMatch(/^hullmark: this wants Node 24 or a later one, and runs on v[^\n]* put another first in PATH\n$/);
  expect(code).toBe(3);
});
