/** A Secret that is rotated under half of a Deployment: told to whoever asks, never drift, and in nobody's sight. */
import { expect, test } from "vitest";
import type { Stack } from "../../../deploy/stack/stack.ts";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { eventually } from "../fault-support.ts";
import { podSpec } from "./workloads.ts";

const WITHIN_MS = 90_000;
const [BEFORE, AFTER] = ["Europe/Malta", "Asia/Tokyo"];

interface Place {
  readonly cluster: Kubernetes;
  readonly stack: Stack;
  /** Reference of a signed image, of which policy allows the variable TZ. */
  readonly image: string;
}
interface Workload {
  readonly container: { readonly id: string; readonly name: string };
  readonly verdict: string;
  readonly openDrifts: number;
}
interface Compared {
  readonly compared: number;
  readonly unknown: number;
  readonly variables: number;
  readonly differing: readonly {
    readonly name: string;
    readonly source: string;
    readonly groups: readonly { readonly containers: readonly string[]; readonly absent: boolean }[];
  }[];
}

export function rotatedSecret(of: () => Place): void {
  test(
    "a Secret that was rotated: its users differ, and that is no drift",
    async () => {
      const { cluster, stack, image } = of();
      const secret = (zone: string) => ({ apiVersion: "v1", kind: "Secret", metadata: { name: "zone" }, stringData: { zone } });
      const apply = (items: readonly object[]) => cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
      const env = [{ name: "TZ", valueFrom: { secretKeyRef: { name: "zone", key: "zone" } } }];
      /** Both pods that are there now, once they are judged and well. */
      const both = async (gone = ""): Promise<readonly Workload[]> =>
        await eventually(
          "two containers that are well",
          async () => (await stack.json<Workload[]>("workloads")).filter(({ container }) => /^default\/rotating-\w+-\w+\/web$/.test(container.name)),
          (all) => all.length === 2 && all.every(({ verdict, container }) => verdict === "affirming" && container.name !== gone),
          WITHIN_MS,
        );
      const compare = () => stack.json<Compared>("workloads", "--variables", first?.container.id ?? "");
      const template = { metadata: { labels: { app: "rotating" } }, spec: podSpec(image, { container: { env } }) };
      const spec = { replicas: 2, selector: { matchLabels: { app: "rotating" } }, template };
      await apply([secret(BEFORE), { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "rotating" }, spec }]);
      const [first, second] = await both();
      const told = (compared: Compared) => compared.compared === 2 && compared.unknown === 0;
      expect(await eventually("both compared", compare, told, WITHIN_MS)).toMatchObject({ variables: 1, differing: [] });
      await apply([secret(AFTER)]);
      await cluster.kubectl(["delete", "pod", second?.container.name.split("/")[1] ?? "", "--wait=false"]);
      const after = await both(second?.container.name);
      expect(after.map(({ openDrifts }) => openDrifts)).toEqual([0, 0]);
      const compared = await eventually("both compared again", compare, (each) => told(each) && each.differing.length > 0, WITHIN_MS);
      expect(compared.differing).toMatchObject([{ name: "TZ", source: "Secret zone" }]);
      const groups = compared.differing[0]?.groups.map(({ containers, absent }) => ({ containers, absent }));
      expect(groups).toHaveLength(2);
      expect(groups?.flatMap(({ containers }) => containers).sort()).toEqual(after.map(({ container }) => container.name).sort());
      expect(groups?.every(({ absent }) => !absent)).toBe(true);
      const page = await stack.hullmark("workloads", "--variables", first?.container.id ?? "");
      expect(`${page.stdout}${page.stderr}${JSON.stringify(compared)}`).not.toMatch(new RegExp(`${BEFORE}|${AFTER}`));
      await cluster.kubectl(["delete", "deployment", "rotating", "--wait=false"]);
    },
    4 * WITHIN_MS,
  );
}
