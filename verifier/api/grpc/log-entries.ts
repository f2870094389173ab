/** The log's entries as the Query service tells them. */
import { RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import type { Query } from "@hullmark/proto/v1/query";
import { type LogReader, TILE_WIDTH } from "../../ports/log-store.ts";

export interface LogEntryServices {
  readonly log: () => { readonly size: number };
  readonly logReader: Pick<LogReader, "readEntries" | "readCheckpoint">;
}

const DEFAULT_ROWS = 100;

export function logEntryQueries({ log, logReader }: LogEntryServices) {
  return {
    async listLogEntries({ pageSize, pageToken }) {
      if (!/^[0-9]{0,15}$/.test(pageToken))
        throw new RpcError("INVALID_ARGUMENT", "not a page token of this list", { reason: "PAGE_TOKEN", field: "pageToken" });
      const { size } = log();
      const end = pageToken === "" ? size : Math.min(size, Number(pageToken));
      const first = Math.max(0, end - (pageSize === 0 ? DEFAULT_ROWS : Math.min(pageSize, TILE_WIDTH)));
      const entries: Uint8Array[] = [];
      // A bundle at a time: two at most.
      for (let at = first; at < end; ) {
        const to = Math.min(end, (Math.floor(at / TILE_WIDTH) + 1) * TILE_WIDTH);
        const read = await logReader.readEntries(at, to - at);
        if (read.length < to - at) throw new RpcError("UNAVAILABLE", "the log's entries cannot be read", { reason: "STORE" });
        entries.push(...read);
        at = to;
      }
      const checkpoint = await logReader.readCheckpoint();
      return {
        entries: entries.map((entry, offset) => ({ index: BigInt(first + offset), entry })).reverse(),
        nextPageToken: first > 0 ? String(first) : "",
        ...{ checkpointSize: BigInt(checkpoint?.size ?? 0), size: BigInt(size) },
      };
    },
  } satisfies Pick<ServiceImplementation<typeof Query>, "listLogEntries">;
}
