/** The `hullmark` command as people run it, in this process, against a verifier of a test. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { OperatorRole } from "@hullmark/verifier/ports/certificate-authority";
import { program } from "hullmark/program";
import { vi } from "vitest";
import type { TestVerifier } from "./verifier.ts";

export interface Ran {
  readonly code: unknown;
  readonly out: string;
  readonly err: string;
}

/**
 * @param role whose certificate is shown; undefined: the admin's that the verifier made. Addresses are those of now.
 * @returns runs the command, and tells what it printed and how it would end. One at a time.
 */
export async function hullmarkOf(verifier: TestVerifier, role?: OperatorRole): Promise<(...args: string[]) => Promise<Ran>> {
  const admin = join(verifier.directory, "state/admin");
  const [config, cert, key] = ["yaml", "crt", "key"].map((ending) => join(verifier.directory, `cli-${role ?? "admin"}.${ending}`)) as [string, string, string];
  if (role) {
    const made = await verifier.certify((authority, spki) => authority.issueOperator(role, `some-${role}`, spki, 3_600_000));
    writeFileSync(key, made.key, { mode: 0o600 });
    writeFileSync(cert, made.pem);
  }
  const files = role ? { certFile: cert, keyFile: key } : { certFile: join(admin, "client.crt"), keyFile: join(admin, "client.key") };
  const context = { address: verifier.mainAddress, caFile: join(admin, "ca.crt"), ...files };
  writeFileSync(config, JSON.stringify({ currentContext: "t", contexts: { t: context } }));
  return async (...args) => await runHullmark(["--config", config, ...args]);
}

/** One at a time. @param said fills while it runs @returns what it printed, and how it would end */
export async function runHullmark(args: readonly string[], said = { out: "", err: "" }): Promise<Ran> {
  const keep = (name: "out" | "err") => (text: string | Uint8Array) => {
    said[name] += text;
    return true;
  };
  const spies = [vi.spyOn(process.stdout, "write").mockImplementation(keep("out")), vi.spyOn(process.stderr, "write").mockImplementation(keep("err"))];
  try {
    await (await program("hullmark", args)).parseAsync([...args], { from: "user" });
    return { code: process.exitCode, ...said };
  } finally {
    process.exitCode = undefined;
    for (const spy of spies) spy.mockRestore();
  }
}
