/** Released cosign, built from its Go module by deploy/testbed/go-tools.sh: signatures by somebody else's code. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const REPOSITORY = new URL("../..", import.meta.url).pathname;

/** v2.6.5 and v3.1.3. */
export type CosignVersion = "v2" | "v3";

export interface CosignKey {
  readonly privateKey: string;
  readonly publicKeyPath: string;
}

/** Runs cosign with an own home, so that neither a login nor a trust root of this machine takes part. Rejects with its output. */
export async function cosign(version: CosignVersion, home: string, args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<string> {
  const path = join(process.env["HULLMARK_STATE"] ?? join(REPOSITORY, ".hullmark"), "tools", "bin", `cosign-${version}`);
  accessSync(path, constants.X_OK);
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    COSIGN_PASSWORD: "",
    COSIGN_YES: "true",
    COSIGN_EXPERIMENTAL: "1",
    SIGSTORE_NO_CACHE: "true",
    ...more,
  };
  const { stdout, stderr } = await run(path, [...args], { env, timeout: 60_000, cwd: home, maxBuffer: 16 * 1024 * 1024 });
  return `${stdout}${stderr}`;
}

export async function cosignKeyPair(version: CosignVersion, home: string, name: string): Promise<CosignKey> {
  await cosign(version, home, ["generate-key-pair", "--output-key-prefix", join(home, name)]);
  return { privateKey: join(home, `${name}.key`), publicKeyPath: join(home, `${name}.pub`) };
}
