/** Facts of the node and of this process that are read once. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync } from "node:fs";
import { arch, release } from "node:os";
import { pipeline } from "node:stream/promises";
import { addonPath } from "@hullmark/native";

/** capabilities(7): what the agent uses, by bit. */
const USED_CAPABILITIES: readonly (readonly [string, number])[] = [
  ["CAP_DAC_READ_SEARCH", 2],
  ["CAP_SYS_PTRACE", 19],
  ["CAP_SYS_ADMIN", 21],
];

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
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    digests[name] = hash.digest();
  }
  return digests;
}
