/** The {@link Quoter} over a real TPM 2.0. States: closed → open (connected, AK loaded); any failure of the TPM leads back to closed. */
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { type AkId, EK_KINDS, type EkKind, Tpm, type TpmEkCertificates, type TpmEndorsement, TpmError } from "@hullmark/native";
import { type PcrBank, type Quote, type Quoter, QuoterError, type QuoterErrorCode, type QuoterHealth, type QuoterIdentity } from "../../ports/quoter.ts";
import { readAk, type StoredAk, writeAk } from "./ak-file.ts";

export interface Tpm2QuoterOptions {
  /** See `Tpm.open`. */
  readonly tcti: string;
  /** Directory of the AK's file `ak.json`. It must exist. */
  readonly stateDir: string;
  /** Which EK; `auto` (default): the first of {@link EK_KINDS} that has a certificate, else P-256. Kept once an AK was made. */
  readonly ek?: EkKind | "auto";
  /** PCR banks of a quote, each once. Default sha256. */
  readonly banks?: readonly PcrBank[];
  /** Longest wait for one call, connecting included. Default 60,000: slow chips take seconds to make a key. */
  readonly timeoutMs?: number;
  /** Told when the TPM was cleared or is another one and a new AK was made: whoever knew the old one has to learn the new one. */
  readonly akReplaced?: () => void;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_QUOTE_ATTEMPTS = 4;
const DEFAULT_BANKS: readonly PcrBank[] = ["sha256"];

interface Connection {
  readonly tpm: Tpm;
  readonly stored: StoredAk;
  readonly ak: AkId;
  readonly endorsement: TpmEndorsement;
  readonly certificates: TpmEkCertificates;
}

export class Tpm2Quoter implements Quoter {
  readonly #options: Tpm2QuoterOptions;
  /** The TPM that is being opened or is open; kept apart so that a timeout can abort it. */
  #tpm: Tpm | undefined;
  #connection: Connection | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #health: QuoterHealth | undefined;

  constructor(options: Tpm2QuoterOptions) {
    this.#options = options;
  }

  identify(signal: AbortSignal): Promise<QuoterIdentity> {
    return this.#run(signal, async ({ endorsement, certificates, stored }) => ({
      ekPublic: endorsement.publicArea,
      ekCertificate: certificates.certificate ?? undefined,
      ekIntermediates: certificates.intermediates,
      akPublic: stored.blobs.publicArea,
    }));
  }

  activate(credentialBlob: Buffer, encryptedSecret: Buffer, signal: AbortSignal): Promise<Buffer> {
    return this.#run(signal, async ({ tpm, ak, stored }) => {
      try {
        return await tpm.activate(stored.ekKind, ak, stored.auth, credentialBlob, encryptedSecret);
      } catch (error) {
        const code = error instanceof TpmError ? error.code : undefined;
        if (code === "ABSENT" || code === "BUSY" || code === "LOCKOUT") throw error;
        throw new QuoterError("REFUSED", "the credential was not made for this TPM and AK", { cause: error });
      }
    });
  }

  quote(extraData: Buffer, pcrs: readonly number[], signal: AbortSignal): Promise<Quote> {
    return this.#run(signal, (connection) => quoteOnce(connection, extraData, this.#options.banks ?? DEFAULT_BANKS, pcrs));
  }

  async health(signal: AbortSignal): Promise<QuoterHealth> {
    if (!this.#health) await this.#run(signal, async () => undefined).catch(() => undefined);
    signal.throwIfAborted();
    return this.#health ?? { ok: false, detail: "not asked yet" };
  }

  async close(): Promise<void> {
    await this.#queue;
    await this.#disconnect();
  }

  /** One call at a time: connects where needed, bounds the time, and disconnects after a failure of the TPM. */
  #run<T>(signal: AbortSignal, work: (connection: Connection) => Promise<T>): Promise<T> {
    const call = this.#queue.then(async () => {
      signal.throwIfAborted();
      try {
        const result = await this.#bounded(signal, async () => work(await this.#connect()));
        this.#health = { ok: true, detail: "ok" };
        return result;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        const failure = toQuoterError(error);
        if (failure.code !== "REFUSED" && failure.code !== "BUSY") await this.#disconnect();
        this.#health = failure.code === "REFUSED" ? { ok: true, detail: "ok" } : { ok: false, detail: failure.message };
        throw failure;
      }
    });
    this.#queue = call.catch(() => undefined);
    return call;
  }

  /** A call that outlasts its time or its signal is made to fail in the TPM client, and waited for: nothing is left running. */
  async #bounded<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const timeoutMs = this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const abort = (): void => this.#tpm?.abort();
    limit.addEventListener("abort", abort, { once: true });
    try {
      return await work();
    } catch (error) {
      if (limit.aborted && !signal.aborted) throw new QuoterError("TIMEOUT", `the TPM did not answer within ${timeoutMs} ms`, { cause: error });
      throw error;
    } finally {
      limit.removeEventListener("abort", abort);
    }
  }

  async #connect(): Promise<Connection> {
    if (this.#connection) return this.#connection;
    const tpm = new Tpm();
    this.#tpm = tpm;
    await tpm.open(this.#options.tcti);
    const path = join(this.#options.stateDir, "ak.json");
    const stored = (await readAk(path)) ?? (await this.#makeAk(tpm, path));
    const endorsement = await tpm.endorsement(stored.ekKind);
    const certificates = await tpm.ekCertificates(stored.ekKind);
    const ak = await this.#load(tpm, stored, path);
    await refuseOracle(tpm, ak);
    this.#connection = { tpm, stored, ak, endorsement, certificates };
    return this.#connection;
  }

  async #makeAk(tpm: Tpm, path: string): Promise<StoredAk> {
    const ekKind = await this.#chooseEk(tpm);
    const auth = randomBytes(32);
    const stored = { ekKind, auth, blobs: await tpm.createAk(ekKind, auth) };
    await writeAk(path, stored);
    return stored;
  }

  async #chooseEk(tpm: Tpm): Promise<EkKind> {
    const { ek = "auto" } = this.#options;
    if (ek !== "auto") return ek;
    for (const kind of EK_KINDS) if ((await tpm.ekCertificates(kind)).certificate) return kind;
    return "p256";
  }

  /** An AK that this TPM does not know is of no use to anyone: it is replaced, and the verifier has to enrol the new one. */
  async #load(tpm: Tpm, stored: StoredAk, path: string): Promise<AkId> {
    try {
      return await tpm.loadAk(stored.ekKind, stored.blobs);
    } catch (error) {
      if (TpmError.from(error).code !== "REPLACED") throw error;
      await this.#makeAk(tpm, path);
      this.#options.akReplaced?.();
      throw new QuoterError("REPLACED", "the TPM was replaced or cleared; a new attestation key was made", { cause: error });
    }
  }

  async #disconnect(): Promise<void> {
    const tpm = this.#tpm;
    this.#tpm = undefined;
    this.#connection = undefined;
    await tpm?.close().catch(() => undefined);
  }
}

/** PCRs may be extended between reading and quoting: the digest at the end of the attest tells, and both are done again. */
async function quoteOnce({ tpm, ak, stored }: Connection, extraData: Buffer, banks: readonly PcrBank[], pcrs: readonly number[]): Promise<Quote> {
  const selection = pcrs.length > 0 ? banks.map((hash) => ({ hash, pcrs })) : [];
  for (let attempt = 0; attempt < MAX_QUOTE_ATTEMPTS; attempt++) {
    const read = await tpm.readPcrs(selection);
    const missing = read.find(({ values }) => values.length === 0);
    // Were it asked to, the TPM would quote without the bank.
    if (missing) throw new QuoterError("FAILED", `the TPM has no ${missing.hash} bank of PCRs`);
    const values = read.flatMap((bank, i) => bank.values.map(({ pcr, digest }) => ({ bank: banks[i] as PcrBank, index: pcr, value: digest })));
    const { attest, signature } = await tpm.quote(ak, stored.auth, extraData, selection);
    const digest = createHash("sha256");
    for (const { value } of values) digest.update(value);
    if (attest.subarray(-32).equals(digest.digest())) return { attest, signature, pcrs: values };
  }
  throw new QuoterError("BUSY", `PCRs changed during each of ${MAX_QUOTE_ATTEMPTS} quotes`);
}

/** An AK that quotes for anyone makes every user of the TPM a node's voice. */
async function refuseOracle(tpm: Tpm, ak: AkId): Promise<void> {
  const refused = await tpm.quote(ak, Buffer.alloc(0), Buffer.alloc(32), []).then(
    () => false,
    (error: unknown) => {
      if (TpmError.from(error).code === "AUTH") return true;
      throw error;
    },
  );
  if (!refused) throw new QuoterError("QUOTING_ORACLE", "the attestation key quotes without its authValue");
}

function toQuoterError(error: unknown): QuoterError {
  if (error instanceof QuoterError) return error;
  if (!(error instanceof TpmError)) return new QuoterError("FAILED", error instanceof Error ? error.message : String(error), { cause: error });
  const codes: Partial<Record<TpmError["code"], QuoterErrorCode>> = { ABSENT: "ABSENT", BUSY: "BUSY", LOCKOUT: "LOCKOUT", REPLACED: "REPLACED" };
  return new QuoterError(codes[error.code] ?? "FAILED", error.message, { cause: error });
}
