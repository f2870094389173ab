/** Containers that Compose, Swarm and systemd themselves made: left alone, unless policy names whose they are; and what their owner makes of it then. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ActionKind, Outcome, type ReportOutcomeRequest } from "@hullmark/proto/v1/response";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../deploy/testbed/http-service.ts";
import { program } from "../../deploy/testbed/paths.ts";
import { type Daemon, run } from "../../deploy/testbed/run.ts";
import { eventually } from "./fault-support.ts";

/** An engine with the image `box`, which has /busybox, and an actuator that is to act on it. */
export interface OwnedBed {
  readonly dockerHost: string;
  /** A directory of the test's. */
  readonly home: string;
  docker(...args: string[]): Promise<string>;
  /** Starts a systemd that starts this unit. */
  systemd(unit: string, text: string): Promise<Daemon>;
  /** By an actuator that lives as long as the call. @param failpoint where it is killed, and started again */
  carriedOut(name: string, containerId: string, kind: ActionKind, owners: string[], failpoint?: string): Promise<ReportOutcomeRequest>;
}

/** As an image can have them: what Compose writes into one that it builds, and what would make a container somebody's. */
const CLAIMS = {
  "com.docker.compose.project": "owned",
  "com.docker.compose.service": "web",
  "com.docker.swarm.service.id": "x",
  "dev.hullmark.owner": "systemd",
};

export function describeOwned(bedOf: () => OwnedBed): void {
  const running = async (filter: string): Promise<string[]> =>
    (await bedOf().docker("ps", "-q", "--no-trunc", "--filter", `label=${filter}`)).split("\n").filter(Boolean);

  beforeAll(async () => {
    const { docker } = bedOf();
    const changes = Object.entries(CLAIMS).flatMap(([key, value]) => ["--change", `LABEL ${key}=${value}`]);
    const made = await docker("create", "box", "/busybox");
    await docker("commit", ...changes, made, "claims");
    await docker("rm", made);
  });

  test("one whose image says by its own labels that it is somebody's is nobody's: it is replaced and kept, isolated, and stopped", async () => {
    const { docker, carriedOut } = bedOf();
    const claims = await docker("run", "-d", "--name", "claims", "--stop-signal", "SIGKILL", "claims", "/busybox", "sleep", "3600");
    const done = { outcome: Outcome.DONE };
    const replaced = await carriedOut("claims", claims, ActionKind.RECREATE, []);
    expect(replaced).toMatchObject(done);
    expect(await docker("inspect", "-f", "{{.Name}} {{.State.Running}}", claims)).toBe("/claims.hullmark-A-7K2Q false");
    for (const kind of [ActionKind.ISOLATE, ActionKind.STOP])
      expect(await carriedOut(`claims-${kind}`, replaced.newContainerId, kind, []), `kind ${kind}`).toMatchObject(done);
    await docker("rm", "-f", claims, replaced.newContainerId);
  });

  describe("of Compose", () => {
    const PROJECT = "com.docker.compose.project=owned";
    let file: string;
    const compose = (...args: string[]): Promise<string> => run(["docker-compose", "-p", "owned", "-f", file, ...args], { DOCKER_HOST: bedOf().dockerHost });

    beforeAll(async () => {
      file = join(bedOf().home, "compose.yaml");
      const volumes = [{ type: "volume", target: "/data" }];
      // It has its project's label, as one that Compose built.
      const web = { image: "claims", command: ["/busybox", "sleep", "3600"], stop_signal: "SIGKILL", restart: "always", volumes };
      writeFileSync(file, JSON.stringify({ version: "3.7", services: { web } }));
      await compose("up", "-d");
    });
    afterAll(() => compose("down", "--timeout", "1"));

    test("it is not touched unless policy says so; then Compose knows what takes its place as its own, and makes no other", async () => {
      const [web = ""] = await running(PROJECT);
      const volumesOf = (id: string): Promise<string> => bedOf().docker("inspect", "-f", "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}{{end}}", id);
      const before = await volumesOf(web);
      expect(before).toMatch(/^volume [0-9a-f]{64} \/data\s*$/);
      expect(await bedOf().carriedOut("compose-refused", web, ActionKind.RECREATE, ["swarm"])).toMatchObject({
        ...{ outcome: Outcome.REFUSED, reason: "owned-by-compose" },
      });
      expect(await running(PROJECT)).toEqual([web]);
      const { newContainerId } = await bedOf().carriedOut("compose-done", web, ActionKind.RECREATE, ["compose"], "taken-away");
      expect(await running(PROJECT)).toEqual([newContainerId]);
      expect(await volumesOf(newContainerId)).toBe(before);
      // It goes by labels, of containers that stand still too.
      await compose("up", "-d");
      expect(await running(PROJECT)).toEqual([newContainerId]);
    });
  });

  describe("of Swarm", () => {
    const SERVICE = "com.docker.swarm.service.name=owned";

    beforeAll(async () => {
      const { docker } = bedOf();
      const [port, data] = [await freePort(), await freePort()];
      await docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", `127.0.0.1:${port}`, "--data-path-port", String(data));
      const argv = ["--endpoint-mode", "dnsrr", "--network", "host", "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600"];
      await docker("service", "create", "--name", "owned", "--detach", "--no-resolve-image", ...argv);
      await eventually(
        "it runs",
        () => running(SERVICE),
        ({ length }) => length === 1,
      );
    });
    afterAll(() => bedOf().docker("swarm", "leave", "--force"));

    test("it is not touched unless policy says so; then Swarm makes another in its place by itself", async () => {
      const [task = ""] = await running(SERVICE);
      const refused = { outcome: Outcome.REFUSED, reason: "owned-by-swarm" };
      expect(await bedOf().carriedOut("swarm-refused", task, ActionKind.STOP, ["compose"])).toMatchObject(refused);
      expect(await bedOf().carriedOut("swarm-replaced", task, ActionKind.RECREATE, ["swarm"])).toMatchObject(refused);
      expect(await running(SERVICE)).toEqual([task]);
      expect(await bedOf().carriedOut("swarm-done", task, ActionKind.STOP, ["swarm"])).toMatchObject({ outcome: Outcome.DONE });
      const [other] = await eventually(
        "Swarm makes another",
        () => running(SERVICE),
        ([id]) => id !== undefined && id !== task,
      );
      expect(other).not.toBe(task);
    });
  });

  describe("of systemd", () => {
    const OWNER = "dev.hullmark.owner=systemd";
    let systemd: Daemon;

    beforeAll(async () => {
      const client = `${program("docker")} --host ${bedOf().dockerHost}`;
      const argv = `--name owned --label ${OWNER} --stop-signal SIGKILL box /busybox sleep 3600`;
      const lines = [`ExecStartPre=-${client} rm -f owned`, `ExecStart=${client} run ${argv}`, "Restart=always", "RestartSec=100ms"];
      systemd = await bedOf().systemd("owned.service", `[Unit]\nDefaultDependencies=no\n[Service]\n${lines.join("\n")}\n`);
      await eventually(
        "it runs",
        () => running(OWNER),
        ({ length }) => length === 1,
      );
    });
    afterAll(() => systemd.stop());

    test("it is known by the label that its unit gives it, and not touched unless policy says so; then systemd makes another in its place by itself", async () => {
      const [own = ""] = await running(OWNER);
      const refused = { outcome: Outcome.REFUSED, reason: "owned-by-systemd" };
      expect(await bedOf().carriedOut("systemd-refused", own, ActionKind.STOP, ["compose"])).toMatchObject(refused);
      expect(await bedOf().carriedOut("systemd-replaced", own, ActionKind.RECREATE, ["systemd"])).toMatchObject(refused);
      expect(await running(OWNER)).toEqual([own]);
      expect(await bedOf().carriedOut("systemd-done", own, ActionKind.STOP, ["systemd"])).toMatchObject({ outcome: Outcome.DONE });
      const [other] = await eventually(
        "systemd makes another",
        () => running(OWNER),
        ([id]) => id !== undefined && id !== own,
      );
      expect(other).not.toBe(own);
    });
  });
}
