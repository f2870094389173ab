/** What authorities say of certificates that they have taken back, as it was fetched last. Not verified: whoever stands between us and an authority wrote the bytes. */
export interface RevocationAnswers {
  /** At once; undefined: not fetched yet, or never an answer that can be read. Kept past the time for which it was meant: whoever reads it looks at its dates. */
  get(url: string): Buffer | undefined;
  /** Why the last attempt failed; undefined: it did not. */
  problem(url: string): string | undefined;
  /**
   * Fetches what is not there or is due again; what failed is asked for again only after a pause. Never rejects: an authority that fails is a {@link problem}.
   * @param urls that a judgement asked for: named by certificates that chain to a trust store
   * @param waiting ends the caller's waiting; what was asked for goes on, and is there later @returns whether anything was due
   */
  refresh(urls: readonly string[], waiting: AbortSignal): Promise<boolean>;
}
