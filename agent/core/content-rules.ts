/** Which files' contents may leave the node: what its owner's configuration allows, less what holds secrets by its name or by what is in it. */
import { anyMatch, compileGlob } from "@hullmark/proto/codec";

/** Never handed out, whatever is allowed; matched without regard to case. */
const SECRET_PATHS = [
  ...["/etc/shadow*", "/etc/gshadow*", "/etc/security/opasswd*", "/etc/sudoers*", "/etc/sudoers.d/**", "/etc/krb5.keytab"],
  ...["/run/**", "/var/run/**", "/proc/**", "/sys/**", "/dev/**", "/etc/ssl/private/**", "/etc/pki/**/private/**", "/etc/wireguard/**", "/etc/ipsec.secrets"],
  ...[
    "**/.ssh/**",
    "**/.gnupg/**",
    "**/.aws/**",
    "**/.azure/**",
    "**/.config/gcloud/**",
    "**/.kube/**",
    "**/.docker/**",
    "**/.git/**",
    "**/.password-store/**",
  ],
  ...[
    "**/.env*",
    "**/*.env",
    "**/*.env.*",
    "**/auth.json",
    "**/.netrc",
    "**/.pgpass",
    "**/.my.cnf",
    "**/.git-credentials",
    "**/.npmrc",
    "**/.pypirc",
    "**/.htpasswd",
  ],
  // What editors and people leave beside one.
  ...["**/*.key~", "**/*.key.*", "**/*.pem~", "**/*.pem.*", "**/*.env~"],
  ...["**/*.key", "**/*.pem", "**/*.p8", "**/*.p12", "**/*.pfx", "**/*.jks", "**/*.keystore", "**/*.kdbx", "**/*.keytab", "**/*.asc", "**/*.gpg", "**/*.ppk"],
  ...["**/id_rsa*", "**/id_dsa*", "**/id_ecdsa*", "**/id_ed25519*", "**/ssh_host_*", "**/kubeconfig*", "**/wp-config.php*", "**/*.tfstate*", "**/*.tfvars"],
  ...[
    "**/*secret*",
    "**/*secret*/**",
    "**/*token*",
    "**/*token*/**",
    "**/*password*",
    "**/*password*/**",
    "**/*credential*",
    "**/*credential*/**",
    "**/*htpasswd*",
  ],
  ...["**/*_history", "**/.*history"],
].map(compileGlob);

const SECRET_CONTENT = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY|AGE-SECRET-KEY-1|PuTTY-User-Key-File|openssh-key-v1/;

export interface ContentRules {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** Largest file. */
  readonly maxBytes: number;
  /** Files in an hour, whoever asks. */
  readonly hourly: number;
}

export type PathRule = "allowed" | "not-allowed" | "secret";

/** @param rules globs over absolute paths, which compile */
export function pathRule({ allow, deny }: Pick<ContentRules, "allow" | "deny">): (absolute: Buffer) => PathRule {
  const [allowed, denied] = [allow.map(compileGlob), deny.map(compileGlob)];
  return (absolute) => {
    if (!anyMatch(allowed, absolute) || anyMatch(denied, absolute)) return "not-allowed";
    return anyMatch(SECRET_PATHS, Buffer.from(absolute.toString("latin1").toLowerCase(), "latin1")) ? "secret" : "allowed";
  };
}

/** A help against a key in a file of another name, and no more: nobody can tell every secret by looking at it. */
export function holdsSecret(content: Buffer): boolean {
  return SECRET_CONTENT.test(content.toString("latin1"));
}
