/**
 * A wire between a client and a software TPM. It counts what is asked, answers in the TPM's place where a test wants a fault that a TPM does not show on demand,
 * and lets a test give the TPM commands of its own meanwhile, as a resource manager would: the TPM itself serves one client at a time.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Swtpm } from "./swtpm.ts";
import { authorized, u16, u32 } from "./tpm-command.ts";

export const TPM_CC = { clear: 0x126, clockSet: 0x128, dictionaryAttackParameters: 0x13a, nvDefineSpace: 0x12a, nvWrite: 0x137, quote: 0x158 } as const;
/** TPM_RC of format zero (TPM 2.0 Part 2, 6.6.3). */
export const TPM_RC = { failure: 0x101, yielded: 0x908, testing: 0x90a, nvRate: 0x920, lockout: 0x921, retry: 0x922, nvUnavailable: 0x923 } as const;
const HEADER_BYTES = 10;
const TPM_RH_OWNER = 0x40000001;
const TPM_RH_LOCKOUT = 0x4000000a;

export class TpmProxy {
  /** What is answered instead of the TPM to a command (TPM_CC); undefined: the TPM is asked. Set by the test. */
  fault: (command: number) => number | undefined = () => undefined;
  /** TPM_CC → how often it was asked by the client. */
  readonly asked = new Map<number, number>();
  readonly #tpm: Swtpm;
  readonly #directory: string;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  #upstream: Socket | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(tpm: Swtpm, directory: string) {
    this.#tpm = tpm;
    this.#directory = directory;
    this.#server = createServer((client) => void this.#serve(client));
  }

  static async start(tpm: Swtpm): Promise<TpmProxy> {
    const proxy = new TpmProxy(tpm, await mkdtemp(join(tmpdir(), "hullmark-tpm-")));
    await new Promise<void>((resolve) => proxy.#server.listen(proxy.#path, resolve));
    return proxy;
  }

  get #path(): string {
    return join(this.#directory, "sock");
  }

  get tcti(): string {
    return `swtpm:path=${this.#path}`;
  }

  /** Gives the TPM one command (a whole TPM2 command packet), between those of the client. @returns the whole answer */
  command(packet: Buffer): Promise<Buffer> {
    const answer = this.#turn.then(async () => {
      const upstream = await this.#connected();
      upstream.write(packet);
      return await packetOf(upstream);
    });
    this.#turn = answer.catch(() => undefined);
    return answer;
  }

  /** Hangs up, as the TPM does that is switched off. */
  async stop(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    this.#upstream?.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#directory, { recursive: true });
  }

  async #serve(client: Socket): Promise<void> {
    this.#clients.add(client);
    client.on("error", () => undefined);
    try {
      for (;;) {
        const packet = await packetOf(client);
        const code = packet.readUInt32BE(6);
        this.asked.set(code, (this.asked.get(code) ?? 0) + 1);
        const fault = this.fault(code);
        client.write(fault === undefined ? await this.command(packet) : answerOf(fault));
      }
    } catch {
      client.destroy();
    } finally {
      this.#clients.delete(client);
    }
  }

  async #connected(): Promise<Socket> {
    if (this.#upstream && !this.#upstream.destroyed && this.#upstream.writable) return this.#upstream;
    const socket = createConnection(this.#tpm.socket);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.on("error", () => undefined);
    this.#upstream = socket;
    return socket;
  }
}

/** TPM_ST_NO_SESSIONS and a response code. */
function answerOf(rc: number): Buffer {
  const packet = Buffer.alloc(HEADER_BYTES);
  packet.writeUInt16BE(0x8001, 0);
  packet.writeUInt32BE(HEADER_BYTES, 2);
  packet.writeUInt32BE(rc, 6);
  return packet;
}

/** The next whole packet. @throws where the other side hangs up */
async function packetOf(socket: Socket): Promise<Buffer> {
  let got = Buffer.alloc(0);
  while (got.length < HEADER_BYTES || got.length < got.readUInt32BE(2)) got = Buffer.concat([got, await arrival(socket)]);
  return got;
}

function arrival(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (socket.destroyed) return reject(new Error("hung up"));
    const settle = (act: () => void): void => {
      socket.off("data", data).off("close", closed).pause();
      act();
    };
    const data = (bytes: Buffer): void => settle(() => resolve(bytes));
    const closed = (): void => settle(() => reject(new Error("hung up")));
    socket.on("data", data).on("close", closed).resume();
  });
}

/** TPM2_Clear by the lockout hierarchy, whose authValue is empty: what takes every key below its owner and its endorsement away. @throws unless the TPM does it */
export async function clearTpm(proxy: TpmProxy): Promise<void> {
  succeeded(await proxy.command(authorized(TPM_CC.clear, [TPM_RH_LOCKOUT])));
}

/** TPM2_ClockSet by the owner, whose authValue is empty. @param clockMs not before what it is @throws unless the TPM does it */
export async function setClock(proxy: TpmProxy, clockMs: bigint): Promise<void> {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(clockMs);
  succeeded(await proxy.command(authorized(TPM_CC.clockSet, [TPM_RH_OWNER], time)));
}

/** Dictionary-attack lockout, by a wrong password for an NV index that is subject to it. Lasts longer than any test. @throws unless the TPM is locked out after */
export async function lockOut(proxy: TpmProxy): Promise<void> {
  const index = 0x01800042;
  succeeded(await proxy.command(authorized(TPM_CC.dictionaryAttackParameters, [TPM_RH_LOCKOUT], Buffer.concat([1, 10_000, 10_000].map(u32)))));
  // TPMS_NV_PUBLIC: SHA-256, read and written by owner and authValue (without TPMA_NV_NO_DA), no policy, 8 bytes.
  const area = Buffer.concat([u32(index), u16(0x000b), u32(0x00060006), u16(0), u16(8)]);
  const auth = Buffer.from("right");
  succeeded(await proxy.command(authorized(TPM_CC.nvDefineSpace, [TPM_RH_OWNER], Buffer.concat([u16(auth.length), auth, u16(area.length), area]))));
  const write = (password: string): Promise<Buffer> =>
    proxy.command(authorized(TPM_CC.nvWrite, [index, index], Buffer.concat([u16(8), Buffer.alloc(8), u16(0)]), password));
  // The first time it only notes that such an authorisation is used, and answers TPM_RC_RETRY.
  for (const _ of [1, 2]) await write("wrong");
  const rc = (await write("right")).readUInt32BE(6);
  if (rc !== TPM_RC.lockout) throw new Error(`not locked out: 0x${rc.toString(16)}`);
}

function succeeded(answer: Buffer): void {
  const rc = answer.readUInt32BE(6);
  if (rc !== 0) throw new Error(`the TPM answers 0x${rc.toString(16)}`);
}
