/**
 * Event logs published by google/go-attestation (attest/testdata at 01dcb11, Apache-2.0), and a Windows vTPM's quote over the PCRs of one.
 * They are read from `../shared/corpora/go-attestation` beside the project, which asks not to be copied: skipped where it is absent, required under CI.
 */
import { createPublicKey, hash, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseQuote } from "@hullmark/verifier/core/endorsement/tpm-attest";
import { bootClaims, holdAgainst, parseEventLog, replay } from "@hullmark/verifier/core/measured-boot/index";
import { describe, expect, it } from "vitest";

const corpus = new URL("../../../shared/corpora/go-attestation/", import.meta.url).pathname;
const present = existsSync(corpus);
const bytesOf = (name: string): Buffer => readFileSync(join(corpus, name));

/** The log held against the PCRs that it leads to itself: what a quote of that machine would prove. */
function claimsOf(bytes: Buffer) {
  const log = parseEventLog(bytes);
  const bank = log.hashes.includes("sha256") ? "sha256" : "sha1";
  const quoted = [...replay(log, bank)].map(([index, value]) => ({ bank, index, value: value as Buffer }) as const);
  const comparison = holdAgainst(log, quoted);
  expect(comparison.differing).toEqual([]);
  return { log, bank, claims: bootClaims(log, comparison), comparison };
}

interface Windows {
  readonly AK: { readonly Public: string };
  readonly Quote: { readonly Nonce: string; readonly Quote: string; readonly Signature: string };
  readonly Log: { readonly PCRs: readonly { readonly Index: number; readonly Digest: string }[]; readonly Raw: string };
}
const base64 = (text: string): Buffer => Buffer.from(text, "base64");

if (!present && process.env["CI"])
  it("has the corpus under CI", () => {
    throw new Error("../shared/corpora/go-attestation is missing");
  });

describe.runIf(present)("go-attestation event logs", () => {
  it("tells what a GCE machine with Fedora CoreOS booted", () => {
    const { log, claims } = claimsOf(bytesOf("coreos_36_shielded_vm_no_secure_boot_eventlog"));
    expect(log).toMatchObject({ format: "crypto-agile", hashes: ["sha1", "sha256", "sha384"] });
    expect(claims).toMatchObject({ secureBoot: { state: "off" }, exitBootServices: "logged", unknown: [], errors: [] });
    expect(claims.images.map(({ name }) => name)).toEqual(["/EFI/fedora/shimx64.efi", "/EFI/fedora/grubx64.efi"]);
    expect(claims.commandLines).toEqual([expect.stringMatching(/^\(hd0,gpt3\)\/ostree\/fedora-coreos-\w+\/vmlinuz-5\.18\.13-200\.fc36\.x86_64 mitigations=auto,nosmt .*ignition\.platform\.id=gcp$/)]);
    expect(claims.files.map(({ name }) => name).filter((name) => /vmlinuz|initramfs/.test(name))).toHaveLength(2);
    expect(claims.shimLists.map(({ name }) => name)).toEqual(["MokList", "MokListX", "MokListTrusted"]);
    expect(Object.keys(claims.secureBoot.variables)).toEqual(["PK", "KEK", "db", "dbx"]);
  });

  it("tells what a GCE machine with Ubuntu booted", () => {
    const { claims } = claimsOf(bytesOf("ubuntu_2104_shielded_vm_no_secure_boot_eventlog"));
    expect(claims).toMatchObject({ secureBoot: { state: "off" }, exitBootServices: "logged", unknown: [] });
    expect(claims.commandLines).toEqual([expect.stringMatching(/^\/boot\/vmlinuz-5\.11\.0-1006-gcp root=PARTUUID=6443a6ae-e5e9-4df7-9a06-d1329e50f33c /)]);
  });

  it("names the certificates that vouched under Secure Boot, also from a shim that logs more than it measures", () => {
    const { claims } = claimsOf(bytesOf("sb_cert_eventlog"));
    expect(claims.secureBoot).toMatchObject({ state: "on", detail: "" });
    expect(claims.secureBoot.authorities.map(({ variable, certificate }) => [variable, certificate])).toEqual([
      ["db", true],
      ["Shim", true],
      ["Shim", true],
    ]);
  });

  it("lists the driver of an option ROM", () => {
    const { log, claims } = claimsOf(bytesOf("option_rom_eventlog"));
    expect(log.format).toBe("sha1");
    expect(claims.secureBoot.state).toBe("on");
    expect(claims.drivers).toMatchObject([{ pcr: 2, digest: expect.stringMatching(/^bb9e123b05be/) }]);
    expect(claims.exitBootServices).toBe("logged");
  });

  it("believes no Secure Boot of a variable that is empty", () => {
    const { claims } = claimsOf(bytesOf("crypto_agile_eventlog"));
    expect(claims.secureBoot).toMatchObject({ state: "unproven", detail: "the variable SecureBoot has 0 bytes" });
  });

  it("takes PCR 5 with the hand-over that the kernel left out of the log", () => {
    const { log, claims } = claimsOf(bytesOf("ebs_event_missing_eventlog"));
    expect(claims.exitBootServices).toBe("missing");
    const extended = ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"].reduce(
      (value, text) => Buffer.from(hash("sha1", Buffer.concat([value, hash("sha1", text, "buffer")]), "hex"), "hex"),
      replay(log, "sha1").get(5) as Buffer,
    );
    const comparison = holdAgainst(log, [{ bank: "sha1", index: 5, value: extended }]);
    expect(comparison).toMatchObject({ differing: [], exitAssumed: true });
    expect(bootClaims(log, comparison).exitBootServices).toBe("assumed");
  });

  it("starts PCR 0 at the locality that the log tells", () => {
    const log = parseEventLog(bytesOf("short_no_action_eventlog"));
    expect(replay(log, "sha1").size).toBe(0);
    expect(holdAgainst(log, [{ bank: "sha1", index: 0, value: Buffer.from(`${"00".repeat(19)}03`, "hex") }]).differing).toEqual([]);
    expect(holdAgainst(log, [{ bank: "sha1", index: 0, value: Buffer.alloc(20) }]).differing).toHaveLength(1);
  });

  it("replays a Windows vTPM's log to the PCRs of its quote, whose signature holds", () => {
    const { AK, Quote, Log } = JSON.parse(bytesOf("windows_gcp_shielded_vm.json").toString()) as Windows;
    const attest = base64(Quote.Quote);
    const signature = base64(Quote.Signature);
    // TPMT_SIGNATURE: RSASSA (0x0014), hash, TPM2B; TPMT_PUBLIC ends with the modulus.
    expect(signature.readUInt16BE(0)).toBe(0x14);
    const algorithm = signature.readUInt16BE(2) === 0x0b ? "sha256" : "sha1";
    const n = base64(AK.Public).subarray(-256).toString("base64url");
    const key = createPublicKey({ key: { kty: "RSA", n, e: "AQAB" }, format: "jwk" });
    expect(verify(algorithm, attest, key, signature.subarray(6))).toBe(true);
    const flipped = Buffer.from(attest);
    flipped[40] = (flipped[40] as number) ^ 1;
    expect(verify(algorithm, flipped, key, signature.subarray(6))).toBe(false);

    const quote = parseQuote(attest);
    expect(quote.extraData).toEqual(base64(Quote.Nonce));
    const values = new Map(Log.PCRs.map(({ Index, Digest }) => [Index, base64(Digest)]));
    const [selection] = quote.selection;
    expect(selection?.bank).toBe("sha1");
    const digest = hash(algorithm, Buffer.concat((selection?.pcrs ?? []).map((pcr) => values.get(pcr) as Buffer)), "buffer");
    expect(quote.pcrDigest).toEqual(digest);

    const log = parseEventLog(base64(Log.Raw));
    const comparison = holdAgainst(log, [...values].map(([index, value]) => ({ bank: "sha1", index, value })));
    expect(comparison.differing).toEqual([]);
    expect(bootClaims(log, comparison)).toMatchObject({ secureBoot: { state: "on" } });
    for (const pcr of [0, 4, 7, 11, 12, 13, 14]) expect(comparison.proven.get(pcr)).toBe("sha1");
  });
});
