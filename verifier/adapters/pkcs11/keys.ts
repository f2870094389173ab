/** The keys in a token: found, made, used and removed. Blocks: runs in the thread. */
import type { Attribute, Handle, PKCS11 } from "pkcs11js";
import { SignerError } from "../../ports/signer.ts";
import { ignoring, type Session } from "./session.ts";

/** By label, id or both. */
export interface KeySelector {
  readonly object?: string | undefined;
  readonly id?: Uint8Array | undefined;
  readonly secret: boolean;
}

/** Plain values, to cross to the other thread. */
export interface FoundKey {
  readonly label: string;
  readonly id: Uint8Array;
  /** CKA_EXTRACTABLE: it may leave the token. */
  readonly extractable: boolean;
  /** undefined: a secret key. */
  readonly public: PublicAttributes | undefined;
}

export type PublicAttributes =
  | { readonly kind: "ec"; readonly parameters: Uint8Array; readonly point: Uint8Array }
  | { readonly kind: "rsa"; readonly modulus: Uint8Array; readonly exponent: Uint8Array };

const MAX_SIGNATURE_BYTES = 2048;
const SECRET_BYTES = 32;
/** PKCS#11 v3.0; the library's constants are of 2.40. */
const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055;
const CKM_EDDSA = 0x1057;
const CKK_EC_EDWARDS = 0x40;
/** DER of the curves' names: OIDs 1.2.840.10045.3.1.7 and 1.3.101.112. */
const P256 = Buffer.from("06082a8648ce3d030107", "hex");
const ED25519 = Buffer.from("06032b6570", "hex");

export class TokenKeys {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** @throws SignerError KEY_MISSING, KEY_AMBIGUOUS, KEY_MALFORMED */
  open(selector: KeySelector): FoundKey {
    return this.#session.run((module, session) => this.#describe(module, session, this.#one(session, selector), selector.secret));
  }

  /** A key of this label: the one that is there, where `found` says so, or a new one. */
  make({ key, label, id, found }: { key: "p256" | "ed25519" | "secret"; label: string; id: Uint8Array; found: "refuse" | "take" }): FoundKey {
    const selector = { object: label, secret: key === "secret" };
    // Also a first try that was lost on its way may have made it, so within a session's work it is looked for anew.
    return this.#session.run((module, session) => {
      const [there] = this.#session.find(session, this.#template(selector));
      if (there && found === "refuse")
        throw new SignerError("KEY_AMBIGUOUS", `a key ${JSON.stringify(label)} is in the token already: it is never overwritten`);
      if (!there) this.#generate(module, session, key, label, Buffer.from(id));
      return this.#describe(module, session, this.#one(session, selector), selector.secret);
    });
  }

  sign(selector: KeySelector, mechanism: "ecdsa" | "eddsa" | "rsa" | "hmac", bytes: Buffer): Uint8Array {
    const { CKM_ECDSA, CKM_RSA_PKCS, CKM_SHA256_HMAC } = this.#session.pkcs11;
    const number = { ecdsa: CKM_ECDSA, eddsa: CKM_EDDSA, rsa: CKM_RSA_PKCS, hmac: CKM_SHA256_HMAC }[mechanism];
    return this.#session.run((module, session) => {
      const key = this.#one(session, selector);
      const asks = !selector.secret && this.#asksEachTime(module, session, key);
      module.C_SignInit(session, { mechanism: number }, key);
      if (asks) this.#session.confirm(session);
      return Uint8Array.from(module.C_Sign(session, bytes, Buffer.alloc(MAX_SIGNATURE_BYTES)));
    });
  }

  #asksEachTime(module: PKCS11, session: Handle, key: Handle): boolean {
    const type = this.#session.pkcs11.CKA_ALWAYS_AUTHENTICATE;
    // Some tokens do not know the attribute.
    const read = ignoring(["CKR_ATTRIBUTE_TYPE_INVALID", "CKR_ATTRIBUTE_SENSITIVE"], () => module.C_GetAttributeValue(session, key, [{ type }]));
    return (read?.[0]?.value as Buffer | undefined)?.[0] === 1;
  }

  drop(selector: KeySelector): void {
    const { CKA_CLASS, CKO_PUBLIC_KEY } = this.#session.pkcs11;
    this.#session.run((module, session) => {
      const template = this.#template(selector);
      for (const handle of this.#session.find(session, template)) module.C_DestroyObject(session, handle);
      const beside = template.map((each) => (each.type === CKA_CLASS ? { type: CKA_CLASS, value: CKO_PUBLIC_KEY } : each));
      if (!selector.secret) for (const handle of this.#session.find(session, beside)) module.C_DestroyObject(session, handle);
    });
  }

  #template({ object, id, secret }: KeySelector): Attribute[] {
    const { CKA_CLASS, CKA_LABEL, CKA_ID, CKO_PRIVATE_KEY, CKO_SECRET_KEY } = this.#session.pkcs11;
    return [
      { type: CKA_CLASS, value: secret ? CKO_SECRET_KEY : CKO_PRIVATE_KEY },
      ...(object === undefined ? [] : [{ type: CKA_LABEL, value: Buffer.from(object) }]),
      ...(id === undefined ? [] : [{ type: CKA_ID, value: Buffer.from(id) }]),
    ];
  }

  #one(session: Handle, selector: KeySelector): Handle {
    const { object, id, secret } = selector;
    if (object === undefined && id === undefined) throw new SignerError("TOKEN_URI", "the URI does not say which key: object=LABEL or id=…");
    const what = `${secret ? "secret" : "private"} key ${JSON.stringify(object ?? Buffer.from(id ?? []).toString("hex"))}`;
    const [handle, another] = this.#session.find(session, this.#template(selector));
    if (!handle) throw new SignerError("KEY_MISSING", `the token has no ${what}, or shows it to another user only`);
    if (another) throw new SignerError("KEY_AMBIGUOUS", `the token has more than one ${what}: say id=… too`);
    return handle;
  }

  #describe(module: PKCS11, session: Handle, key: Handle, secret: boolean): FoundKey {
    const { CKA_LABEL, CKA_ID, CKA_EXTRACTABLE } = this.#session.pkcs11;
    const read = (handle: Handle, ...types: number[]): Buffer[] =>
      module
        .C_GetAttributeValue(
          session,
          handle,
          types.map((type) => ({ type })),
        )
        .map(({ value }) => value as Buffer);
    const [label, id, extractable] = read(key, CKA_LABEL, CKA_ID, CKA_EXTRACTABLE) as [Buffer, Buffer, Buffer];
    return {
      ...{ label: label.toString("utf8"), id: Uint8Array.from(id), extractable: extractable[0] === 1 },
      public: secret ? undefined : this.#public(session, key, label, id, read),
    };
  }

  #public(session: Handle, key: Handle, label: Buffer, id: Buffer, read: (handle: Handle, ...types: number[]) => Buffer[]): PublicAttributes {
    const constants = this.#session.pkcs11;
    const type = read(key, constants.CKA_KEY_TYPE)[0]?.readUInt32LE(0);
    if (type === constants.CKK_RSA) {
      const [modulus, exponent] = read(key, constants.CKA_MODULUS, constants.CKA_PUBLIC_EXPONENT) as [Buffer, Buffer];
      return { kind: "rsa", modulus: Uint8Array.from(modulus), exponent: Uint8Array.from(exponent) };
    }
    if (type !== constants.CKK_EC && type !== CKK_EC_EDWARDS) throw new SignerError("KEY_MALFORMED", `${label}: neither ECDSA nor Ed25519 nor RSA`);
    const beside = id.length > 0 ? { type: constants.CKA_ID, value: id } : { type: constants.CKA_LABEL, value: label };
    const [publicKey, another] = this.#session.find(session, [{ type: constants.CKA_CLASS, value: constants.CKO_PUBLIC_KEY }, beside]);
    if (!publicKey || another) throw new SignerError("KEY_MISSING", `${label}: want one public key of the same id beside it in the token`);
    const [parameters, point] = read(publicKey, constants.CKA_EC_PARAMS, constants.CKA_EC_POINT) as [Buffer, Buffer];
    return { kind: "ec", parameters: Uint8Array.from(parameters), point: Uint8Array.from(point) };
  }

  #generate(module: PKCS11, session: Handle, key: "p256" | "ed25519" | "secret", label: string, id: Buffer): void {
    const constants = this.#session.pkcs11;
    const named = [
      { type: constants.CKA_TOKEN, value: true },
      { type: constants.CKA_LABEL, value: Buffer.from(label) },
      { type: constants.CKA_ID, value: id },
    ];
    const guarded = [
      { type: constants.CKA_PRIVATE, value: true },
      { type: constants.CKA_SENSITIVE, value: true },
      { type: constants.CKA_EXTRACTABLE, value: false },
      { type: constants.CKA_SIGN, value: true },
    ];
    if (key === "secret") {
      const size = [
        { type: constants.CKA_CLASS, value: constants.CKO_SECRET_KEY },
        { type: constants.CKA_KEY_TYPE, value: constants.CKK_GENERIC_SECRET },
        { type: constants.CKA_VALUE_LEN, value: SECRET_BYTES },
      ];
      module.C_GenerateKey(session, { mechanism: constants.CKM_GENERIC_SECRET_KEY_GEN }, [...named, ...guarded, ...size]);
      return;
    }
    const mechanism = key === "p256" ? constants.CKM_EC_KEY_PAIR_GEN : CKM_EC_EDWARDS_KEY_PAIR_GEN;
    const parameters = { type: constants.CKA_EC_PARAMS, value: key === "p256" ? P256 : ED25519 };
    const open = [{ type: constants.CKA_PRIVATE, value: false }, { type: constants.CKA_VERIFY, value: true }, parameters];
    module.C_GenerateKeyPair(session, { mechanism }, [...named, ...open], [...named, ...guarded]);
  }
}
