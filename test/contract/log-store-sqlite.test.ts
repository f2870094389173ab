import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { logStoreContract } from "./log-store.suite.ts";

logStoreContract("sqlite", async () => {
  const directory = await mkdtemp(join(tmpdir(), "hullmark-log-store-"));
  const path = join(directory, "verifier.db");
  let opened = await openSqliteStore(path);
  return {
    store: opened.log,
    reopen: async () => {
      await opened.close();
      opened = await openSqliteStore(path);
      return opened.log;
    },
    close: async () => {
      await opened.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
});
