/** `hullmark capture get` against a verifier that was taken over: it writes one file, where its user said, and what the verifier tells reaches no terminal as it is. */
import { execFile } from "node:child_process";
import { generateKeyPairSync, hash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { addService, type ServiceImplementation } from "@hullmark/proto/rpc";
import { Response } from "@hullmark/proto/v1/response";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { program } from "../fakes/program.ts";

vi.setConfig({ testTimeout: 60_000 });

const SEALED = Buffer.from("sealed");
const DIGEST = `sha256:${hash("sha256", SEALED)}`;
/** What it tells. */
let told: { id: string; digest: string; bytes: bigint; parts: () => Iterable<Buffer> };
let home: string;
let server: Server;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-get-"));
  mkdirSync(join(home, "work"));
  told = { id: "A-7K2Q", digest: DIGEST, bytes: BigInt(SEALED.length), parts: () => [SEALED] };
  const ca = await X509Ca.open({ stateDir: join(home, "ca"), region: "eu-1", clock: { nowMs: () => Date.now() } });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { chain } = await ca.issueServer(["localhost"], publicKey.export({ type: "spki", format: "der" }), 3_600_000);
  const pem = chain.map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
  server = new Server();
  const service = {
    getAction: async () => ({ action: { id: told.id, capture: { digest: told.digest, bytes: told.bytes, complete: true } } }),
    async *fetchCapture() {
      for (const part of told.parts()) yield { part };
    },
  };
  addService(
    server,
    Response,
    service as unknown as ServiceImplementation<typeof Response>,
    () => {},
    () => {},
  );
  const key = Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" }));
  const secure = ServerCredentials.createSsl(null, [{ private_key: key, cert_chain: Buffer.from(pem) }]);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("localhost:0", secure, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  writeFileSync(join(home, "ca.crt"), ca.rootPem);
  writeFileSync(join(home, "token"), "t");
  writeFileSync(join(home, "config.yaml"), `currentContext: a\ncontexts: { a: { address: "localhost:${port}", caFile: ca.crt, tokenFile: token } }\n`);
});
afterEach(() => {
  server.forceShutdown();
  rmSync(home, { recursive: true });
});

async function get(...more: string[]): Promise<{ readonly code: number; readonly out: string }> {
  const main = program("cli");
  const args = [main, "--config", join(home, "config.yaml"), "capture", "get", "a-7k2q", "-m", "INC-7", ...more];
  return await new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: join(home, "work") }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, out: `${stdout}${stderr}` }),
    );
  });
}

test("one file, named after the action, and nothing of another's beside it", async () => {
  writeFileSync(join(home, "work", "A-7K2Q.age.new"), "somebody's");
  expect(await get()).toMatchObject({ code: 0, out: expect.stringContaining(DIGEST) });
  expect(readFileSync(join(home, "work", "A-7K2Q.age"))).toEqual(SEALED);
  expect(readFileSync(join(home, "work", "A-7K2Q.age.new"), "utf8")).toBe("somebody's");
  expect(readdirSync(join(home, "work")).sort()).toEqual(["A-7K2Q.age", "A-7K2Q.age.new"]);
});

test("the verifier chooses neither where it is written nor what a terminal does", async () => {
  told = { ...told, id: "../../elsewhere" };
  expect(await get()).toMatchObject({ code: 3 });
  told = { ...told, id: join(home, "planted") };
  expect(await get()).toMatchObject({ code: 3 });
  expect(existsSync(join(home, "planted.age"))).toBe(false);
  told = { ...told, id: "\u001b]0;pwned\u0007A-7K2Q" };
  const { code, out } = await get("--out", "out.age");
  expect([code, out.includes("\u001b")]).toEqual([3, false]);
  told = { ...told, id: "A-7K2Q", digest: "\u001b[2J" };
  const other = await get();
  expect([other.code, other.out.includes("\u001b")]).toEqual([3, false]);
  expect(readdirSync(join(home, "work"))).toEqual([]);
});

test("no more of it is written than the action says that there is", async () => {
  let sent = 0;
  told.parts = function* () {
    for (; sent < 2000; sent++) yield Buffer.alloc(65_536);
  };
  expect(await get()).toMatchObject({ code: 3 });
  expect(sent).toBeLessThan(2000);
  expect(readdirSync(join(home, "work"))).toEqual([]);
});
