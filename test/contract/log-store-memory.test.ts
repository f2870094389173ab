import { MemoryLogStore } from "../fakes/memory-log-store.ts";
import { logStoreContract } from "./log-store.suite.ts";

logStoreContract("memory", async () => {
  const store = new MemoryLogStore();
  return { store, reopen: async () => store, close: async () => {} };
});
