/** Facts of the node and of this process that are read once. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { arch, release } from "node:os";
import { addonPath } from "@hullmark/native";

/** capabilities(7): what the agent uses, by bit. */
const USED_CAPABILITIES: readonly (readonly [string, number])[] = [
  ["CAP_DAC_READ_SEARCH", 2],
  ["CAP_SYS_PTRACE", 19],
  ["CAP_SYS_ADMIN", 21],
];

const CHUNK_BYTES = 256 * 1024;

export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
}

export function kernelRelease(): string {
  return release();
}

export function architecture(): string {
  return arch();
}

/** Capabilities that the agent would use and that its effective set lacks. */
export function missingCapabilities(): string[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0"}`);
  return USED_CAPABILITIES.filter(([, bit]) => ((effective >> BigInt(bit)) & 1n) === 0n).map(([name]) => name);
}

/** SHA-256 of the agent's own files: Node, the bundle (or main module) and the addon. */
export async function ownDigests(agentPath: string): Promise<Record<string, Buffer>> {
  const digests: Record<string, Buffer> = {};
  for (const [name, path] of Object.entries({ node: process.execPath, agent: agentPath, addon: addonPath() })) {
    if (!existsSync(path)) continue;
    digests[name] = await digestOf(path);
  }
  return digests;
}

/** By one buffer: the chunks of a stream over Node's 120 MB are garbage faster than it is collected. */
async function digestOf(path: string): Promise<Buffer> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const file = await open(path);
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES);
      if (bytesRead === 0) return hash.digest();
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}
