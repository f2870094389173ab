/** What must not stand in a record that others read: values of secret variables, words that follow secret options, passwords in URLs. Pure. */

const SECRET_NAME = /TOKEN|SECRET|PASSW(?:OR)?D|PASSPHRASE|CREDENTIAL|PRIVATE|API_?-?KEY|ACCESS_?-?KEY|AUTH/i;
const SECRET_OPTION = /^--?[a-z-]*(?:token|secret|passw(?:or)?d|passphrase|credential|api-?key|access-?key|auth)[a-z-]*$/i;
export const REDACTED = "[redacted]";
/** Shorter values would take harmless words with them. */
const MIN_VALUE_CHARS = 6;

export interface Redactor {
  /** One word of a command line, or any text. */
  text(value: string): string;
  words(command: readonly string[]): string[];
  /** @param name of a variable; one that sounds secret has no value in a record */
  variable(name: string, value: string): string;
}

/** @param env of the build, whose secret values are known by their names @param alsoSecret further names of secret variables */
export function redactor(env: Readonly<Record<string, string | undefined>>, alsoSecret: readonly string[]): Redactor {
  const isSecret = (name: string): boolean => SECRET_NAME.test(name) || alsoSecret.includes(name);
  const values = Object.entries(env)
    .flatMap(([name, value]) => (value !== undefined && value.length >= MIN_VALUE_CHARS && isSecret(name) ? [value] : []))
    // The longest first: one may be a part of another.
    .sort((a, b) => b.length - a.length);
  const text = (value: string): string => {
    let out = value;
    for (const secret of values) out = out.replaceAll(secret, REDACTED);
    // RFC 3986, section 3.2.1: userinfo.
    return out.replaceAll(/([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, `$1${REDACTED}@`);
  };
  return {
    text,
    words(command) {
      let next = false;
      return command.map((word) => {
        const hidden = next;
        next = SECRET_OPTION.test(word);
        if (hidden) return REDACTED;
        const equals = word.indexOf("=");
        // `--password=…`, and `NAME=…` as `env` and `docker build --build-arg` take it.
        if (equals > 0 && (SECRET_OPTION.test(word.slice(0, equals)) || (/^\w+$/.test(word.slice(0, equals)) && isSecret(word.slice(0, equals)))))
          return `${word.slice(0, equals)}=${REDACTED}`;
        return text(word);
      });
    },
    variable: (name, value) => (isSecret(name) ? REDACTED : text(value)),
  };
}
