/** Where the time of an action goes, by what verifier and actuator say of each themselves: on one host, whose clock they share. */
import { readFileSync } from "node:fs";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { type Action, Response } from "@hullmark/proto/v1/response";
import { percentile } from "./process-usage.ts";

/** Milliseconds since 1970. */
export interface Accepted {
  /** As Hullmark calls it. */
  readonly container: string;
  readonly writtenMs: number;
  readonly acceptedMs: number;
}

/** What ends each stretch: the verifier has it; it is durable; an action is decided on; its intent is in the actuator's ledger (durable at the verifier, signed, handed out, looked at); the runtime has it. */
export const STRETCHES = ["told", "durable", "decided", "begun", "accepted"] as const;
/** In milliseconds, by {@link STRETCHES}. */
export type Stretches = readonly number[];

const PAGE = 500;

/** @param actuatorLog path @returns those of which everything is known, in the order of `all` */
export async function stretchesOf(all: readonly Accepted[], channel: RpcChannel, actuatorLog: string): Promise<readonly Stretches[]> {
  const actions = await allActions(channel);
  const begun = begunAt(actuatorLog);
  const found: Stretches[] = [];
  for (const { container, writtenMs, acceptedMs } of all) {
    const action = actions.find((each) => each.containerName === container && ms(each.createdAt) >= writtenMs && ms(each.createdAt) <= acceptedMs);
    const { drift } = action ? await channel.client(Query).getDrift({ id: action.driftId }) : { drift: undefined };
    const times = [writtenMs, ms(drift?.measuredAt), ms(drift?.committedAt), ms(action?.createdAt), begun.get(action?.id ?? "") ?? Number.NaN, acceptedMs];
    const stretches = times.slice(1).map((time, i) => time - (times[i] ?? Number.NaN));
    if (stretches.every(Number.isFinite)) found.push(stretches);
  }
  return found;
}

/** Percentiles of each, and the slowest writes one by one. */
export function wordsOf(stretches: readonly Stretches[], slowest = 5): string {
  const sum = (each: Stretches): number => each.reduce((total, one) => total + one, 0);
  const row = (each: Stretches): string => STRETCHES.map((name, i) => `${name} ${each[i]?.toFixed(0)}`).join(", ");
  const at = (share: number): string =>
    row(
      STRETCHES.map((_name, i) =>
        percentile(
          stretches.map((each) => each[i] ?? 0),
          share,
        ),
      ),
    );
  const worst = stretches.toSorted((a, b) => sum(b) - sum(a)).slice(0, slowest);
  return [
    `where it goes, in ms, ${stretches.length} writes: p50 ${at(0.5)}; p99 ${at(0.99)}`,
    ...worst.map((each) => `  ${sum(each).toFixed(0)} ms: ${row(each)}`),
  ].join("\n");
}

async function allActions(channel: RpcChannel): Promise<readonly Action[]> {
  const found: Action[] = [];
  for (let pageToken = ""; ; ) {
    const { actions, nextPageToken } = await channel.client(Response).listActions({ pageSize: PAGE, pageToken });
    found.push(...actions);
    if (nextPageToken === "") return found;
    pageToken = nextPageToken;
  }
}

/** By action. */
function begunAt(actuatorLog: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const line of readFileSync(actuatorLog, "utf8").split("\n")) {
    if (!line.includes('"intent begun"')) continue;
    const { time, intent } = JSON.parse(line) as { time: string; intent: { actionId: string } };
    found.set(intent.actionId, Date.parse(time));
  }
  return found;
}

const ms = (time: Timestamp | undefined): number => (time ? timestampMs(time) : Number.NaN);
