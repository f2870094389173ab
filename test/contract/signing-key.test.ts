/** One contract for keys that sign, wherever they lie: in a file, or in a token of a real SoftHSM. */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, verify } from "node:crypto";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Pkcs11Token } from "@hullmark/verifier/adapters/pkcs11/index";
import { Session } from "@hullmark/verifier/adapters/pkcs11/session";
import { parseTokenUri } from "@hullmark/verifier/adapters/pkcs11/uri";
import { digestOf, rawSignature, signingKeyOf } from "@hullmark/verifier/core/keys/signing-key";
import type { SigningKey } from "@hullmark/verifier/ports/signing-key";
import pkcs11js from "pkcs11js";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { SoftHsm } from "../fakes/softhsm.ts";

// Each opened token is a thread of its own.
vi.setConfig({ testTimeout: 240_000 });

const PAIRS: Readonly<Record<string, KeyObject>> = {
  "P-256": generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
  "P-384": generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey,
  Ed25519: generateKeyPairSync("ed25519").privateKey,
  "RSA-2048": generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
  "RSA-3072": generateKeyPairSync("rsa", { modulusLength: 3072 }).privateKey,
};
const WEAK = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;

let hsm: SoftHsm;
let token: Pkcs11Token;
const opened: Pkcs11Token[] = [];
const at = (path: string, pinSource?: string, environment = {}): Pkcs11Token => {
  const made = new Pkcs11Token({ uri: hsm.uri(path, pinSource), environment, labelPrefix: "hullmark/eu-1/v1" });
  opened.push(made);
  return made;
};
const bring = (key: KeyObject, label: string, id: string, into = "contract"): void => {
  const file = join(hsm.directory, "import.pem");
  writeFileSync(file, key.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  hsm.importKey(into, file, label, id);
};

beforeAll(() => {
  hsm = new SoftHsm();
  hsm.makeToken("contract");
  token = at("token=contract");
  Object.entries(PAIRS).forEach(([name, key], index) => void bring(key, name, `a${index}`));
});
afterAll(async () => {
  await Promise.all(opened.map((each) => each.close()));
  await hsm?.dispose();
});

const STORES: Readonly<Record<string, (name: string) => Promise<SigningKey>>> = {
  file: async (name) => signingKeyOf(PAIRS[name] as KeyObject, name),
  token: async (name) => await at(`token=contract;object=${name}`).openNamed(),
};

describe.each(Object.entries(STORES))("a key in a %s", (_, open) => {
  test.each(Object.keys(PAIRS))("%s signs what its public key verifies, and nothing else", async (name) => {
    const key = await open(name);
    const publicKey = createPublicKey({ key: key.spki, format: "der", type: "spki" });
    expect(key.spki).toEqual(createPublicKey(PAIRS[name] as KeyObject).export({ type: "spki", format: "der" }));
    for (const message of [Buffer.of(0), Buffer.from("hullmark"), randomBytes(100_000)]) {
      const signature = await key.sign(message);
      expect(verify(digestOf(publicKey), message, publicKey, signature)).toBe(true);
      expect(verify(digestOf(publicKey), Buffer.concat([message, Buffer.of(1)]), publicKey, signature)).toBe(false);
    }
    expect(JSON.stringify(key)).not.toContain("PRIVATE");
  });

  test("signs for many at once, each its own", async () => {
    const key = await open("P-256");
    const publicKey = createPublicKey({ key: key.spki, format: "der", type: "spki" });
    const messages = Array.from({ length: 100 }, () => randomBytes(32));
    const signatures = await Promise.all(messages.map((message) => key.sign(message)));
    signatures.forEach((signature, index) => {
      expect(verify("sha256", messages[index] as Buffer, publicKey, signature)).toBe(true);
      const raw = { key: publicKey, dsaEncoding: "ieee-p1363" as const };
      expect(verify("sha256", messages[index] as Buffer, raw, rawSignature(signature, 32))).toBe(true);
    });
  });
});

describe("a token's own keys", () => {
  test("are made once under the label that is next, never leave it, and sign after a restart", async () => {
    const first = await token.make("p256", "ca", undefined);
    expect(first).toMatch(/^pkcs11:object=hullmark%2Feu-1%2Fv1%2Fca%2F1;id=(%[0-9a-f]{2}){16};type=private$/);
    expect(await token.make("p256", "ca", undefined)).toBe(first);
    const second = await token.make("p256", "ca", first);
    expect(second).toContain("ca%2F2;");
    const again = at("token=contract");
    expect((await again.open(first)).spki).toEqual((await token.open(first)).spki);
    expect((await again.open(first)).spki).not.toEqual((await again.open(second)).spki);
    const ed25519 = await again.open(await token.make("ed25519", "log", undefined));
    const publicKey = createPublicKey({ key: ed25519.spki, format: "der", type: "spki" });
    expect(verify(null, Buffer.from("a"), publicKey, await ed25519.sign(Buffer.from("a")))).toBe(true);
  });

  test("are gone when they are dropped, also twice", async () => {
    const uri = await token.make("p256", "gone", undefined);
    const secret = await token.make("secret", "gone-secret", undefined);
    for (const each of [uri, secret, uri]) await token.drop(each);
    await expect(token.open(uri)).rejects.toMatchObject({ code: "KEY_MISSING" });
    await expect(token.hmac(secret, Buffer.of(1))).rejects.toMatchObject({ code: "KEY_MISSING" });
    expect(await token.make("p256", "gone", undefined)).not.toBe(uri);
  });

  test("one that somebody put there beforehand is taken, where it cannot be taken out again", async () => {
    bring(PAIRS["P-256"] as KeyObject, "hullmark/eu-1/v1/ceremony/1", "c1");
    const uri = await token.make("p256", "ceremony", undefined);
    expect((await token.open(uri)).spki).toEqual(createPublicKey(PAIRS["P-256"] as KeyObject).export({ type: "spki", format: "der" }));
  });

  test("one that could be taken out of the token is none of ours, whoever put it there", async () => {
    await token.make("p256", "warm-up", undefined);
    const module = new pkcs11js.PKCS11();
    module.load(hsm.module);
    const slot = module.C_GetSlotList(true).find((each) => module.C_GetTokenInfo(each).label.trimEnd() === "contract");
    const session = module.C_OpenSession(slot as Buffer, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
    const [label, id] = [
      { type: pkcs11js.CKA_LABEL, value: "hullmark/eu-1/v1/loose/1" },
      { type: pkcs11js.CKA_ID, value: Buffer.of(1, 2) },
    ];
    const curve = { type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from("06082a8648ce3d030107", "hex") };
    const kept = { type: pkcs11js.CKA_TOKEN, value: true };
    const [signs, extractable] = [
      { type: pkcs11js.CKA_SIGN, value: true },
      { type: pkcs11js.CKA_EXTRACTABLE, value: true },
    ];
    module.C_GenerateKeyPair(session, { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN }, [kept, label, id, curve], [kept, label, id, signs, extractable]);
    module.C_CloseSession(session);
    await expect(token.make("p256", "loose", undefined)).rejects.toMatchObject({ code: "KEY_EXTRACTABLE" });
  });

  test("a secret one makes HMACs that differ by key and message, the same each time", async () => {
    const [first, second] = [await token.make("secret", "nonce", undefined), await token.make("secret", "other", undefined)];
    const mac = await token.hmac(first, Buffer.from("a"));
    expect(mac).toHaveLength(32);
    expect(await at("token=contract").hmac(first, Buffer.from("a"))).toEqual(mac);
    expect(await token.hmac(second, Buffer.from("a"))).not.toEqual(mac);
    expect(await token.hmac(first, Buffer.from("b"))).not.toEqual(mac);
  });

  test("one that wants the PIN for each use gets it, for every signature and from every session", async () => {
    // Whoever has a session of this process is logged in with the others.
    await token.make("p256", "logged-in", undefined);
    hsm.makeKeyThatAsks("contract", "asks");
    const key = await at("token=contract;object=asks").openNamed();
    const publicKey = createPublicKey({ key: key.spki, format: "der", type: "spki" });
    const messages = Array.from({ length: 10 }, () => randomBytes(32));
    const signatures = await Promise.all(messages.map((message) => key.sign(message)));
    signatures.forEach((signature, index) => void expect(verify("sha256", messages[index] as Buffer, publicKey, signature)).toBe(true));
    // The PIN is read anew each time, and a wrong one is tried once.
    const file = join(hsm.directory, "asks.pin");
    writeFileSync(file, hsm.pin, { mode: 0o600 });
    const other = await at("token=contract;object=asks", `file:${file}`).openNamed();
    const message = Buffer.from("a");
    expect(verify("sha256", message, publicKey, await other.sign(message))).toBe(true);
    writeFileSync(file, "wrong-wrong-1");
    await expect(other.sign(message)).rejects.toMatchObject({ code: "TOKEN_PIN", message: expect.not.stringContaining("wrong-wrong-1") });
    await expect(other.sign(message)).rejects.toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("not tried again") });
    writeFileSync(file, hsm.pin);
    expect(verify("sha256", message, publicKey, await other.sign(message))).toBe(true);
    expect(verify("sha256", message, publicKey, await key.sign(message))).toBe(true);
  });

  test("under a name of one's own: made once, and never overwritten", async () => {
    const uri = "token=contract;object=release";
    const made = await at(uri).makeNamed();
    expect((await at(uri).openNamed()).spki).toEqual(made.spki);
    await expect(at(uri).makeNamed()).rejects.toMatchObject({ code: "KEY_AMBIGUOUS" });
    expect((await at(uri).openNamed()).spki).toEqual(made.spki);
  });

  test("a session that was lost is opened again, and what waits is signed", async () => {
    const key = await at("token=contract;object=P-256").openNamed();
    const publicKey = createPublicKey({ key: key.spki, format: "der", type: "spki" });
    const module = new pkcs11js.PKCS11();
    module.load(hsm.module);
    const signs = async (): Promise<boolean> => verify("sha256", Buffer.from("a"), publicKey, await key.sign(Buffer.from("a")));
    for (const lose of [() => module.C_GetSlotList(true).forEach((slot) => void module.C_CloseAllSessions(slot)), () => module.C_Finalize()]) {
      lose();
      expect(await signs()).toBe(true);
      // Again at once, with many that were asked for before it is noticed.
      lose();
      expect(await Promise.all(Array.from({ length: 20 }, signs))).not.toContain(false);
    }
  });
});

describe("what does not go", () => {
  const failure = async (work: Promise<unknown>): Promise<{ code?: string; message: string }> => {
    const error = await work.then(
      () => undefined,
      (each: Error & { code?: string }) => each,
    );
    expect(error).toBeDefined();
    // The PIN stands nowhere.
    expect(`${error?.message} ${error?.stack} ${JSON.stringify(error)}`).not.toContain(hsm.pin);
    return error as Error & { code?: string };
  };

  test("module, token and PIN are told apart", async () => {
    const open = (uri: string, environment = {}) => {
      const made = new Pkcs11Token({ uri, environment });
      opened.push(made);
      return failure(made.openNamed());
    };
    const path = "pkcs11:token=contract;object=P-256";
    expect(await open(`${path}?module-path=/no/such/module.so&pin-source=file:${hsm.pinFile}`)).toMatchObject({ code: "TOKEN_MODULE" });
    expect(await open(`${path}?module-path=${hsm.pinFile}&pin-source=file:${hsm.pinFile}`)).toMatchObject({ code: "TOKEN_MODULE" });
    expect(await open(path)).toMatchObject({ code: "TOKEN_URI" });
    expect(await open(hsm.uri("token=absent;object=P-256"))).toMatchObject({ code: "TOKEN_MISSING" });
    expect(await open(hsm.uri("token=contract;serial=0;object=P-256"))).toMatchObject({ code: "TOKEN_MISSING" });
    expect(await open(hsm.uri("object=P-256"))).toMatchObject({ code: "TOKEN_URI" });
    for (const _ of "12") hsm.makeToken("twin");
    expect(await open(hsm.uri("token=twin;object=P-256"))).toMatchObject({ code: "TOKEN_MISSING", message: expect.stringContaining("serial") });
  });

  test("a PIN comes from a private file or a variable, and nowhere else", async () => {
    // One of a module's sessions is logged in for all: another token asks for its own.
    hsm.makeToken("guarded");
    bring(PAIRS["P-256"] as KeyObject, "key", "a0", "guarded");
    const pinFile = join(hsm.directory, "other-pin");
    const open = (source: string | undefined, environment = {}) => {
      const made = new Pkcs11Token({ uri: hsm.uri("token=guarded;object=key", source).replace(/&pin-source=$/, ""), environment });
      opened.push(made);
      return made.openNamed();
    };
    writeFileSync(pinFile, "wrong-pin\n", { mode: 0o600 });
    const wrong = await failure(open(`file:${pinFile}`));
    expect(wrong).toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("CKR_PIN_INCORRECT") });
    expect(wrong.message).not.toContain("wrong-pin");
    const patient = at("token=guarded;object=key", `file:${pinFile}`);
    expect((await failure(patient.openNamed())).message).toContain("CKR_PIN_INCORRECT");
    // Asked again and again, it does not use up the tries that a token gives; with another PIN in the file it goes on.
    expect(await failure(patient.openNamed())).toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("not tried again") });
    writeFileSync(pinFile, hsm.pin);
    await expect(patient.openNamed()).resolves.toBeDefined();
    await patient.close();
    expect(await failure(open(`file:${pinFile}.absent`))).toMatchObject({ code: "TOKEN_PIN" });
    expect(await failure(open(""))).toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("HULLMARK_TOKEN_PIN") });
    expect(await failure(open("env:MY_PIN"))).toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("MY_PIN") });
    writeFileSync(pinFile, hsm.pin);
    chmodSync(pinFile, 0o644);
    expect(await failure(open(`file:${pinFile}`))).toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("chmod") });
    chmodSync(pinFile, 0o440);
    for (const [source, environment] of [
      [`file:${pinFile}`, {}],
      [`file://${pinFile}`, {}],
      [pinFile, {}],
      ["env:MY_PIN", { MY_PIN: hsm.pin }],
      ["", { HULLMARK_TOKEN_PIN: hsm.pin }],
    ] as const)
      await expect(open(source, environment)).resolves.toBeDefined();
  });

  test("where the next wrong PIN would lock the token, none is tried", () => {
    const logins: string[] = [];
    let flags = 0;
    // SoftHSM never locks.
    class Module {
      load(): void {}
      C_Initialize(): void {}
      C_Finalize(): void {}
      C_GetSlotList(): Buffer[] {
        return [Buffer.alloc(8)];
      }
      C_GetTokenInfo(): object {
        return { label: "card", flags };
      }
      C_OpenSession(): Buffer {
        return Buffer.alloc(8);
      }
      C_CloseSession(): void {}
      C_Login(_session: Buffer, _user: number, pin: string): void {
        logins.push(pin);
        if (pin !== hsm.pin) throw new Error("CKR_PIN_INCORRECT");
      }
    }
    const { CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKU_USER, CKF_SERIAL_SESSION, CKF_RW_SESSION } = pkcs11js;
    const constants = { CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKU_USER, CKF_SERIAL_SESSION, CKF_RW_SESSION };
    const environment: Record<string, string> = { PIN: hsm.pin };
    const begin = (unattended: boolean): Session =>
      new Session({ ...constants, PKCS11: Module } as never, {
        uri: parseTokenUri("pkcs11:token=card?module-path=/m.so&pin-source=env:PIN"),
        environment,
        unattended,
      });
    for (const [mark, unattended, taken] of [
      [0, true, true],
      [CKF_USER_PIN_COUNT_LOW, false, true],
      [CKF_USER_PIN_COUNT_LOW, true, false],
      [CKF_USER_PIN_FINAL_TRY, false, false],
      [CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY, true, false],
    ] as const) {
      logins.length = 0;
      flags = mark;
      const run = () => begin(unattended).run(() => "went on");
      if (taken) expect(run()).toBe("went on");
      else expect(run).toThrow("it is not tried");
      expect(logins).toHaveLength(taken ? 1 : 0);
    }
    // A new PIN after one that was refused here, and the right one after a session that was lost, are tried.
    flags = 0;
    environment["PIN"] = "wrong";
    const session = begin(true);
    expect(() => session.run(() => "went on")).toThrow("CKR_PIN_INCORRECT");
    flags = CKF_USER_PIN_COUNT_LOW;
    environment["PIN"] = hsm.pin;
    expect(session.run(() => "went on")).toBe("went on");
    session.close();
    expect(session.run(() => "went on")).toBe("went on");
  });

  test("no key, two of one name, and keys of a kind or strength that nobody should sign with", async () => {
    expect(await failure(at("token=contract;object=nobody").openNamed())).toMatchObject({ code: "KEY_MISSING" });
    expect(await failure(at("token=contract").openNamed())).toMatchObject({ code: "TOKEN_URI" });
    bring(PAIRS["P-256"] as KeyObject, "twins", "b1");
    bring(PAIRS["P-384"] as KeyObject, "twins", "b2");
    expect(await failure(at("token=contract;object=twins").openNamed())).toMatchObject({ code: "KEY_AMBIGUOUS" });
    const second = await at("token=contract;object=twins;id=%b2").openNamed();
    expect(second.spki).toEqual(createPublicKey(PAIRS["P-384"] as KeyObject).export({ type: "spki", format: "der" }));
    bring(WEAK, "weak", "b3");
    expect(await failure(at("token=contract;object=weak").openNamed())).toMatchObject({ code: "KEY_MALFORMED" });
    // What is kept in the place of a key says which kind it is.
    expect(await failure(token.hmac("pkcs11:object=P-256;type=secret-key", Buffer.of(1)))).toMatchObject({ code: "KEY_MISSING" });
  });
});
