/** Whose namespaces containers live in is asked of the engine once a container: a host may run a thousand, of which one is replaced. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DockerEngine } from "@hullmark/actuator/adapters/docker/docker-engine";
import { afterEach, beforeEach, expect, test } from "vitest";

interface Running {
  readonly name: string;
  readonly modes?: { readonly NetworkMode?: string; readonly PidMode?: string; readonly IpcMode?: string };
}

const idOf = (n: number): string => n.toString(16).padStart(64, "0");
const WEB = { id: idOf(1), name: "web" };

let home: string;
let server: Server;
let engine: DockerEngine;
let running: Map<string, Running>;
/** What is listed and gone when it is asked for. */
let gone: Set<string>;
let failing: Set<string>;
/** That were inspected since this was asked last. */
let inspected: string[];

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-sharers-"));
  [running, gone, failing, inspected] = [new Map([[WEB.id, { name: WEB.name }]]), new Set(), new Set(), []];
  server = createServer((request, response) => {
    const [, id] = /^\/containers\/([0-9a-f]{64})\/json/.exec(request.url ?? "") ?? [];
    response.setHeader("content-type", "application/json");
    if (id === undefined) return void response.end(JSON.stringify([...running.keys()].map((Id) => ({ Id }))));
    inspected.push(id);
    const found = gone.has(id) ? undefined : running.get(id);
    if (!found || failing.has(id)) return void response.writeHead(found ? 503 : 404).end("{}");
    const own = { NetworkMode: "bridge", PidMode: "", IpcMode: "private" };
    response.end(JSON.stringify({ Id: id, Name: `/${found.name}`, HostConfig: { ...own, ...found.modes } }));
  });
  await new Promise<void>((resolve) => server.listen(join(home, "engine.sock"), resolve));
  engine = new DockerEngine({ socketPath: join(home, "engine.sock") });
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(home, { recursive: true });
});

/** @returns names, and which containers were inspected for them, by number */
async function sharers(of = WEB): Promise<{ names: readonly string[]; asked: readonly number[] }> {
  inspected = [];
  const names = (await engine.sharers(of)).toSorted();
  return { names, asked: [...new Set(inspected)].map((id) => Number.parseInt(id, 16)).sort((a, b) => a - b) };
}

test("those that live in a namespace of it are named; a container is asked for once, and those again that it is said of, by their names of now", async () => {
  running.set(idOf(2), { name: "proxy", modes: { NetworkMode: `container:${WEB.id}` } });
  running.set(idOf(3), { name: "debug", modes: { PidMode: "container:web" } });
  running.set(idOf(4), { name: "shm", modes: { IpcMode: `container:${WEB.id}` } });
  running.set(idOf(5), { name: "of-another", modes: { NetworkMode: `container:${idOf(2)}`, PidMode: "host", IpcMode: "shareable" } });
  const names = ["debug", "proxy", "shm"];
  expect(await sharers()).toEqual({ names, asked: [2, 3, 4, 5] });
  expect(await sharers()).toEqual({ names, asked: [2, 3, 4] });
  running.set(idOf(2), { name: "renamed", modes: { NetworkMode: `container:${WEB.id}` } });
  running.set(idOf(6), { name: "new", modes: { NetworkMode: `container:${WEB.id}` } });
  running.set(idOf(7), { name: "new-alone" });
  expect(await sharers()).toEqual({ names: ["debug", "new", "renamed", "shm"], asked: [2, 3, 4, 6, 7] });
  expect(await sharers({ id: idOf(2), name: "renamed" })).toEqual({ names: ["of-another"], asked: [1, 5] });
});

test("what has stopped is none, and is asked for anew when it runs again", async () => {
  running.set(idOf(2), { name: "proxy" });
  expect(await sharers()).toEqual({ names: [], asked: [2] });
  running.delete(idOf(2));
  expect(await sharers()).toEqual({ names: [], asked: [] });
  running.set(idOf(2), { name: "proxy" });
  expect(await sharers()).toEqual({ names: [], asked: [2] });
  gone.add(idOf(3));
  running.set(idOf(3), { name: "brief", modes: { NetworkMode: `container:${WEB.id}` } });
  expect(await sharers()).toEqual({ names: [], asked: [3] });
});

test("one that the engine gives no answer about is not taken for one that shares nothing", async () => {
  running.set(idOf(2), { name: "proxy", modes: { NetworkMode: `container:${WEB.id}` } });
  failing.add(idOf(2));
  await expect(engine.sharers(WEB)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  failing.clear();
  expect(await sharers()).toMatchObject({ names: ["proxy"] });
});
