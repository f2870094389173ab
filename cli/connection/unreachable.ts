/** Why no connection came about, out of what gRPC says: what a person can do about it. */
const REASONS: readonly (readonly [RegExp, (found: string, context: string) => string])[] = [
  [/connect ECONNREFUSED (\S+?)\.?(?=\s|$)/, (address) => `nothing listens at ${address}`],
  [/Name resolution failed for target (?:dns:)?(\S+)/, (address) => `no host has the name in ${address}`],
  [/(EHOSTUNREACH|ENETUNREACH)/, () => "no way leads there"],
  [/certificate has expired/, () => "its certificate has expired"],
  [/does not match certificate's altnames/, (_, context) => `its certificate is for other names than the address of context "${context}"`],
  [
    /self-signed certificate|unable to (?:get|verify)/,
    (_, context) => `its certificate is not by the CA that context "${context}" names (caFile): another verifier, or one that was set up anew`,
  ],
  [
    /wrong version number|packet length too long/,
    () => "what listens there speaks no TLS: the address must be that of the verifier's main listener, or of its listener for people with tokens",
  ],
  [
    /Failed to connect|ECONNRESET|socket hang up|alert/,
    () =>
      "the connection was cut: it may not know this client certificate (certFile), or want one and get a token (address: the listener for people with tokens)",
  ],
];

/** @param message of an RpcError UNAVAILABLE @param context the name of the one that was used */
export function whyUnreachable(message: string, context: string): string {
  for (const [pattern, words] of REASONS) {
    const found = pattern.exec(message);
    if (found) return words(found[1] ?? "", context);
  }
  return message;
}
