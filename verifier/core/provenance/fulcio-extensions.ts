/** What Fulcio writes into its certificates beside the subject (sigstore/fulcio, docs/oid-info.md): names as policies use them, last arc of 1.3.6.1.4.1.57264.1. */

/** Strings in DER UTF8String. The issuer (8) is matched by its own key; 1 to 7 are the older forms of these and decide nothing. */
const LAST_ARC = {
  buildSignerURI: 9,
  buildSignerDigest: 10,
  runnerEnvironment: 11,
  sourceRepositoryURI: 12,
  sourceRepositoryDigest: 13,
  sourceRepositoryRef: 14,
  sourceRepositoryIdentifier: 15,
  sourceRepositoryOwnerURI: 16,
  sourceRepositoryOwnerIdentifier: 17,
  buildConfigURI: 18,
  buildConfigDigest: 19,
  buildTrigger: 20,
  runInvocationURI: 21,
  sourceRepositoryVisibilityAtSigning: 22,
} as const;

export type FulcioExtension = keyof typeof LAST_ARC;
export const FULCIO_EXTENSION_NAMES = Object.keys(LAST_ARC) as [FulcioExtension, ...FulcioExtension[]];

/** Object identifier → name. */
export const FULCIO_EXTENSIONS: ReadonlyMap<string, FulcioExtension> = new Map(
  FULCIO_EXTENSION_NAMES.map((name) => [`1.3.6.1.4.1.57264.1.${LAST_ARC[name]}`, name]),
);
