/** The key that a policy trusts for drills: two files which the policy names, one as an authority's, one as a revocation's, and which the verifier follows. Policy itself is never written. */
import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { because } from "../output/because.ts";
import { replaceFile } from "../output/replace-file.ts";
import { type SigningKey, temporaryKey } from "../signing/keys.ts";
import { DrillError } from "./target.ts";

export const DRILL_AUTHORITY = "hullmark-drill";

/** A new key for one run; its private half is in memory alone. Trusted it is only between {@link trust} and {@link revoke}. */
export class DrillKey {
  readonly #key: SigningKey;
  readonly #trusted: string;
  readonly #revoked: string;
  #standing: "unknown" | "trusted" | "revoked" = "unknown";

  /** @param directory of the two files */
  constructor(directory: string) {
    this.#key = temporaryKey();
    this.#trusted = join(resolve(directory), `${DRILL_AUTHORITY}.pub`);
    this.#revoked = join(resolve(directory), `${DRILL_AUTHORITY}-revoked.pub`);
  }

  /** Whether both files are there. */
  get isPrepared(): boolean {
    return existsSync(this.#trusted) && existsSync(this.#revoked);
  }

  /** Makes the files, so that a policy can name them: one key that is trusted and revoked, which is trusted by nothing. @throws DrillError NO_START */
  prepare(directory: string): void {
    try {
      mkdirSync(directory, { recursive: true });
    } catch (cause) {
      throw new DrillError("NO_START", `${directory} cannot be made: ${because(cause)}`, { cause });
    }
    this.#write(this.#revoked);
    this.#write(this.#trusted);
  }

  /** What the policy must say. @param repository `host[:port]/name` */
  wanted(repository: string): string {
    return [
      `to spec.authorities { name: ${DRILL_AUTHORITY}, keyFile: ${JSON.stringify(this.#trusted)} }`,
      `to spec.revocations { reason: hullmark drill, keyFile: ${JSON.stringify(this.#revoked)} }`,
      `and first to spec.rules { name: ${DRILL_AUTHORITY}, select: { images: ["${repository}@*"] }, require: { signatures: { authorities: [${DRILL_AUTHORITY}] } } }`,
    ].join(", ");
  }

  get revokedFile(): string {
    return this.#revoked;
  }

  get signer(): Pick<SigningKey, "hint" | "sign"> {
    return this.#key;
  }

  /** @throws DrillError NO_START */
  trust(): void {
    this.#standing = "trusted";
    this.#write(this.#trusted);
  }

  /** Once and for all. Nothing where it was not trusted. @throws DrillError NO_START */
  revoke(): void {
    if (this.#standing !== "trusted") return;
    this.#write(this.#revoked);
    this.#standing = "revoked";
  }

  #write(path: string): void {
    try {
      replaceFile(path, this.#key.publicKeyPem, 0o644);
    } catch (cause) {
      throw new DrillError("NO_START", `${path} cannot be written: ${because(cause)}`, { cause });
    }
  }
}
