/** The small types of the policy file: each says what it wants in `fix`, which the reader of an error sees. */
import { createPublicKey } from "node:crypto";
import { compileGlob } from "@hullmark/proto/codec";
import * as z from "zod";
import { compileCondition } from "./condition.ts";

/** Reports a wrong value together with what to write instead. */
export function fail(context: { addIssue: (issue: { code: "custom"; message: string; params: { fix: string } }) => void }, message: string, fix: string): void {
  context.addIssue({ code: "custom", message, params: { fix } });
}

const UNIT_SECONDS = { s: 1, m: 60, h: 3600, d: 86400 } as const;

/** `90s`, `5m`, `2h`, `7d` → seconds, within bounds (inclusive). */
export function duration(minSeconds: number, maxSeconds: number) {
  return z.string().transform((text, context) => {
    const [, digits, unit] = /^([0-9]{1,7})([smhd])$/.exec(text) ?? [];
    const seconds = Number(digits) * UNIT_SECONDS[(unit ?? "s") as keyof typeof UNIT_SECONDS];
    if (unit === undefined) fail(context, `"${text}" is not a duration`, "write a whole number and a unit: 30s, 5m, 2h or 7d");
    else if (seconds < minSeconds || seconds > maxSeconds) fail(context, `"${text}" is out of range`, `use ${minSeconds}s to ${maxSeconds}s`);
    return seconds;
  });
}

const UNIT_BYTES = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;

/** `512MiB`, `64GiB` → bytes. */
export const byteCount = z.string().transform((text, context) => {
  const [, digits, unit] = /^([0-9]{1,6})([KMGT]iB)$/.exec(text) ?? [];
  if (unit === undefined) fail(context, `"${text}" is not a size`, "write a whole number and KiB, MiB, GiB or TiB: 64GiB");
  return Number(digits) * UNIT_BYTES[(unit ?? "KiB") as keyof typeof UNIT_BYTES];
});

/** RFC 3339 → Unix milliseconds. */
export const instant = z.string().transform((text, context) => {
  const [, day] = /^(\d{4}-\d{2}-\d{2})T(?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,3})?(?:Z|[+-]\d{2}:\d{2})$/.exec(text) ?? [];
  const ms = day === undefined ? Number.NaN : Date.parse(text);
  // Node reads the 31st of a shorter month as a day of the next.
  if (Number.isNaN(ms) || new Date(`${day}T00:00:00Z`).toISOString().slice(0, 10) !== day)
    fail(context, `"${text}" is not a time`, "write RFC 3339: 2026-01-31T00:00:00Z");
  return ms;
});

/** SHA-256 in hex. */
export const sha256 = z.string().transform((text, context) => {
  const hex = text.toLowerCase().replaceAll(":", "");
  if (!/^[0-9a-f]{64}$/.test(hex)) fail(context, `"${text}" is not a SHA-256`, "write 64 hexadecimal digits, as `hullmark node show` prints them");
  return hex;
});

/** What a TPM's bank is extended with, or holds: SHA-256 or SHA-384, in hex. */
export const bankDigest = z.string().transform((text, context) => {
  const hex = text.toLowerCase().replaceAll(":", "");
  if (!/^(?:[0-9a-f]{64}|[0-9a-f]{96})$/.test(hex))
    fail(context, `"${text}" is neither a SHA-256 nor a SHA-384`, "write 64 or 96 hexadecimal digits, as `hullmark node show` prints them");
  return hex;
});

/** Names that policy gives to its own things. */
export const label = z.string().superRefine((text, context) => {
  if (!/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/.test(text))
    fail(context, `"${text}" is not a name`, "use 1 to 63 of a-z, 0-9, `.`, `_` and `-`, with a letter or digit first and last");
});

/** A glob over names. */
export const glob = z.string().superRefine((text, context) => {
  const reason = globProblem(text);
  if (reason) fail(context, `"${text}" is not a glob: ${reason}`, "use literal text with `?`, `*` and `**`");
});

/**
 * A glob over who a certificate names: a URI or an e-mail address. It matches the whole name, so that it cannot be unanchored by oversight; one whose host, owner or
 * mail domain is open would be met by a name that anybody can have made (`**@refs/heads/main`, `h**`, `https://github.com/acme*`), and is refused.
 */
export const identityGlob = anchoredGlob(isAnchored, "write out host and owner, for example https://github.com/acme/*/.github/workflows/*@refs/tags/*");

/** A glob over the URI of a repository, builder or build type, which stands in what a trusted signer wrote: its host at least is written out. */
export const uriGlob = anchoredGlob(
  (glob) => isLiteral(glob) || /^(?:[a-z][a-z0-9+.-]*:\/\/[^/*?\\]+\/|[^*?\\/:]+[:/](?!\/)[^*?\\])/.test(glob),
  "write out the host, for example https://github.com/acme/*",
);

function anchoredGlob(anchored: (glob: string) => boolean, example: string) {
  return z.string().superRefine((text, context) => {
    const reason = globProblem(text);
    if (reason) return fail(context, `"${text}" is not a glob: ${reason}`, "use literal text with `?`, `*` and `**`");
    if (/^\^|\$$|\.[*+]|\\\./.test(text))
      return fail(
        context,
        `"${text}" looks like a regular expression`,
        "write a glob: it must match from the first to the last character; `*` stays within a `/`",
      );
    if (!anchored(text)) fail(context, `"${text}" is not anchored: anybody can have such a name`, example);
  });
}

/** Host and the whole first part of the path written out; or a mail domain; or no wildcard at all. */
function isAnchored(glob: string): boolean {
  if (isLiteral(glob) || /^[a-z][a-z0-9+.-]*:\/\/[^/*?\\]+\/[^/*?\\]+\//.test(glob)) return true;
  return !glob.includes("**") && /^[^/:@\\]+@[^*?/:@\\]+$/.test(glob);
}

function isLiteral(glob: string): boolean {
  return !/[*?\\]/.test(glob);
}

export const sha256Digest = z.string().superRefine((text, context) => {
  if (!/^sha256:[0-9a-f]{64}$/.test(text)) fail(context, `"${text}" is not a digest`, "write sha256: and 64 lower-case hex digits");
});

export const condition = z.string().superRefine((text, context) => {
  try {
    compileCondition(text);
  } catch (error) {
    fail(
      context,
      `is not CEL: ${error instanceof Error ? error.message : String(error)}`,
      'write a condition over `predicate` and `now`, for example predicate.result == "PASSED"',
    );
  }
});

export const commitId = z.string().superRefine((text, context) => {
  if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text))
    fail(context, `"${text}" is not a commit`, "write all 40 (or 64) lower-case hex digits: `git rev-list BAD..FIX`");
});

/** A glob over absolute paths. */
export const pathGlob = z.string().superRefine((text, context) => {
  const reason = globProblem(text);
  if (reason) return fail(context, `"${text}" is not a glob: ${reason}`, "use literal text with `?`, `*` and `**`");
  if (!text.startsWith("/")) return fail(context, `"${text}" is not absolute`, `start at the root: "/${text}"`);
  if (/\/(\.{0,2})(\/|$)/.test(text))
    fail(
      context,
      `"${text}" can match nothing: it has an empty, \`.\` or \`..\` component`,
      "write the path without it; for everything below a directory end in `/**`",
    );
});

function globProblem(text: string): string | undefined {
  try {
    compileGlob(text);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.replace(/^[A-Z_]+: /, "") : String(error);
  }
}

export const environmentName = z.string().superRefine((text, context) => {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(text)) fail(context, `"${text}" is not the name of an environment variable`, "for example WEBHOOK_TOKEN");
});

/** A file of the directory of alert secrets, without a path: whoever writes policy may use those secrets, and read no other file with them. */
export const secretFileName = z.string().superRefine((text, context) => {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(text))
    fail(context, `"${text}" is not the name of a secret's file`, "write its name only: it is looked for in the verifier's `alertSecretsDirectory`");
});

export const capability = z.string().transform((text, context) => {
  const name = text.replace(/^CAP_/i, "").toUpperCase();
  if (!CAPABILITIES.has(name)) fail(context, `"${text}" is not a Linux capability`, "for example NET_BIND_SERVICE, or ALL");
  return name;
});

/** `host:port`, brackets around IPv6. */
export const hostAndPort = z.string().transform((text, context) => {
  const [, bracketed, plain, digits] = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port < 1 || port > 65_535) fail(context, `"${text}" is not host:port`, "for example siem.example:6514");
  return { host: bracketed ?? plain ?? "", port };
});

export const httpUrl = z.string().superRefine((text, context) => {
  const url = URL.parse(text);
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:"))
    return fail(context, `"${text}" is not an http or https URL`, "for example https://alerts.example/hook");
  if (url.username || url.password) fail(context, "the URL holds a password", "put it into `headers` with `fromFile`");
});

/** @returns what is wrong with a public key in PEM, or undefined */
export function publicKeyProblem(pem: string): string | undefined {
  if (pem.length > 16_384) return "is too long for a public key";
  if (/PRIVATE KEY/.test(pem)) return "is a private key: it does not belong here, and should be replaced now that it was";
  if (!/^-----BEGIN PUBLIC KEY-----\r?\n[A-Za-z0-9+/=\r\n]+-----END PUBLIC KEY-----\s*$/.test(pem.trim())) return "is not one PEM block `BEGIN PUBLIC KEY`";
  try {
    const key = createPublicKey(pem);
    const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
    if (key.asymmetricKeyType === "ed25519") return undefined;
    if (key.asymmetricKeyType === "ec" && (namedCurve === "prime256v1" || namedCurve === "secp384r1")) return undefined;
    if (key.asymmetricKeyType === "rsa" && (modulusLength ?? 0) >= 2048) return undefined;
    return `is ${key.asymmetricKeyType} ${namedCurve ?? modulusLength ?? ""}: want ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more`;
  } catch {
    return "cannot be decoded";
  }
}

const CAPABILITIES: ReadonlySet<string> = new Set(
  `ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE
  LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
  SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM`.split(/\s+/),
);
