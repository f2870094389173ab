import { z } from "zod";
/** Reports a wrong value together with what to write instead. */
export declare function fail(
  context: {
    addIssue: (issue: {
      code: "custom";
      message: string;
      params: {
        fix: string;
      };
    }) => void;
  },
  message: string,
  fix: string,
): void;
/** `90s`, `5m`, `2h`, `7d` → seconds, within bounds (inclusive). */
export declare function duration(minSeconds: number, maxSeconds: number): z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>;
/** `512MiB`, `64GiB` → bytes. */
export declare const byteCount: z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>;
/** RFC 3339 → Unix milliseconds. */
export declare const instant: z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>;
/** SHA-256 in hex. */
export declare const sha256: z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>;
/** Names that policy gives to its own things. */
export declare const label: z.ZodString;
/** A glob over names. */
export declare const glob: z.ZodString;
/**
 * A glob over who a certificate names. It matches the whole name, so that it cannot be unanchored by oversight; one that begins with a wildcard would be
 * met by a name that anybody can have made (`**@refs/heads/main`), and is refused.
 */
export declare const identityGlob: z.ZodString;
export declare const sha256Digest: z.ZodString;
export declare const commitId: z.ZodString;
/** A glob over absolute paths. */
export declare const pathGlob: z.ZodString;
export declare const environmentName: z.ZodString;
export declare const capability: z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>;
export declare const httpUrl: z.ZodString;
/** @returns what is wrong with a public key in PEM, or undefined */
export declare function publicKeyProblem(pem: string): string | undefined;
