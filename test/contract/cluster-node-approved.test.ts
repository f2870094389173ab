/** A cluster's node, which joins by service account, under Administration: revoked, removed, and allowed again. */
import { nodeIdOfKubernetesNode } from "@hullmark/verifier/core/enrolment/index";
import { Administration } from "@hullmark/verifier/core/fleet/administration";
import { ChangeSet } from "@hullmark/verifier/core/fleet/change-set";
import { Fleet } from "@hullmark/verifier/core/fleet/fleet";
import type { LiveNode } from "@hullmark/verifier/core/session/live-node";
import type { LogEntry } from "@hullmark/verifier/core/transparency/index";
import type { NodeRow } from "@hullmark/verifier/ports/rows";
import { expect, test } from "vitest";
import { node } from "./store-fixtures.ts";

const NOW_MS = 1_790_000_000_000;

/** The row as it is changed, in the node's turn. */
function world(row: NodeRow) {
  const fleet = new Fleet([row]);
  const logged: LogEntry[] = [];
  const sessions = {
    get: () => undefined,
    amend: async (id: string, change: (live: LiveNode, changes: ChangeSet, nowMs: number) => void) => {
      const present = fleet.get(id) as NodeRow;
      const live = { node: present, clear: () => {}, restore: (more: Partial<NodeRow>) => fleet.set({ ...present, ...more }) };
      const changes = new ChangeSet(NOW_MS);
      change(live as unknown as LiveNode, changes, NOW_MS);
      logged.push(...changes.draft(() => NOW_MS).entries);
    },
  };
  const services = { fleet, sessions, nowMs: () => NOW_MS } as unknown as ConstructorParameters<typeof Administration>[0];
  return { administration: new Administration(services), fleet, logged };
}

const { ekSha256: _, ...PLAIN } = node("0".repeat(16));
const revoked = (id: string): NodeRow => ({ ...PLAIN, ekSha256: undefined, id, name: "w-7", revokedAtMs: NOW_MS - 1, revokedReason: "sold" });

test("its revocation is taken back by people, also by the id of one that was removed: no token makes another node of it", async () => {
  const id = nodeIdOfKubernetesNode("w-7");
  const { administration, fleet, logged } = world(revoked(id));
  await administration.remove("w-7", "ann", "replaced");
  expect([fleet.all(), fleet.find("w-7"), fleet.get(id)?.revokedAtMs]).toEqual([[], undefined, NOW_MS - 1]);
  await expect(administration.approve("w-7", "ben")).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(await administration.approve(id, "ben")).toBe(id);
  expect(fleet.find("w-7")).toMatchObject({ revokedAtMs: undefined, removedAtMs: undefined, revokedReason: "" });
  expect(logged.map(({ type, fields }) => [type, fields["action"], fields["by"]])).toEqual([
    ["admin", "node-removed", "ann"],
    ["admin", "node-allowed", "ben"],
  ]);
});

test("a node that joined by token is brought back by nobody", async () => {
  const { administration, fleet } = world(revoked("00000000deadbeef"));
  await expect(administration.approve("w-7", "ben")).rejects.toMatchObject({ code: "NO_TPM" });
  expect(fleet.find("w-7")?.revokedAtMs).toBe(NOW_MS - 1);
});
