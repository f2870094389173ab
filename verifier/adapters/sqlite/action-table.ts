/** Actions and whether they are paused. Synchronous; runs in the store's threads. */
import { ActionKind } from "@hullmark/proto/v1/response";
import type { ActionRow, ActionWrite, PauseRow } from "../../ports/rows.ts";
import { type ActionFilter, type Page, StoreError } from "../../ports/store.ts";
import type { Connection } from "./database.ts";
import { fromJson, toJson } from "./json.ts";

interface Body {
  readonly body: string;
}

export class ActionTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** @throws StoreError STORE_CONFLICT; SQLite's constraint error where another action of the container is active */
  write({ row, before }: ActionWrite): void {
    const { number, id, nodeId, state, createdAtMs } = row;
    // One active purge a layer, beside what is done to the node itself.
    const containerId = row.purge?.chainId ?? row.containerId;
    if (before === undefined) {
      this.#connection
        .prepare("INSERT INTO actions (number, id, node_id, container_id, state, created_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .run(number, id, nodeId, containerId, state, createdAtMs, toJson(row));
      return;
    }
    const { changes } = this.#connection
      .prepare("UPDATE actions SET state = ?, body = ? WHERE number = ? AND id = ? AND state = ?")
      .run(state, toJson(row), number, id, before);
    if (changes !== 1) throw new StoreError("STORE_CONFLICT", `action ${id} is in another state`);
  }

  writePause(row: PauseRow | null): void {
    if (row) this.#connection.prepare("INSERT OR REPLACE INTO action_pause (one, body) VALUES (1, ?)").run(toJson(row));
    else this.#connection.prepare("DELETE FROM action_pause").run();
  }

  list({ states, sinceMs, onNodes, isolations, purges }: ActionFilter, { after, limit }: Page): ActionRow[] {
    const below = after === "" ? Number.MAX_SAFE_INTEGER : Number(after);
    const ofStates = states.length > 0 ? `AND state IN (${states.map(() => "?").join(", ")})` : "";
    const ofNodes = onNodes ? "AND container_id = ''" : "";
    const kinds = [...(isolations ? [ActionKind.ISOLATE, ActionKind.RELEASE] : []), ...(purges ? [ActionKind.PURGE] : [])];
    const ofKinds = kinds.length > 0 ? `AND json_extract(body, '$.kind') IN (${kinds.join(", ")})` : "";
    return this.#connection
      .prepare<unknown[], Body>(`SELECT body FROM actions WHERE number < ? AND created_ms >= ? ${ofStates} ${ofNodes} ${ofKinds} ORDER BY number DESC LIMIT ?`)
      .all(below, sinceMs, ...states, limit)
      .map(({ body }) => fromJson<ActionRow>(body));
  }

  read(id: string): ActionRow | undefined {
    const row = this.#connection.prepare<[string], Body>("SELECT body FROM actions WHERE id = ?").get(id);
    return row && fromJson<ActionRow>(row.body);
  }

  lastNumber(): number {
    return this.#connection.prepare<[], { n: number | null }>("SELECT max(number) AS n FROM actions").get()?.n ?? 0;
  }

  readPause(): PauseRow | undefined {
    const row = this.#connection.prepare<[], Body>("SELECT body FROM action_pause").get();
    return row && fromJson<PauseRow>(row.body);
  }
}
