/** The log over HTTP and in a directory, checked by `hullmark log verify` and by two Go clients that share no code with it. */
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { buildHttpServer } from "@hullmark/verifier/api/http/server";
import { Health } from "@hullmark/verifier/core/fleet/health";
import { encodeLogEntry, hashLeaf, signCheckpoint, TransparencyLog } from "@hullmark/verifier/core/transparency/index";
import { logCommand } from "hullmark/commands/log";
import { Registry } from "prom-client";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { MemoryLogStore } from "../fakes/memory-log-store.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { runCommand } from "../fakes/run-command.ts";

const run = promisify(execFile);
const SIZES = [1, 255, 256, 257, 700];
const signer = testNoteSigner("log.example/interop");
const scratch = mkdtempSync(join(tmpdir(), "hullmark-log-"));
const keyFile = join(scratch, "log.pub");
const notes = new Map<number, string>();
let store: MemoryLogStore;
let server: ReturnType<typeof buildHttpServer>;
let url: string;

const entry = (i: number) =>
  encodeLogEntry({
    type: i % 3 === 0 ? "verdict" : "drift",
    timeMs: 1_790_000_000_000 + i,
    fields: { node: `w-${i % 7}`, index: i, path: `/tmp/${"x".repeat(i % 50)}` },
  });

async function growTo(log: TransparencyLog, size: number): Promise<void> {
  await log.append(Array.from({ length: size - log.size }, (_, i) => entry(log.size + i)));
  const { note } = await log.publish();
  notes.set(size, note);
  writeFileSync(join(scratch, `checkpoint-${size}`), note);
}

async function serve(log: MemoryLogStore): Promise<ReturnType<typeof buildHttpServer>> {
  const http = buildHttpServer({ log, metrics: new Registry(), readiness: () => new Health(0).readiness(true, 0), jwks: () => ({ keys: [] }) });
  await http.listen({ host: "127.0.0.1", port: 0 });
  return http;
}

const prefixOf = (http: ReturnType<typeof buildHttpServer>) => `http://127.0.0.1:${(http.server.address() as { port: number }).port}/log`;
const verify = (...args: string[]) => runCommand(logCommand, "verify", "--key", keyFile, ...args);

beforeAll(async () => {
  writeFileSync(keyFile, `${signer.verifierKey}\n`);
  store = new MemoryLogStore();
  const log = await TransparencyLog.open(store, signer);
  for (const size of SIZES) await growTo(log, size);
  // Committed, but not yet under a checkpoint: not to be served.
  await log.append([entry(700), entry(701)]);
  server = await serve(store);
  url = prefixOf(server);
});
afterEach(() => vi.unstubAllEnvs());
afterAll(async () => {
  await server.close();
  rmSync(scratch, { recursive: true, force: true });
});

describe("the served log", () => {
  it("answers with the paths, types and caching of C2SP tlog-tiles, and nothing beyond its checkpoint", async () => {
    const checkpoint = await fetch(`${url}/checkpoint`);
    expect(checkpoint.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(await checkpoint.text()).toBe(notes.get(700));
    const tile = await fetch(`${url}/tile/0/002.p/188`);
    expect(tile.status).toBe(200);
    expect(tile.headers.get("content-type")).toBe("application/octet-stream");
    expect(tile.headers.get("cache-control")).toContain("immutable");
    expect((await tile.arrayBuffer()).byteLength).toBe(188 * 32);
    // Partial tiles of earlier checkpoints stay.
    expect((await fetch(`${url}/tile/0/000.p/255`)).status).toBe(200);
    const hidden = [
      "tile/0/002.p/190",
      "tile/0/002",
      "tile/0/003.p/1",
      "tile/1/001.p/1",
      "tile/2/000.p/1",
      "tile/entries/002.p/189",
      "tile/0/2",
      "tile/0/%30%30%30",
    ];
    for (const path of [...hidden, "tile/0/000?x=1", "tile/", "tile/0/000.p/0", "tile/64/000", `tile/0/${"x001/".repeat(40)}001`])
      expect((await fetch(`${url}/${path}`)).status, path).not.toBe(200);
    expect((await fetch(`${url}/checkpoint`, { method: "POST", body: "x" })).status).toBe(404);
  });

  it("verifies over HTTP, with every remembered checkpoint", async () => {
    const { code, out } = await verify("--url", url);
    expect(out).toMatch(/^VERIFIED {2}log\.example\/interop {2}size 700/);
    expect(code).toBe(0);
    for (const size of SIZES) {
      const result = await verify("--url", url, "--since", join(scratch, `checkpoint-${size}`), "-o", "json");
      expect(result.code).toBe(0);
      expect(JSON.parse(result.out)).toMatchObject({ verdict: "ok", entries: 700, since: { size }, types: { verdict: 234, drift: 466 }, findings: [] });
    }
  });

  it("says 3 when the log cannot be reached, 2 when the command is wrong", async () => {
    expect(await verify("--url", "http://127.0.0.1:9/log")).toMatchObject({
      code: 3,
      out: expect.stringContaining("http://127.0.0.1:9/log cannot be reached"),
    });
    expect((await verify("--dir", join(scratch, "nowhere"))).code).toBe(3);
    vi.stubEnv("HULLMARK_CONFIG", join(scratch, "absent.yaml"));
    expect(await verify()).toMatchObject({ code: 2, err: expect.stringContaining("absent.yaml is not there") });
    expect((await verify("--url", url, "--dir", scratch)).code).toBe(2);
    const absent = join(scratch, "absent");
    expect(await verify("--url", url, "--since", absent)).toMatchObject({ code: 2, err: expect.stringContaining(`${absent} cannot be read: it is not there`) });
    const unwritable = await verify("--url", url, "--remember", join(absent, "checkpoint"));
    expect(unwritable).toMatchObject({ code: 3, err: expect.stringContaining("cannot be written: it is not there") });
    expect((await runCommand(logCommand, "verify", "--url", url, "--key", join(scratch, "checkpoint-1"))).code).toBe(2);
  });

  it("takes log and key of the context where none are named", async () => {
    const context = (more: string) => `{ address: 'v:7443', caFile: ca.crt, certFile: client.crt, keyFile: client.key${more} }`;
    const config = join(scratch, "config.yaml");
    vi.stubEnv("HULLMARK_CONFIG", config);
    writeFileSync(config, `currentContext: a\ncontexts:\n  a: ${context(`, logUrl: '${url}', logKeyFile: log.pub`)}\n`);
    expect(await runCommand(logCommand, "verify")).toMatchObject({ code: 0, out: expect.stringContaining("size 700") });
    expect((await verify("--dir", join(scratch, "nowhere"))).code).toBe(3);
    writeFileSync(config, `currentContext: a\ncontexts:\n  a: ${context("")}\n`);
    expect(await runCommand(logCommand, "verify")).toMatchObject({ code: 2, err: expect.stringContaining("give --url or --dir") });
    expect(await runCommand(logCommand, "verify", "--url", url)).toMatchObject({ code: 2, err: expect.stringContaining("give --key") });
  });
});

describe("an exported copy", () => {
  const copy = join(scratch, "copy");
  const victim = join(scratch, "victim");
  const fresh = () => {
    rmSync(victim, { recursive: true, force: true });
    cpSync(copy, victim, { recursive: true });
  };
  const files = () => readdirSync(copy, { recursive: true, encoding: "utf8" }).filter((file) => statSync(join(copy, file)).isFile());

  beforeAll(async () => {
    expect(await runCommand(logCommand, "export", copy, "--url", url, "--key", keyFile)).toMatchObject({
      code: 0,
      out: expect.stringContaining("700 entries"),
    });
  });

  it("verifies offline and can be brought up to date", async () => {
    const remembered = join(scratch, "remembered");
    expect((await verify("--dir", copy, "--remember", remembered)).code).toBe(0);
    expect(readFileSync(remembered, "utf8")).toBe(notes.get(700));
    const again = await runCommand(logCommand, "export", copy, "--url", url, "--key", keyFile);
    expect(again.out).toContain("(3 files copied)");
    expect((await verify("--dir", copy, "--since", remembered)).code).toBe(0);
  });

  it("is never found in order with any file altered, cut or missing", async () => {
    expect(files().sort()).toEqual([
      "checkpoint",
      "tile/0/000",
      "tile/0/001",
      "tile/0/002.p/188",
      "tile/1/000.p/2",
      "tile/entries/000",
      "tile/entries/001",
      "tile/entries/002.p/188",
    ]);
    for (const file of files()) {
      const length = statSync(join(copy, file)).size;
      for (const at of new Set([0, 1, Math.floor(length / 3), Math.floor(length / 2), length - 40, length - 1].filter((offset) => offset >= 0))) {
        fresh();
        const bytes = readFileSync(join(victim, file));
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        writeFileSync(join(victim, file), bytes);
        const { code, out } = await verify("--dir", victim);
        expect(code, `${file} byte ${at}: ${out}`).toBeOneOf(file === "checkpoint" ? [1, 3] : [1]);
      }
      fresh();
      truncateSync(join(victim, file), length - 1);
      expect((await verify("--dir", victim)).code, `${file} cut`).toBeOneOf([1, 3]);
      rmSync(join(victim, file));
      expect((await verify("--dir", victim)).code, `${file} missing`).toBe(3);
    }
  });

  it("gives away a rewritten, shrunk or differently signed history", async () => {
    // The log's own key signs another history: only memory tells.
    const forked = new MemoryLogStore();
    const fork = await TransparencyLog.open(forked, signer);
    await fork.append(Array.from({ length: 700 }, (_, i) => entry(i === 300 ? 9999 : i)));
    await fork.publish();
    const http = await serve(forked);
    try {
      const prefix = prefixOf(http);
      expect((await verify("--url", prefix)).code).toBe(0);
      const since = await verify("--url", prefix, "--since", join(scratch, "checkpoint-257"));
      expect(since.code).toBe(0);
      const rewritten = await verify("--url", prefix, "--since", join(scratch, "checkpoint-700"));
      expect(rewritten).toMatchObject({ code: 1, out: expect.stringContaining("TAMPERED WITH") });
    } finally {
      await http.close();
    }
    fresh();
    writeFileSync(join(victim, "checkpoint"), notes.get(256) as string);
    expect((await verify("--dir", victim, "--since", join(scratch, "checkpoint-257"))).code).toBe(1);
    fresh();
    const stranger = testNoteSigner("log.example/interop", "another key");
    writeFileSync(join(victim, "checkpoint"), await signCheckpoint(700, hashLeaf(Buffer.from("x")), stranger));
    expect((await verify("--dir", victim)).code).toBe(3);
    writeFileSync(join(victim, "checkpoint"), await signCheckpoint(700, hashLeaf(Buffer.from("x")), signer));
    expect((await verify("--dir", victim)).code).toBe(1);
  });
});

describe("independent Go clients (sumdb/tlog and tessera)", () => {
  const state = process.env["HULLMARK_STATE"] ?? new URL("../../.hullmark", import.meta.url).pathname;
  // Built from test/interop-go by deploy/testbed/go-tools.sh.
  const binary = join(state, "tools/bin/logcheck");
  const copy = join(scratch, "go-copy");
  const check = async (...args: string[]) => {
    try {
      return { code: 0, ...(await run(binary, ["-key", keyFile, ...args])) };
    } catch (error) {
      return { code: (error as { code: number }).code, stdout: "", stderr: (error as { stderr: string }).stderr };
    }
  };

  describe.runIf(existsSync(binary) || process.env["CI"])("with Go", () => {
    beforeAll(async () => {
      await runCommand(logCommand, "export", copy, "--url", url, "--key", keyFile);
    });

    it("accept the log over HTTP and as a directory, and its consistency with each earlier checkpoint", async () => {
      for (const from of [
        ["-url", `${url}/`],
        ["-dir", copy],
      ]) {
        const { stdout, stderr, code } = await check(...from);
        expect(code, stderr).toBe(0);
        expect(JSON.parse(stdout)).toMatchObject({ origin: "log.example/interop", size: 700, sumdbProofs: 350, tesseraProofs: 350 });
      }
      for (const size of SIZES) expect((await check("-dir", copy, "-since", join(scratch, `checkpoint-${size}`))).code).toBe(0);
    });

    it("accept a log with three levels of tiles", async () => {
      const large = new MemoryLogStore();
      const log = await TransparencyLog.open(large, signer);
      await log.append(Array.from({ length: 66_000 }, (_, i) => Buffer.from(`e${i}`)));
      await log.publish();
      const http = await serve(large);
      try {
        const { stdout, stderr, code } = await check("-url", `${prefixOf(http)}/`);
        expect(code, stderr).toBe(0);
        expect(JSON.parse(stdout)).toMatchObject({ size: 66_000 });
        expect((await verify("--url", prefixOf(http))).code).toBe(0);
      } finally {
        await http.close();
      }
    });

    it("reject what hullmark rejects", async () => {
      const victim = join(scratch, "go-victim");
      for (const file of ["checkpoint", "tile/0/001", "tile/entries/000", "tile/1/000.p/2"]) {
        rmSync(victim, { recursive: true, force: true });
        cpSync(copy, victim, { recursive: true });
        const bytes = readFileSync(join(victim, file));
        bytes[40] = (bytes[40] ?? 0) ^ 1;
        writeFileSync(join(victim, file), bytes);
        expect((await check("-dir", victim)).code, file).toBe(1);
        expect((await verify("--dir", victim)).code, file).toBeOneOf([1, 3]);
      }
    });
  });
});
