import type { Committer, Draft } from "@hullmark/verifier/core/fleet/committer";
import type { Store } from "@hullmark/verifier/ports/store";

/** Of a verifier without a log: what is submitted is in the store, and nothing of it is an entry. */
export function committerOver(store: Pick<Store, "commit">): Committer {
  const submit = async ({ build }: Draft) => {
    const commit = build(0);
    await store.commit({ commits: [commit], log: undefined });
    return { commit, firstLogIndex: 0 };
  };
  return { submit } as unknown as Committer;
}
