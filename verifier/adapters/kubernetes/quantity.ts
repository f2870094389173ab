/** Amounts of resources as the API writes them (apimachinery `resource.Quantity`), and what a variable says of them (kubernetes `pkg/api/v1/resource`, ExtractContainerResourceValue). */

const MAX_CHARACTERS = 64;
const NANO: Readonly<Record<string, bigint>> = {
  n: 1n,
  u: 10n ** 3n,
  m: 10n ** 6n,
  "": 10n ** 9n,
  k: 10n ** 12n,
  M: 10n ** 15n,
  G: 10n ** 18n,
  T: 10n ** 21n,
  P: 10n ** 24n,
  E: 10n ** 27n,
};
const BINARY = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const FORM = /^\+?(\d*)(?:\.(\d*))?(?:([numkMGTPE]?|[KMGTPE]i)|[eE]([+-]?\d{1,2}))$/;

/** @returns in billionths, rounded up; undefined: it is none, or a negative one */
export function parseQuantity(text: string): bigint | undefined {
  const form = text.length <= MAX_CHARACTERS ? FORM.exec(text) : null;
  if (!form) return undefined;
  const [, whole = "", fraction = "", suffix = "", exponent] = form;
  if (whole === "" && fraction === "") return undefined;
  const power = exponent === undefined ? undefined : 9 + Number(exponent);
  if (power !== undefined && power < 0) return undefined;
  const binary = BINARY.indexOf(suffix);
  const scale = power !== undefined ? 10n ** BigInt(power) : binary >= 0 ? 10n ** 9n * 1024n ** BigInt(binary + 1) : NANO[suffix];
  return scale === undefined ? undefined : divideUp(BigInt(`${whole}${fraction}`) * scale, 10n ** BigInt(fraction.length));
}

export interface Amounts {
  readonly limits?: Readonly<Record<string, string>> | undefined;
  readonly requests?: Readonly<Record<string, string>> | undefined;
}

/**
 * @param resource `limits.cpu`, `requests.memory`, … @param divisor `0` stands for 1
 * @returns undefined: not known here; of a limit that is not set the kubelet gives what the node has to give
 */
export function resourceValue(resource: string, divisor: string, { limits = {}, requests = {} }: Amounts): string | undefined {
  const [, kind, name] = /^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-\S+)$/.exec(resource) ?? [];
  if (kind === undefined || name === undefined) return undefined;
  const amounts = kind === "limits" ? limits : requests;
  const amount = parseQuantity(Object.hasOwn(amounts, name) ? (amounts[name] ?? "") : "0");
  const by = parseQuantity(divisor);
  if (amount === undefined || by === undefined || (kind === "limits" && amount === 0n)) return undefined;
  // Of processors in thousandths, of anything else in whole ones.
  const unit = name === "cpu" ? 10n ** 6n : 10n ** 9n;
  return `${divideUp(divideUp(amount, unit), divideUp(by === 0n ? 10n ** 9n : by, unit))}`;
}

function divideUp(a: bigint, b: bigint): bigint {
  return (a + b - 1n) / b;
}
