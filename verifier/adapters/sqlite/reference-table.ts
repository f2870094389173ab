/** Replayed layers, serialised. Synchronous; runs in the store's threads. */
import type { UnextractableCode } from "../../core/reference-value/dialect.ts";
import type { ReferenceKey } from "../../ports/reference-store.ts";
import type { Connection } from "./database.ts";

/** A stored layer between threads: a tree as bytes, or why there is none. */
export type ReferenceRecord =
  | { readonly kind: "tree"; readonly root: Uint8Array; readonly body: Uint8Array }
  | { readonly kind: "unextractable"; readonly code: UnextractableCode; readonly reason: string };

interface Row {
  readonly root: Buffer | null;
  readonly code: string | null;
  readonly reason: string | null;
  readonly body: Buffer | null;
}

export class ReferenceTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get({ chainId, dialect, dialectVersion }: ReferenceKey): ReferenceRecord | undefined {
    const row = this.#connection
      .prepare<[string, string, number], Row>("SELECT root, code, reason, body FROM reference_layers WHERE chain_id = ? AND dialect = ? AND version = ?")
      .get(chainId, dialect, dialectVersion);
    if (!row) return undefined;
    if (row.root && row.body) return { kind: "tree", root: row.root, body: row.body };
    return { kind: "unextractable", code: row.code as UnextractableCode, reason: row.reason ?? "" };
  }

  put({ chainId, dialect, dialectVersion }: ReferenceKey, record: ReferenceRecord): void {
    const tree = record.kind === "tree" ? record : undefined;
    const refused = record.kind === "unextractable" ? record : undefined;
    this.#connection
      .prepare("INSERT OR REPLACE INTO reference_layers (chain_id, dialect, version, root, code, reason, body) VALUES (?, ?, ?, ?, ?, ?, ?)")
      .run(chainId, dialect, dialectVersion, tree?.root ?? null, refused?.code ?? null, refused?.reason ?? null, tree?.body ?? null);
  }

  findByRoot(root: Uint8Array, limit: number): ReferenceKey[] {
    return this.#connection
      .prepare<[Uint8Array, number], ReferenceKey>(
        "SELECT chain_id AS chainId, dialect, version AS dialectVersion FROM reference_layers WHERE root = ? LIMIT ?",
      )
      .all(root, limit);
  }
}
