/** Keys in a PKCS#11 token, by way of a thread of their own. */
import { createHash, type KeyObject, randomBytes, verify } from "node:crypto";
import { Worker } from "node:worker_threads";
import { digestOf } from "../../core/keys/signing-key.ts";
import { SignerError } from "../../ports/signer.ts";
import type { KeyToken, SigningKey, TokenKeyKind } from "../../ports/signing-key.ts";
import type { FoundKey, KeySelector } from "./keys.ts";
import { PIN_VARIABLE } from "./pin.ts";
import { publicKeyOf } from "./public-key.ts";
import type { SessionOptions } from "./session.ts";
import { derSignature, digestInfo } from "./signature.ts";
import type { Answer, FromThread, ToThread, Work } from "./thread.ts";
import { objectUri, parseTokenUri, type TokenUri } from "./uri.ts";

const THREAD_URL = new URL(import.meta.url.endsWith(".ts") ? "./thread.ts" : "./pkcs11-thread.js", import.meta.url);
/** Requests that wait; beyond it none is taken. */
const MAX_WAITING = 256;
const DEFAULT_ANSWER_MS = 30_000;
const KEY_ID_BYTES = 16;
/** What a key signs once when it is opened, so that one that cannot, or whose public half is another's, is found out then. */
const PROBE = Buffer.from("hullmark key check\n");

export interface Pkcs11TokenOptions {
  /** RFC 7512: names the token and its module, the PIN's place, and for {@link Pkcs11Token.openNamed} the key. */
  readonly uri: string;
  /** Of it the variable with the PIN alone is read. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Before the names of keys that are made, in their labels. */
  readonly labelPrefix?: string;
  /** As {@link SessionOptions.unattended}. Default false. */
  readonly unattended?: boolean;
  /** {@link Pkcs11Token.make} gave a key that it did not make: one that was in the token under this label. */
  readonly onTaken?: (name: string, label: string) => void;
  /** How long a request waits for its answer, its turn included. Default 30,000. */
  readonly answerMs?: number;
}

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: SignerError) => void;
  readonly timer: NodeJS.Timeout;
}

export class Pkcs11Token implements KeyToken {
  readonly #uri: TokenUri;
  readonly #prefix: string;
  readonly #answerMs: number;
  readonly #options: SessionOptions;
  readonly #onTaken: Pkcs11TokenOptions["onTaken"];
  readonly #waiting = new Map<number, Waiting>();
  /** Asked for in vain: until it is answered after all, nothing more is asked. */
  #late: number | undefined;
  #worker: Worker | undefined;
  #serial = 0;

  /** Nothing is loaded or opened yet. @throws SignerError TOKEN_URI */
  constructor({ uri, environment, labelPrefix, unattended = false, onTaken, answerMs }: Pkcs11TokenOptions) {
    this.#onTaken = onTaken;
    this.#uri = parseTokenUri(uri);
    this.#prefix = labelPrefix ? `${labelPrefix}/` : "";
    this.#answerMs = answerMs ?? DEFAULT_ANSWER_MS;
    const { pinSource } = this.#uri;
    const variable = pinSource === undefined ? PIN_VARIABLE : /^env:(.+)$/.exec(pinSource)?.[1];
    this.#options = { uri: this.#uri, environment: variable === undefined ? {} : { [variable]: environment[variable] }, unattended };
  }

  async make(kind: TokenKeyKind, name: string, after: string | undefined): Promise<string> {
    const number = 1 + (after === undefined ? 0 : Number(/\/(\d{1,9})$/.exec(parseTokenUri(after).object ?? "")?.[1] ?? 0));
    const label = `${this.#prefix}${name}/${number}`;
    const id = randomBytes(KEY_ID_BYTES);
    const found = (await this.#ask({ kind: "make", key: kind, label, id, found: "take" })) as FoundKey;
    if (found.extractable)
      throw new SignerError("KEY_EXTRACTABLE", `the key ${JSON.stringify(label)} may be taken out of the token (CKA_EXTRACTABLE): make it anew`);
    if (!id.equals(found.id)) this.#onTaken?.(name, label);
    return objectUri(label, found.id, kind === "secret" ? "secret-key" : "private");
  }

  /** A new ECDSA P-256 pair under the URI's own label. @throws SignerError KEY_AMBIGUOUS where there is one */
  async makeNamed(): Promise<SigningKey> {
    const { object, id = randomBytes(KEY_ID_BYTES) } = this.#uri;
    if (object === undefined) throw new SignerError("TOKEN_URI", "the URI does not say how to call the key: object=LABEL");
    await this.#ask({ kind: "make", key: "p256", label: object, id, found: "refuse" });
    return await this.openNamed();
  }

  async open(uri: string): Promise<SigningKey> {
    return await this.#open(selectorOf(parseTokenUri(uri), false));
  }

  /** The key that the token's own URI names. */
  async openNamed(): Promise<SigningKey> {
    if (this.#uri.type !== undefined && this.#uri.type !== "private") throw new SignerError("TOKEN_URI", "want type=private, or no type");
    return await this.#open(selectorOf(this.#uri, false));
  }

  async hmac(uri: string, message: Uint8Array): Promise<Buffer> {
    return Buffer.from((await this.#ask({ kind: "sign", key: selectorOf(parseTokenUri(uri), true), mechanism: "hmac", bytes: message })) as Uint8Array);
  }

  async drop(uri: string): Promise<void> {
    const parsed = parseTokenUri(uri);
    await this.#ask({ kind: "drop", key: selectorOf(parsed, parsed.type === "secret-key") });
  }

  /** What waits is rejected. */
  async close(): Promise<void> {
    const [worker, late] = [this.#worker, this.#late];
    this.#end(new SignerError("SIGNER_UNAVAILABLE", "the token was closed"));
    // Inside a module that hangs, a thread ends no earlier than the module lets it.
    if (late === undefined) await worker?.terminate();
  }

  async #open(key: KeySelector): Promise<SigningKey> {
    const found = (await this.#ask({ kind: "open", key })) as FoundKey;
    const what = JSON.stringify(found.label || key.object || "");
    if (!found.public) throw new SignerError("KEY_MALFORMED", `${what} has no public half`);
    const publicKey = publicKeyOf(found.public, what);
    const digest = digestOf(publicKey);
    if (digest === undefined) throw new SignerError("KEY_MALFORMED", `${what}: want ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 bits or more`);
    // By its id, so that a key of the same label that comes later changes nothing.
    const pinned: KeySelector = found.id.length > 0 ? { object: key.object, id: found.id, secret: false } : key;
    const sign = (message: Uint8Array): Promise<Buffer> => this.#sign(pinned, publicKey, digest, message);
    if (!verify(digest, PROBE, publicKey, await sign(PROBE))) throw new SignerError("KEY_MALFORMED", `${what}: the public key beside it is another key's`);
    return { spki: publicKey.export({ type: "spki", format: "der" }), sign };
  }

  async #sign(key: KeySelector, publicKey: KeyObject, digest: "sha256" | "sha384" | null, message: Uint8Array): Promise<Buffer> {
    const hashed = digest === null ? message : createHash(digest).update(message).digest();
    if (publicKey.asymmetricKeyType === "rsa") {
      return Buffer.from((await this.#ask({ kind: "sign", key, mechanism: "rsa", bytes: digestInfo(hashed) })) as Uint8Array);
    }
    const mechanism = digest === null ? "eddsa" : "ecdsa";
    const signature = Buffer.from((await this.#ask({ kind: "sign", key, mechanism, bytes: hashed })) as Uint8Array);
    return mechanism === "eddsa" ? signature : derSignature(signature);
  }

  #ask(work: Work): Promise<Answer> {
    if (this.#late !== undefined) return Promise.reject(new SignerError("SIGNER_UNAVAILABLE", `the token has not answered for ${this.#answerMs} ms`));
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(new SignerError("SIGNER_UNAVAILABLE", `${MAX_WAITING} requests wait for the token`));
    this.#worker ??= this.#start();
    const serial = ++this.#serial;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const timer = setTimeout(() => {
      this.#waiting.delete(serial);
      this.#late ??= serial;
      reject(new SignerError("SIGNER_UNAVAILABLE", `the token has not answered for ${this.#answerMs} ms`));
    }, this.#answerMs);
    this.#waiting.set(serial, { resolve, reject, timer });
    this.#worker.postMessage({ serial, work } satisfies ToThread);
    return promise;
  }

  #start(): Worker {
    const worker = new Worker(THREAD_URL, { workerData: this.#options });
    // Who waits holds the process by the timer, nobody else does.
    worker.unref();
    worker.on("message", (message: FromThread) => {
      // One at a time, in order: what was asked before the late one has been answered too.
      if (this.#late !== undefined && message.serial >= this.#late) this.#late = undefined;
      const waiting = this.#waiting.get(message.serial);
      if (!waiting) return;
      clearTimeout(waiting.timer);
      this.#waiting.delete(message.serial);
      if ("code" in message) waiting.reject(new SignerError(message.code, message.message.replace(`${message.code}: `, "")));
      else waiting.resolve(message.answer);
    });
    worker.on("error", (cause) => worker === this.#worker && this.#end(new SignerError("SIGNER_UNAVAILABLE", "the token's thread ended", { cause })));
    return worker;
  }

  #end(error: SignerError): void {
    this.#worker = undefined;
    // What the thread owed nobody gives any more; the next one owes nothing.
    this.#late = undefined;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }
}

function selectorOf({ object, id }: TokenUri, secret: boolean): KeySelector {
  return { object, id, secret };
}
