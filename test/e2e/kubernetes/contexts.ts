/** Several contexts, as people who look after more than one cluster have them: each with its own user and namespace, in one kubeconfig or in two. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { DriftView } from "./on-call.ts";
import type { ReleaseBed } from "./release-bed.ts";

interface Kubeconfig {
  readonly clusters: readonly { readonly name: string; readonly cluster: object }[];
  readonly users: readonly { readonly name: string; readonly user: object }[];
  readonly contexts: readonly { readonly name: string; readonly context: { readonly cluster: string; readonly user: string; readonly namespace?: string } }[];
  readonly "current-context": string;
}

/** Declares the tests. @param of the bed; `default/web` has a drift */
export function contexts(of: () => ReleaseBed): void {
  describe("a second context", () => {
    const here = (...args: string[]): Promise<string> => of().cluster.kubectl(["--namespace", of().namespace, ...args]);
    /** One with the first context alone, one with the others. */
    let [first, others] = ["", ""];
    const both = (): string => `${first}:${others}`;
    const drifts = async (...args: string[]) => {
      const { code, stdout, stderr } = await of().plugin(both(), "drift", "ls", "--output=json", ...args);
      return { code, stderr, containers: (JSON.parse(stdout || '{"drifts":[]}') as { drifts: DriftView[] }).drifts.map(({ container }) => container.name) };
    };
    const named = async (kubeconfig: string, ...args: string[]) => (await of().plugin(kubeconfig, "status", ...args)).stdout.split("  ")[0];

    beforeAll(async () => {
      await here("create", "serviceaccount", "auditor");
      await here("create", "rolebinding", "auditor", "--role=hullmark-viewer", `--serviceaccount=${of().namespace}:auditor`);
      const token = (await here("create", "token", "auditor")).trim();
      const whole = parse(readFileSync(of().cluster.kubeconfig, "utf8")) as Kubeconfig;
      const [cluster, user] = [whole.clusters[0]?.cluster ?? {}, whole.users[0]?.user ?? {}];
      const write = (name: string, parts: Omit<Kubeconfig, "current-context">, current: string): string => {
        const file = join(of().home, `${name}.kubeconfig`);
        writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "Config", ...parts, "current-context": current }), { mode: 0o600 });
        return file;
      };
      const context = (name: string, on: string, as: string, namespace?: string) => ({
        name,
        context: { cluster: on, user: as, ...(namespace && { namespace }) },
      });
      first = write("first", { clusters: [{ name: "one", cluster }], users: [{ name: "root", user }], contexts: [context("prod", "one", "root")] }, "prod");
      const away = { ...cluster, server: "https://127.0.0.1:1" };
      others = write(
        "others",
        {
          clusters: ["two", "away"].map((name) => ({ name, cluster: name === "away" ? away : cluster })),
          users: [{ name: "auditor", user: { token } }],
          contexts: [context("audit", "two", "auditor", of().namespace), context("lost", "away", "auditor")],
        },
        "audit",
      );
    });
    afterAll(() => here("delete", "rolebinding,serviceaccount", "auditor", "--ignore-not-found"));

    test("is another cluster's name, user and namespace for one command, and the current one stays what it was", async () => {
      expect(await named(both())).toBe("prod");
      expect(await named(both(), "--context=audit")).toBe("audit");
      const [own, audited, elsewhere] = [await drifts(), await drifts("--context=audit"), await drifts("--context=audit", "-n", "default")];
      const ofRelease = await drifts("-n", of().namespace);
      expect(own.containers.length).toBeGreaterThan(0);
      expect(own.containers.every((name) => name.startsWith("default/"))).toBe(true);
      expect(ofRelease.containers.every((name) => name.startsWith(`${of().namespace}/`))).toBe(true);
      expect({ ...audited, containers: audited.containers.sort() }).toEqual({ ...ofRelease, containers: ofRelease.containers.sort() });
      expect(elsewhere.containers.sort()).toEqual(own.containers.sort());
      const id = async (...args: string[]) =>
        (JSON.parse((await of().plugin(both(), "drift", "ls", "-A", "-o", "json", ...args)).stdout) as { drifts: DriftView[] }).drifts[0]?.id ?? "";
      expect(await of().plugin(both(), "--context=audit", "drift", "ack", await id(), "-m", "not mine to say")).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/this needs the role [a-z ]+; .* has viewer/),
      });
      expect(await named(both())).toBe("prod");
    });

    test("is the current one once kubectl is told so, or where its file comes first", async () => {
      expect(await named(`${others}:${first}`)).toBe("audit");
      await of().cluster.kubectl([`--kubeconfig=${others}`, "config", "use-context", "lost"]);
      expect(await of().plugin(others, "status")).toMatchObject({ code: 3, stdout: "", stderr: expect.stringContaining("127.0.0.1:1") });
      expect(await named(others, "--context=audit")).toBe("audit");
    });
  });
}
