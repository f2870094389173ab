/** NV indices of a software TPM, by its own commands over its socket: what a maker does in the factory. No other client may be connected. */
import { createConnection, type Socket } from "node:net";
import { authorized, u16, u32 } from "./tpm-command.ts";

const TPM_RH_OWNER = 0x40000001;
const COMMAND = { undefine: 0x122, define: 0x12a, write: 0x137 } as const;
const ALG_SHA256 = 0x000b;
/** TPMA_NV: written and read by owner or authValue, which is empty; no lockout. */
export const NV_READABLE = 0x02060006;
/** Written by the owner, read by policy alone: nobody reads it. */
export const NV_UNREADABLE = 0x02080002;
const CHUNK_BYTES = 512;

/**
 * Defines an index anew with this content. undefined: it is defined and never written.
 * @param size of the index, where it is larger than the content: the rest is 0xff, as of many makers
 */
export async function writeNv(path: string, index: number, content: Buffer | undefined, { attributes = NV_READABLE, size = content?.length ?? 64 } = {}) {
  const socket = createConnection(path);
  try {
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    // Fails where there is none: it is what was wanted.
    await exchange(socket, COMMAND.undefine, [TPM_RH_OWNER, index], Buffer.alloc(0));
    const area = Buffer.concat([u32(index), u16(ALG_SHA256), u32(attributes), u16(0), u16(size)]);
    await run(socket, COMMAND.define, [TPM_RH_OWNER], Buffer.concat([u16(0), u16(area.length), area]));
    if (!content) return;
    const bytes = Buffer.concat([content, Buffer.alloc(size - content.length, 0xff)]);
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES);
      await run(socket, COMMAND.write, [TPM_RH_OWNER, index], Buffer.concat([u16(chunk.length), chunk, u16(at)]));
    }
  } finally {
    socket.destroy();
  }
}

async function run(socket: Socket, command: number, handles: readonly number[], parameters: Buffer): Promise<void> {
  const code = await exchange(socket, command, handles, parameters);
  if (code !== 0) throw new Error(`TPM command 0x${command.toString(16)}: 0x${code.toString(16)}`);
}

/** @returns TPM_RC */
async function exchange(socket: Socket, command: number, handles: readonly number[], parameters: Buffer): Promise<number> {
  socket.write(authorized(command, handles, parameters));
  let got = Buffer.alloc(0);
  while (got.length < 10 || got.length < got.readUInt32BE(2)) got = Buffer.concat([got, await arrival(socket)]);
  return got.readUInt32BE(6);
}

function arrival(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      socket.removeAllListeners("data").removeAllListeners("close").pause();
      act();
    };
    socket.once("data", (bytes: Buffer) => settle(() => resolve(bytes)));
    socket.once("close", () => settle(() => reject(new Error("the TPM hung up"))));
    socket.resume();
  });
}
