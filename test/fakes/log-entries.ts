/** Entries of a test's verifier's log, as they are stored. */
import { join } from "node:path";
import Database from "better-sqlite3";
import type { TestVerifier } from "./verifier.ts";

/** @param member of the entry that says `name`: `action` of those that people caused, or `type` */
export function logEntries(verifier: TestVerifier, name: string, member: "action" | "type" = "action"): Record<string, unknown>[] {
  const database = new Database(join(verifier.directory, "state/verifier.db"), { readonly: true });
  try {
    const rows = database.prepare<[], { entry: Buffer }>("SELECT entry FROM log_entries ORDER BY rowid").all();
    return rows.map(({ entry }) => JSON.parse(entry.toString()) as Record<string, unknown>).filter((entry) => entry[member] === name);
  } finally {
    database.close();
  }
}
