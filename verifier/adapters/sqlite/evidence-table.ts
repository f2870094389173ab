/** Evidence heads and the state that each node last reported. Synchronous; runs in the store's threads. */
import type { ContainerRow, ContainerWrite, EvidenceWrite, HeadRow, MemoryRow, UpperRow } from "../../ports/rows.ts";
import { StoreError } from "../../ports/store.ts";
import type { Connection } from "./database.ts";
import { fromJson, toJson } from "./json.ts";

const MAX_REMEMBERED_REMOVALS = 256;

interface HeadColumns {
  readonly chain_id: Buffer;
  readonly seq: bigint;
  readonly digest: Buffer;
  readonly state_root: Buffer;
  readonly received_ms: number;
  readonly node: Buffer;
}
interface ContainerColumns {
  readonly number: bigint;
  readonly container_id: string;
  readonly identity: Buffer;
  readonly configuration: Buffer;
  readonly code: Buffer;
  readonly filesystem: Buffer;
}
interface UpperColumns {
  readonly path: Buffer;
  readonly record: Buffer;
  readonly inode: bigint;
  readonly actor: string | null;
  readonly changed_ms: number | null;
}

export class EvidenceTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  readHead(nodeId: string): HeadRow | undefined {
    const row = this.#head(nodeId);
    return row && headOf(nodeId, row);
  }

  readMemory(nodeId: string): MemoryRow | undefined {
    const head = this.#head(nodeId);
    if (!head) return undefined;
    const select = this.#connection
      .prepare<[string], ContainerColumns>("SELECT number, container_id, identity, configuration, code, filesystem FROM containers WHERE node_id = ?")
      .safeIntegers();
    const containers = select.all(nodeId).map((row): ContainerRow => {
      const { identity, configuration, code, filesystem } = row;
      return { id: row.container_id, parts: { identity, configuration, code, filesystem }, upper: this.#readUpper(row.number) };
    });
    return { head: headOf(nodeId, head), node: head.node, containers };
  }

  /** Within the caller's transaction. @throws StoreError STORE_CONFLICT where the stored head is not the one before */
  write(write: EvidenceWrite): void {
    if (!this.#continue(write)) this.#begin(write);
    if (write.full) this.#removeOthers(write.nodeId, new Set(write.containers.map(({ id }) => id)));
    for (const id of write.removed) this.#remove(write.nodeId, id);
    for (const container of write.containers) this.#writeContainer(write.nodeId, container, write.seq);
  }

  /** Its chain may begin anew, as if it had never reported. */
  forget(nodeId: string): void {
    this.#removeOthers(nodeId, new Set());
    this.#connection.prepare("DELETE FROM heads WHERE node_id = ?").run(nodeId);
  }

  /** The usual case, in one statement. @returns false where the stored head is not the one before */
  #continue({ nodeId, chainId, previousSeq, seq, digest, stateRoot, receivedAtMs, node }: EvidenceWrite): boolean {
    const update = this.#connection.prepare(
      "UPDATE heads SET seq = ?, digest = ?, state_root = ?, received_ms = ?, node = coalesce(?, node) WHERE node_id = ? AND chain_id = ? AND seq = ?",
    );
    return update.run(seq, digest, stateRoot, receivedAtMs, node ?? null, nodeId, chainId, previousSeq).changes === 1;
  }

  /** @throws StoreError STORE_CONFLICT where no chain may begin */
  #begin({ nodeId, chainId, previousSeq, seq, digest, stateRoot, receivedAtMs, node }: EvidenceWrite): void {
    const head = this.#head(nodeId);
    if (head?.chain_id.equals(chainId) || previousSeq !== 0n)
      throw new StoreError("STORE_CONFLICT", `Evidence ${seq} of node ${nodeId} after ${previousSeq}: ${head?.seq ?? 0n} is stored`);
    this.#connection
      .prepare("INSERT OR REPLACE INTO heads (node_id, chain_id, seq, digest, state_root, received_ms, node) VALUES (?, ?, ?, ?, ?, ?, ?)")
      .run(nodeId, chainId, seq, digest, stateRoot, receivedAtMs, node ?? head?.node ?? Buffer.alloc(0));
  }

  #head(nodeId: string): HeadColumns | undefined {
    const select = this.#connection
      .prepare<[string], HeadColumns>("SELECT chain_id, seq, digest, state_root, received_ms, node FROM heads WHERE node_id = ?")
      .safeIntegers();
    return select.get(nodeId);
  }

  #number(nodeId: string, id: string): bigint | undefined {
    return this.#connection
      .prepare<[string, string], { number: bigint }>("SELECT number FROM containers WHERE node_id = ? AND container_id = ?")
      .safeIntegers()
      .get(nodeId, id)?.number;
  }

  #removeOthers(nodeId: string, keep: ReadonlySet<string>): void {
    const ids = this.#connection.prepare<[string], { container_id: string }>("SELECT container_id FROM containers WHERE node_id = ?").all(nodeId);
    for (const { container_id } of ids) if (!keep.has(container_id)) this.#remove(nodeId, container_id);
  }

  #remove(nodeId: string, id: string): void {
    const number = this.#number(nodeId, id);
    if (number === undefined) return;
    this.#connection.prepare("DELETE FROM upper_entries WHERE container = ?").run(number);
    this.#connection.prepare("DELETE FROM containers WHERE number = ?").run(number);
  }

  #writeContainer(nodeId: string, { id, parts, upperReset, upper }: ContainerWrite, seq: bigint): void {
    let number = this.#number(nodeId, id);
    if (number === undefined) {
      const { identity, configuration, code, filesystem } = parts;
      if (!identity || !configuration || !code || !filesystem) throw new StoreError("STORE_CONFLICT", `container ${id} is not stored and not complete`);
      number = BigInt(
        this.#connection
          .prepare("INSERT INTO containers (node_id, container_id, identity, configuration, code, filesystem) VALUES (?, ?, ?, ?, ?, ?)")
          .run(nodeId, id, identity, configuration, code, filesystem).lastInsertRowid,
      );
    } else if (Object.values(parts).some((part) => part !== undefined)) {
      this.#connection
        .prepare(
          "UPDATE containers SET identity = coalesce(?, identity), configuration = coalesce(?, configuration), code = coalesce(?, code), filesystem = coalesce(?, filesystem) WHERE number = ?",
        )
        .run(parts.identity ?? null, parts.configuration ?? null, parts.code ?? null, parts.filesystem ?? null, number);
    }
    if (upperReset) this.#connection.prepare("DELETE FROM upper_entries WHERE container = ?").run(number);
    this.#writeUpper(number, upper, seq);
  }

  #writeUpper(container: bigint, upper: readonly UpperRow[], seq: bigint): void {
    if (upper.length === 0) return;
    const put = this.#connection.prepare(
      "INSERT OR REPLACE INTO upper_entries (container, path, record, inode, actor, changed_ms, seq) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    for (const { path, record, inode, actor, changedAtMs } of upper)
      put.run(container, path, record, BigInt.asIntN(64, inode), actor ? toJson(actor) : null, changedAtMs ?? null, seq);
    if (!upper.some(({ record }) => record.length === 0)) return;
    this.#connection
      .prepare(
        `DELETE FROM upper_entries WHERE container = ? AND path IN
         (SELECT path FROM upper_entries WHERE container = ? AND length(record) = 0 ORDER BY seq DESC LIMIT -1 OFFSET ${MAX_REMEMBERED_REMOVALS})`,
      )
      .run(container, container);
  }

  #readUpper(container: bigint): UpperRow[] {
    const select = this.#connection
      .prepare<[bigint], UpperColumns>("SELECT path, record, inode, actor, changed_ms FROM upper_entries WHERE container = ? ORDER BY seq")
      .safeIntegers();
    return select.all(container).map(({ path, record, inode, actor, changed_ms }) => ({
      path,
      record,
      inode: BigInt.asUintN(64, inode),
      actor: actor === null ? undefined : fromJson(actor),
      changedAtMs: changed_ms ?? undefined,
    }));
  }
}

function headOf(nodeId: string, row: HeadColumns): HeadRow {
  return { nodeId, chainId: row.chain_id, seq: row.seq, digest: row.digest, stateRoot: row.state_root, receivedAtMs: row.received_ms };
}
