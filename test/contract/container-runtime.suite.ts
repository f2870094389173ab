/** What every {@link ContainerRuntime} must do, on a real engine with a real image. Run by test/integration/container-runtime-docker.test.ts and test/e2e/kubernetes/runtime-contract.test.ts. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ContainerRuntime, ContainerRuntimeError, type RuntimeEvent } from "../../agent/ports/container-runtime.ts";
import { run } from "../../deploy/testbed/run.ts";
import type { PushedImage } from "../e2e/images/push.ts";

/** One engine and hands on it. */
export interface RuntimeSubject {
  readonly runtime: ContainerRuntime;
  /** Runs for as long as it is let; its command is `/app/serve.sh`. */
  readonly image: PushedImage;
  readonly expected: { readonly name: string; readonly dialect: string; readonly storageDriver: string };
  /** Starts a container with a variable `COLOUR=blue` and an added capability NET_ADMIN. @returns its id */
  start(name: string): Promise<string>;
  /** Kills its process: the runtime keeps what ended. */
  end(name: string): Promise<void>;
  /** Ends and removes it. */
  remove(name: string): Promise<void>;
  /** Kills the engine's daemon; containers stay. */
  killEngine(): Promise<void>;
  startEngine(): Promise<void>;
  /** Puts a command where the engine's files are to be seen. */
  wrap(argv: readonly string[]): string[];
}

const WAIT_MS = 60_000;

export function containerRuntimeSuite(title: string, subject: () => RuntimeSubject): void {
  describe(title, { timeout: 180_000 }, () => {
    const { signal } = new AbortController();
    const inspect = async (id: string) => {
      const facts = await subject().runtime.inspect(id, signal);
      if (!facts) throw new Error(`${id} does not run`);
      return facts;
    };

    test("says what it is", async () => {
      const facts = await subject().runtime.facts(signal);
      expect(facts).toMatchObject(subject().expected);
      expect(facts.version).toMatch(/^\d+\.\d+/);
    });

    test("lists what runs, and nothing that does not", async () => {
      const { runtime } = subject();
      const [one, two] = [await subject().start("list-one"), await subject().start("list-two")];
      expect(await runtime.list(signal)).toEqual(expect.arrayContaining([one, two]));
      await subject().remove("list-one");
      const listed = await runtime.list(signal);
      expect(listed).toContain(two);
      expect(listed).not.toContain(one);
      expect(await runtime.inspect(one, signal)).toBeUndefined();
      await subject().remove("list-two");
    });

    test("tells what it keeps that does not run, by the name and the image that it ran as", async () => {
      const { runtime } = subject();
      const id = await subject().start("ended");
      const { name, imageId } = await inspect(id);
      const kept = async () => (await runtime.stopped(signal)).filter((each) => each.id === id);
      expect(await kept()).toEqual([]);
      await subject().end("ended");
      await expect.poll(kept, { timeout: WAIT_MS }).toEqual([{ id, name, imageId }]);
      await subject().remove("ended");
    });

    test("tells how the container is run", async () => {
      const { image, wrap } = subject();
      const id = await subject().start("told");
      const facts = await inspect(id);
      expect(facts).toMatchObject({
        id,
        args: ["/app/serve.sh"],
        workingDirectory: "/app",
        privileged: false,
        readOnlyRoot: false,
        noNewPrivileges: false,
        hostNamespaces: [],
        devices: [],
        unlisted: false,
      });
      expect(readFileSync(`/proc/${facts.pid}/cgroup`, "utf8")).toContain(id);
      expect(Math.abs(facts.startedAtMs - Date.now())).toBeLessThan(WAIT_MS);
      expect(facts.env).toEqual(expect.arrayContaining(["COLOUR=blue", "APP_MODE=production"]));
      expect(facts.capabilities).toEqual(expect.arrayContaining(["NET_ADMIN", "CHOWN"]));
      expect(facts.capabilities).not.toContain("SYS_ADMIN");
      const [reference] = facts.imageReference.split("@");
      expect(image.tagged.startsWith(reference ?? "-")).toBe(true);
      // Docker on containerd's store names images by what was pulled.
      const { name, dialect } = subject().expected;
      expect(facts.imageId).toBe(name === "docker" && dialect === "containerd" ? image.digest : image.configDigest);
      expect(facts.repoDigests).toContain(image.reference);
      expect(facts.maskedPaths).toContain("/proc/kcore");
      const destinations = facts.mounts.map(({ destination }) => destination);
      expect(destinations).toEqual(expect.arrayContaining(["/proc", "/dev", "/sys"]));
      for (const { destination, hostPath } of facts.engineFiles) {
        const content = await run(wrap(["cat", hostPath]));
        if (destination === "/etc/hostname") expect(content).toBe(`${facts.hostname}\n`);
        if (destination === "/etc/hosts") expect(facts.addresses.some((address) => content.includes(address))).toBe(true);
      }
      expect(facts.engineFiles.map(({ destination }) => destination).sort()).toEqual(["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
      await subject().remove("told");
    });

    test("knows where the image's config lies", async () => {
      const { image } = subject();
      const { configBlobPath } = await inspect(await subject().start("config"));
      const digest = createHash("sha256")
        .update(readFileSync(configBlobPath ?? ""))
        .digest("hex");
      expect(`sha256:${digest}`).toBe(image.configDigest);
      await subject().remove("config");
    });

    test("an id that nobody has is not running", async () => {
      expect(await subject().runtime.inspect("0".repeat(64), signal)).toBeUndefined();
    });

    test("first says that it listens, then what starts and ends; ends quietly when no longer wanted", async () => {
      const stop = new AbortController();
      const seen: RuntimeEvent[] = [];
      const following = follow(subject().runtime, stop.signal, seen);
      await until("connected", () => seen.length > 0);
      expect(seen[0]).toEqual({ kind: "connected", containerId: "" });
      const id = await subject().start("event");
      await until("its start", () => seen.some(({ containerId }) => containerId === id));
      const before = seen.length;
      await subject().remove("event");
      await until("its end", () => seen.slice(before).some(({ containerId }) => containerId === id));
      stop.abort();
      await expect(following).resolves.toBeUndefined();
    });

    test("an engine that goes is told by its code, and is found again when it is back", async () => {
      const { runtime } = subject();
      const id = await subject().start("survivor");
      const failed = follow(runtime, signal, []).catch((error: unknown) => error);
      await runtime.list(signal);
      await subject().killEngine();
      expect(await failed).toMatchObject({ code: "RUNTIME_UNREACHABLE" });
      await expect(runtime.list(signal)).rejects.toBeInstanceOf(ContainerRuntimeError);
      await subject().startEngine();
      await until("an answer", async () => (await runtime.list(signal).catch((): string[] => [])).includes(id));
      expect((await inspect(id)).pid).toBeGreaterThan(0);
      await subject().remove("survivor");
    });
  });
}

async function follow(runtime: ContainerRuntime, signal: AbortSignal, seen: RuntimeEvent[]): Promise<void> {
  for await (const event of runtime.events(signal)) seen.push(event);
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + WAIT_MS;
  while (!(await holds())) {
    if (Date.now() > endMs) throw new Error(`${what}: not within ${WAIT_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
