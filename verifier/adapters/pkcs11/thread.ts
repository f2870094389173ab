/** Entry of the token's thread: a module may block for as long as its device likes, and must not stop whoever waits. One request at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { SignerError, type SignerErrorCode } from "../../ports/signer.ts";
import type { KeySelector } from "./keys.ts";
import { type FoundKey, TokenKeys } from "./keys.ts";
import { Session, type SessionOptions } from "./session.ts";

export type Work =
  | { readonly kind: "open"; readonly key: KeySelector }
  | { readonly kind: "make"; readonly key: "p256" | "ed25519" | "secret"; readonly label: string; readonly id: Uint8Array; readonly found: "refuse" | "take" }
  | { readonly kind: "sign"; readonly key: KeySelector; readonly mechanism: "ecdsa" | "eddsa" | "rsa" | "hmac"; readonly bytes: Uint8Array }
  | { readonly kind: "drop"; readonly key: KeySelector };

export interface ToThread {
  readonly serial: number;
  readonly work: Work;
}

export type Answer = FoundKey | Uint8Array | undefined;

export type FromThread =
  | { readonly serial: number; readonly answer: Answer }
  | { readonly serial: number; readonly code: SignerErrorCode; readonly message: string };

let keys: TokenKeys | undefined;

async function opened(): Promise<TokenKeys> {
  // The only place where the addon is loaded: who has no key in a token never does.
  const pkcs11 = await import("pkcs11js").catch((cause: unknown) => {
    throw new SignerError("TOKEN_MODULE", "the addon pkcs11.node is not there or cannot be loaded", { cause });
  });
  keys ??= new TokenKeys(new Session(pkcs11.default as never, workerData as SessionOptions));
  return keys;
}

async function answer(work: Work): Promise<Answer> {
  const token = await opened();
  switch (work.kind) {
    case "open":
      return token.open(work.key);
    case "make":
      return token.make(work);
    case "sign":
      return token.sign(work.key, work.mechanism, Buffer.from(work.bytes));
    case "drop":
      token.drop(work.key);
      return undefined;
  }
}

let turn: Promise<unknown> = Promise.resolve();
parentPort?.on("message", ({ serial, work }: ToThread) => {
  turn = turn.then(async () => {
    const message: FromThread = await answer(work).then(
      (found) => ({ serial, answer: found }),
      (error: unknown) => {
        const { code, message: text } = error instanceof SignerError ? error : new SignerError("SIGNER_UNAVAILABLE", "the token's thread failed");
        return { serial, code, message: text };
      },
    );
    parentPort?.postMessage(message);
  });
});
