/** Streams that outlive the token that they were opened by. */
import type { RpcChannel } from "@hullmark/proto/rpc";

/** What `open` gives, opened anew by another token whenever one has ended. @param again before it is opened anew: what was told meanwhile is lost @throws RpcError */
export async function* watched<T>(channel: RpcChannel, open: () => AsyncIterable<T>, again: () => Promise<void>): AsyncGenerator<T, void, undefined> {
  for (;;) {
    try {
      yield* open();
      return;
    } catch (error) {
      if (!channel.mayAskAgain(error)) throw error;
      await again();
    }
  }
}
