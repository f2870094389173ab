/** Fields of log lines: what the sources write is what docs/logs.md names, and a failed call is found in the log by the id that its caller got. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { openLog } from "@hullmark/daemon";
import { addService, type CallContext, RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { expect, test } from "vitest";

const REPOSITORY = new URL("../..", import.meta.url).pathname;
const documented = new Set([...readFileSync(join(REPOSITORY, "docs/logs.md"), "utf8").matchAll(/^\| `(\w+)` \|/gm)].map(([, name = ""]) => name));

/** Keys of the object literals that log calls are given, either argument; a call spread over lines counts too. */
function writtenFields(): Map<string, string> {
  const fields = new Map<string, string>();
  for (const workspace of ["agent", "actuator", "verifier", "daemon"])
    for (const file of readdirSync(join(REPOSITORY, workspace), { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".ts")) continue;
      const source = readFileSync(join(REPOSITORY, workspace, file), "utf8");
      const calls = [
        ...source.matchAll(/\b(?:log|logger)\.(?:trace|debug|info|warn|error|fatal)\(([^;]*)/g),
        ...source.matchAll(/\b(?:openLog\(|#guarded\(|const facts = (?=\{ requestId))([^;]*)/g),
      ];
      for (const [, call = ""] of calls)
        for (const [, inner = ""] of call.matchAll(/\{([^{}]*)\}/g))
          for (const part of inner.split(",")) {
            const [, name] = /^\s*(\w+)\s*(?::|$)/.exec(part) ?? [];
            if (name) fields.set(name, join(workspace, file));
          }
    }
  return fields;
}

test("every field that is written is documented, and none is documented in vain", () => {
  const written = writtenFields();
  expect(written.size).toBeGreaterThan(20);
  for (const [name, file] of written) expect([...documented], file).toContain(name);
  const ofPino = ["level", "time", "msg"];
  expect([...documented].filter((name) => !written.has(name)).sort()).toEqual([...ofPino].sort());
});

test("a line has time, level and base fields, and no credentials of a failed request", () => {
  const log = openLog("info", { nodeName: "w-1" });
  const lines: string[] = [];
  const stream = Object.getOwnPropertySymbols(log).map((symbol) => (log as unknown as Record<symbol, unknown>)[symbol]);
  const output = stream.find((each): each is { write(line: string): void } => typeof (each as { write?: unknown } | undefined)?.write === "function");
  if (!output) throw new Error("no stream");
  output.write = (line) => void lines.push(line);
  log.warn({ err: Object.assign(new Error("refused"), { request: { headers: { authorization: "Bearer secret" } } }) }, "failed");
  const line = JSON.parse(lines[0] ?? "") as { time: string };
  expect(line).toMatchObject({ level: 40, nodeName: "w-1", msg: "failed", err: { message: "refused" } });
  expect(new Date(line.time).toISOString()).toBe(line.time);
  expect(lines[0]).not.toContain("secret");
});

test("the caller of a failed call gets the id under which the server logged it, and nobody else's", async () => {
  const server = new Server();
  const logged: CallContext[] = [];
  const fails = async (): Promise<never> => {
    throw new Error("inner detail");
  };
  const handlers = Object.fromEntries(Query.methods.map((method) => [method.localName, fails])) as unknown as Parameters<typeof addService<typeof Query>>[2];
  addService(
    server,
    Query,
    handlers,
    () => {},
    (_error, context) => logged.push(context),
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  const channel = new RpcChannel(`127.0.0.1:${port}`, credentials.createInsecure());
  try {
    const failures = await Promise.all(
      [1, 2].map(() =>
        channel
          .client(Query)
          .getStatus({})
          .catch((error: unknown) => error),
      ),
    );
    for (const failure of failures) expect(failure).toBeInstanceOf(RpcError);
    const ids = (failures as RpcError[]).map(({ detail }) => detail.requestId);
    expect(new Set(ids).size).toBe(2);
    expect(ids.sort()).toEqual(logged.map(({ requestId }) => requestId).sort());
    expect((failures[0] as RpcError).message).not.toContain("inner detail");
  } finally {
    channel.close();
    server.forceShutdown();
  }
});
