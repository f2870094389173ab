/** docs/keys.md, "When somebody else may have a key": its commands, in its order, against a verifier from which somebody took the key before. */
import { execFile } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { openLogKey } from "@hullmark/verifier/adapters/log-signer/index";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { parseVerifierKeys, signCheckpoint, verifyLog } from "@hullmark/verifier/core/transparency/index";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify, SignJWT } from "jose";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { program } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const run = promisify(execFile);
const main = program("cli");
const page = readFileSync(new URL("../../docs/keys.md", import.meta.url), "utf8");

// Each command is a process of its own.
vi.setConfig({ testTimeout: 240_000 });

let verifier: TestVerifier;
let directory: string;
const ran: string[] = [];
const state = (...names: string[]): string => join(verifier.directory, "state", ...names);
const stolen = (...names: string[]): string => join(directory, "stolen", ...names);

beforeAll(async () => {
  verifier = await new TestVerifier().start();
  directory = mkdtempSync(join(tmpdir(), "hullmark-runbook-"));
  const node = verifier.attester({ name: "node-1", quoter: new FakeQuoter() });
  await node.connect();
  await node.close();
  for (const name of ["ca", "ear-keys", "log.key", "region.key", "intent.key"]) cpSync(state(name), stolen(name), { recursive: true });
});
afterAll(async () => {
  await verifier.dispose();
  rmSync(directory, { recursive: true });
});

/** The commands of a section, in order: its indented lines. */
function commandsOf(title: string): string[] {
  const section = page.split(/^### /m).find((text) => text.startsWith(`${title}\n`)) ?? "";
  return [...section.matchAll(/^ {4}(\S.*)$/gm)].map(([, line = ""]) => line);
}

/** Words of a line, as a shell has them. */
const words = (line: string): string[] => [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");

/** Runs what stands there, to the letter, but for the names of things. */
async function perform(title: string): Promise<void> {
  const lines = commandsOf(title);
  expect(lines.length, title).toBeGreaterThan(0);
  for (const line of lines) {
    ran.push(line);
    const [command, ...rest] = words(line).map((word) =>
      word
        .replace(/^NODE$/, "node-1")
        .replace(/^NAME$/, "ann")
        .replace(/^ROLE$/, "viewer")
        .replace(/^DIR$/, join(directory, line.includes("actuator") ? "actuator" : "person")),
    );
    if (command === "hullmark")
      await run(process.execPath, [main, ...rest], { cwd: directory, env: { ...process.env, HULLMARK_CONFIG: state("admin/config.yaml") } });
    else throw new Error(`what is ${line}?`);
  }
}

test("ca", async () => {
  const thief = async () => {
    const authority = await X509Ca.open({ stateDir: stolen("ca"), region: verifier.region, clock: verifier.clock });
    const { privateKey, publicKey }: { privateKey: KeyObject; publicKey: KeyObject } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { chain } = await authority.issueOperator("admin", "admin", publicKey.export({ type: "spki", format: "der" }), 3_600_000);
    const pem = chain.map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
    const key = Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" }));
    const channel = verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, Buffer.from(pem))));
    return await channel.client(Query).getStatus({}, { timeoutMs: 60_000 });
  };
  await expect(thief()).resolves.toMatchObject({ region: verifier.region });
  await perform("Stolen: ca");
  await expect(thief()).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("a person's certificate", async () => {
  const { key, pem } = await verifier.certify((authority, spki) => authority.issueOperator("viewer", "ann", spki, 3_600_000));
  const thief = verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem))).client(Query);
  await expect(thief.getStatus({})).resolves.toMatchObject({ region: verifier.region });
  await perform("Stolen: a person's certificate");
  await expect(thief.getStatus({})).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

test("log", async () => {
  const forged = await signCheckpoint(7, Buffer.alloc(32, 7), openLogKey(stolen("log.key")));
  const reader = { readCheckpoint: async () => ({ size: 7, note: forged }), readTile: async () => undefined, readEntries: async () => [] };
  const believed = async () => (await verifyLog(reader, parseVerifierKeys(readFileSync(state("admin/log.pub"), "utf8")))).checkpoint !== undefined;
  expect(await believed()).toBe(true);
  await perform("Stolen: log");
  expect(await believed()).toBe(false);
});

test("ear", async () => {
  const [file = ""] = readdirSync(stolen("ear-keys"));
  const key = createPrivateKey(readFileSync(stolen("ear-keys", file)));
  const jwt = await new SignJWT({ submods: {} }).setProtectedHeader({ alg: "ES256", typ: "eat+jwt" }).sign(key);
  const believed = async () => {
    const set = (await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/.well-known/jwks.json`)).json()) as JSONWebKeySet;
    return await jwtVerify(jwt, createLocalJWKSet(set)).then(
      () => true,
      () => false,
    );
  };
  expect(await believed()).toBe(true);
  await perform("Stolen: ear");
  expect(await believed()).toBe(false);
});

test("nonce", async () => {
  await perform("Stolen: nonce");
  expect(readFileSync(state("region.key"))).not.toEqual(readFileSync(stolen("region.key")));
});

test("intent", async () => {
  await perform("Stolen: intent");
  const pinned = createPublicKey(readFileSync(join(directory, "actuator/intent.pub"))).export({ type: "spki", format: "der" });
  const publicOf = (file: string) => parseVerifierKeys(openLogKey(file).verifierKey)[0]?.publicKey.export({ type: "spki", format: "der" });
  expect(pinned).toEqual(publicOf(state("intent.key")));
  expect(pinned).not.toEqual(publicOf(stolen("intent.key")));
  expect(readFileSync(join(directory, "actuator/intent.pub"), "utf8").match(/BEGIN/g)).toHaveLength(1);
});

test("every command that stands there was run", () => {
  const [, below = ""] = page.split("## When somebody else may have a key");
  expect([...below.matchAll(/^ {4}(\S.*)$/gm)].map(([, line]) => line)).toEqual(ran);
  expect(ran.length).toBeGreaterThan(15);
});
