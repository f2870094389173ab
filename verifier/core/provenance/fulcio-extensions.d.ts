/** What Fulcio writes into its certificates beside the subject (sigstore/fulcio, docs/oid-info.md): names as policies use them, last arc of 1.3.6.1.4.1.57264.1. */
/** Strings in DER UTF8String. The issuer (8) is matched by its own key; 1 to 7 are the older forms of these and decide nothing. */
declare const LAST_ARC: {
  readonly buildSignerURI: 9;
  readonly buildSignerDigest: 10;
  readonly runnerEnvironment: 11;
  readonly sourceRepositoryURI: 12;
  readonly sourceRepositoryDigest: 13;
  readonly sourceRepositoryRef: 14;
  readonly sourceRepositoryIdentifier: 15;
  readonly sourceRepositoryOwnerURI: 16;
  readonly sourceRepositoryOwnerIdentifier: 17;
  readonly buildConfigURI: 18;
  readonly buildConfigDigest: 19;
  readonly buildTrigger: 20;
  readonly runInvocationURI: 21;
  readonly sourceRepositoryVisibilityAtSigning: 22;
};
export type FulcioExtension = keyof typeof LAST_ARC;
export declare const FULCIO_EXTENSION_NAMES: [FulcioExtension, ...FulcioExtension[]];
/** Object identifier → name. */
export declare const FULCIO_EXTENSIONS: ReadonlyMap<string, FulcioExtension>;
