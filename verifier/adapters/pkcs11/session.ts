/** One session with one token: opened and logged in when it is needed, and again where it was lost. Blocks: runs in the thread. */
import { hash } from "node:crypto";
import type { Attribute, Handle, PKCS11 } from "pkcs11js";
import { SignerError } from "../../ports/signer.ts";
import { readPin } from "./pin.ts";
import type { TokenUri } from "./uri.ts";

export type Pkcs11 = typeof import("pkcs11js");

/** The module knows of the session no more, or the token was away: opened anew, it may work. */
const LOST = new Set([
  ...["CKR_SESSION_HANDLE_INVALID", "CKR_SESSION_CLOSED", "CKR_USER_NOT_LOGGED_IN", "CKR_CRYPTOKI_NOT_INITIALIZED", "CKR_DEVICE_REMOVED", "CKR_DEVICE_ERROR"],
  ...["CKR_TOKEN_NOT_PRESENT", "CKR_OBJECT_HANDLE_INVALID", "CKR_KEY_HANDLE_INVALID", "CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_OPERATION_ACTIVE"],
]);
const PIN_ERRORS = new Set(["CKR_PIN_INCORRECT", "CKR_PIN_INVALID", "CKR_PIN_LEN_RANGE", "CKR_PIN_EXPIRED", "CKR_PIN_LOCKED", "CKR_USER_PIN_NOT_INITIALIZED"]);
const MECHANISM_ERRORS = new Set([
  ...["CKR_MECHANISM_INVALID", "CKR_MECHANISM_PARAM_INVALID", "CKR_KEY_TYPE_INCONSISTENT", "CKR_KEY_FUNCTION_NOT_PERMITTED", "CKR_CURVE_NOT_SUPPORTED"],
  ...["CKR_DOMAIN_PARAMS_INVALID", "CKR_FUNCTION_NOT_SUPPORTED", "CKR_TEMPLATE_INCONSISTENT", "CKR_ATTRIBUTE_VALUE_INVALID", "CKR_ATTRIBUTE_TYPE_INVALID"],
]);
/** Objects of one label that are looked at. */
const MAX_FOUND = 2;

export interface SessionOptions {
  readonly uri: TokenUri;
  /** Where the URI has the PIN in a variable. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Of a service, which is started again where it fails: a PIN that may be the one that was refused last is not tried. */
  readonly unattended: boolean;
}

export class Session {
  readonly pkcs11: Pkcs11;
  readonly #options: SessionOptions;
  readonly #module: PKCS11;
  #handle: Handle | undefined;
  /** SHA-256 of the last PIN that the token refused, and of the last that it took. */
  #refusedPin: string | undefined;
  #takenPin: string | undefined;

  /** Loads the module. @throws SignerError TOKEN_URI, TOKEN_MODULE */
  constructor(pkcs11: Pkcs11, options: SessionOptions) {
    const { modulePath } = options.uri;
    if (modulePath === undefined) throw new SignerError("TOKEN_URI", "the URI does not say which module: module-path=/…/module.so");
    this.pkcs11 = pkcs11;
    this.#options = options;
    this.#module = new pkcs11.PKCS11();
    try {
      this.#module.load(modulePath);
    } catch (cause) {
      throw new SignerError("TOKEN_MODULE", `the PKCS#11 module ${modulePath} cannot be loaded`, { cause });
    }
  }

  /**
   * Runs what may be run again: where the session is lost, or the token not there, it is, in a new session, and at last with the module initialized anew, for some
   * know only then of a token that came, or came back. @throws SignerError
   */
  run<T>(work: (module: PKCS11, session: Handle) => T): T {
    for (let left = 2; ; left--) {
      try {
        this.#handle ??= this.#open();
        return work(this.#module, this.#handle);
      } catch (error) {
        const absent = error instanceof SignerError && error.code === "TOKEN_MISSING";
        if (LOST.has(nameOf(error)) || absent) this.close();
        else throw signerError(error);
        if (left === 0) throw signerError(error);
        if (left === 1 || absent) this.#finalize();
        if (absent) left = 1;
      }
    }
  }

  /** Objects with these attributes: two at most, for then it is not clear which is meant. */
  find(session: Handle, template: Attribute[]): readonly Handle[] {
    this.#module.C_FindObjectsInit(session, template);
    try {
      return this.#module.C_FindObjects(session, MAX_FOUND);
    } finally {
      this.#module.C_FindObjectsFinal(session);
    }
  }

  close(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    try {
      if (handle) this.#module.C_CloseSession(handle);
    } catch {
      // Gone already.
    }
  }

  /** So that the module locks: without that flag it may take its process for one of a single thread (PKCS#11 v2.40, section 5.4), and two tokens here are two threads. */
  #initialize(): void {
    try {
      this.#module.C_Initialize({ flags: this.pkcs11.CKF_OS_LOCKING_OK });
    } catch (error) {
      if (nameOf(error) !== "CKR_CANT_LOCK") throw error;
      this.#module.C_Initialize();
    }
  }

  #finalize(): void {
    try {
      this.#module.C_Finalize();
    } catch {
      // Whether it can go on is told by what is tried next.
    }
  }

  #open(): Handle {
    const { pkcs11 } = this;
    ignoring(["CKR_CRYPTOKI_ALREADY_INITIALIZED"], () => this.#initialize());
    const slot = this.#slot();
    const session = this.#module.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
    try {
      this.#login(slot, session, pkcs11.CKU_USER);
      return session;
    } catch (error) {
      this.#module.C_CloseSession(session);
      throw error;
    }
  }

  /** For the one use that was just begun of a key that wants the PIN each time (CKA_ALWAYS_AUTHENTICATE). The same rules spare the token's tries. */
  confirm(session: Handle): void {
    this.#login(this.#module.C_GetSessionInfo(session).slotID, session, this.pkcs11.CKU_CONTEXT_SPECIFIC);
  }

  #login(slot: Handle, session: Handle, user: number): void {
    const pin = readPin(this.#options.uri.pinSource, this.#options.environment);
    const digest = hash("sha256", pin);
    // A few wrong ones lock a token for good.
    if (digest === this.#refusedPin) throw new SignerError("TOKEN_PIN", "the token refused this PIN before: it is not tried again");
    this.#spareTries(slot, digest);
    try {
      // Whoever shares the module in this process is logged in with us.
      ignoring(["CKR_USER_ALREADY_LOGGED_IN"], () => this.#module.C_Login(session, user, pin));
      this.#takenPin = digest;
    } catch (error) {
      if (PIN_ERRORS.has(nameOf(error))) this.#refusedPin = digest;
      throw error;
    }
  }

  /** Who starts anew has forgotten what was refused; the token has not: until the next login it tells that a wrong PIN was given (PKCS#11, CK_TOKEN_INFO). */
  #spareTries(slot: Handle, digest: string): void {
    const { CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY } = this.pkcs11;
    const { flags } = this.#module.C_GetTokenInfo(slot);
    const last = (flags & CKF_USER_PIN_FINAL_TRY) !== 0;
    // One that was taken here is right, and another than the one that was refused here is a new one.
    const known = digest === this.#takenPin || this.#refusedPin !== undefined;
    if (!last && (known || !this.#options.unattended || (flags & CKF_USER_PIN_COUNT_LOW) === 0)) return;
    const why = last ? "the next wrong PIN locks the token" : "the token was given a wrong PIN since its last login, which may be this one";
    const remedy = `see to it that the PIN is right, and log in once with it by another tool (pkcs11-tool --module ${this.#options.uri.modulePath} --login --list-objects)`;
    throw new SignerError("TOKEN_PIN", `${why}: it is not tried; ${remedy}`);
  }

  #slot(): Handle {
    const { token, serial, manufacturer, model } = this.#options.uri;
    const wanted = { label: token, serialNumber: serial, manufacturerID: manufacturer, model };
    if (Object.values(wanted).every((value) => value === undefined)) throw new SignerError("TOKEN_URI", "the URI does not say which token: token=LABEL");
    const found = this.#module.C_GetSlotList(true).filter((slot) => {
      const info = ignoring(["CKR_TOKEN_NOT_PRESENT", "CKR_TOKEN_NOT_RECOGNIZED"], () => this.#module.C_GetTokenInfo(slot));
      return info && Object.entries(wanted).every(([name, value]) => value === undefined || info[name as "label"].trimEnd() === value);
    });
    const [slot, another] = found;
    const name = Object.values(wanted).find((value) => value !== undefined);
    if (!slot) throw new SignerError("TOKEN_MISSING", `the module has no token ${JSON.stringify(name)}: not initialized, not plugged in, or not for this user`);
    if (another) throw new SignerError("TOKEN_MISSING", `${found.length} tokens are ${JSON.stringify(name)}: say serial=… too`);
    return slot;
  }
}

/** undefined where the module says one of these. */
export function ignoring<T>(names: readonly string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!names.includes(nameOf(error))) throw error;
    return undefined;
  }
}

/** `CKR_…`, or empty. */
function nameOf(error: unknown): string {
  return error instanceof Error && error.message.startsWith("CKR_") ? error.message : "";
}

/** Says what the module said by its name alone: never what it was given. */
function signerError(error: unknown): SignerError {
  if (error instanceof SignerError) return error;
  const name = nameOf(error);
  const method = error instanceof Error && "method" in error && error.method !== "" ? ` (${String(error.method)})` : "";
  if (PIN_ERRORS.has(name)) return new SignerError("TOKEN_PIN", `the token does not take the PIN: ${name}`);
  if (MECHANISM_ERRORS.has(name)) return new SignerError("TOKEN_MECHANISM", `the token cannot do this with this key: ${name}${method}`);
  return new SignerError("SIGNER_UNAVAILABLE", `the token failed: ${name === "" ? "unknown error" : name}${method}`);
}
