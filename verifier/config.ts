/** The verifier's configuration file: YAML, strict keys, errors with their places. deploy/config/verifier.example.yaml explains every key. */
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import { hostPort, parseConfigFile, readConfigFile } from "@hullmark/daemon";
import * as z from "zod";
import { ALGORITHMS } from "./adapters/oidc/index.ts";
import { tokenUriProblem } from "./adapters/pkcs11/index.ts";
import { OPERATOR_NAME_PATTERN, REGION_PATTERN } from "./core/enrolment/peer-identity.ts";
import { MAX_NAMESPACES, NAMESPACE_PATTERN, ROLES } from "./core/people/grants.ts";
import { CERTIFICATE_SOURCE, identityProblems } from "./core/people/identities.ts";
import { environmentName, httpUrl, label, secretFileName } from "./core/policy/fields.ts";

/** Kubernetes allows service accounts a subdomain: dots too. */
const subdomain = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, "want a name as Kubernetes has them");
const hex64 = z.string().regex(/^[0-9a-f]{64}$/, "want 64 lower-case hex digits");

const registryHost = z.string().regex(/^[A-Za-z0-9.-]{1,253}(?::\d{1,5})?$/, "want host or host:port");

const hostGlob = z.string().regex(/^[A-Za-z0-9.*?:[\]-]{1,300}$/, "want host or host:port, with * and ? as wildcards");

const secretSource = z.union([z.strictObject({ fromEnv: environmentName }), z.strictObject({ fromFile: secretFileName })]);
const heartbeatKeys = {
  name: label,
  everySeconds: z.int().min(5).max(3600).default(60),
  timeoutSeconds: z.int().min(1).max(60).default(10),
  caFile: z.string().min(1).optional(),
};
const heartbeat = z.discriminatedUnion("type", [
  z.strictObject({
    ...{ type: z.literal("alertmanager"), ...heartbeatKeys, url: httpUrl },
    headers: z.record(z.string(), z.union([z.strictObject({ value: z.string().max(4096) }), secretSource])).default({}),
  }),
  z.strictObject({ type: z.literal("ping"), ...heartbeatKeys, url: z.union([httpUrl, secretSource]), method: z.enum(["GET", "POST"]).default("POST") }),
]);

const known = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}:[!-~]{1,255}$/, "want SOURCE:NAME");
const maxTokenHours = z.int().min(1).max(720).default(24);
const issuer = z.strictObject({
  name: label,
  issuer: z.url({ protocol: /^https$/ }),
  audiences: z.array(z.string().min(1).max(255)).min(1).max(16),
  algorithms: z.array(z.enum(ALGORITHMS)).min(1).default(["RS256", "PS256", "ES256", "EdDSA"]),
  nameClaim: z.string().min(1).max(255).default("sub"),
  groupsClaim: z.string().min(1).max(255).default("groups"),
  caFile: z.string().optional(),
  skewSeconds: z.int().min(0).max(300).default(30),
  maxTokenHours,
  signIn: z
    .strictObject({
      clientId: z.string().min(1).max(255),
      clientSecretFile: z.string().min(1).optional(),
      scopes: z
        .array(z.string().regex(/^[!#-[\]-~]{1,64}$/, "want a scope"))
        .max(16)
        .default(["openid", "profile", "email"]),
    })
    .optional(),
});
const peopleConfig = z
  .strictObject({
    listen: hostPort.default("0.0.0.0:7447"),
    oidc: z.array(issuer).max(8).default([]),
    kubernetes: z
      .strictObject({
        name: label.default("kubernetes"),
        audience: z.string().min(1).max(255).default("hullmark"),
        issuers: z.array(z.string().min(1).max(255)).max(16).default([]),
        opaqueTokens: z.boolean().default(false),
        maxTokenHours,
      })
      .optional(),
    roles: z
      .array(
        z
          .strictObject({
            role: z.enum(ROLES),
            users: z.array(known).max(1000).default([]),
            groups: z.array(known).max(1000).default([]),
            namespaces: z.array(z.string().regex(NAMESPACE_PATTERN, "want the name of a namespace: no patterns")).min(1).max(MAX_NAMESPACES).optional(),
          })
          .refine(({ users, groups }) => users.length + groups.length > 0, "want users or groups"),
      )
      .max(256)
      .default([]),
    aliases: z.record(z.string().regex(OPERATOR_NAME_PATTERN, "want the name of a certificate"), z.array(known).min(1).max(32)).default({}),
  })
  .superRefine(({ oidc, kubernetes, ...rules }, context) => {
    const sources = [...oidc.map(({ name }) => name), ...(kubernetes ? [kubernetes.name] : [])];
    const report = (path: (string | number)[], message: string): void => context.addIssue({ code: "custom", path, message });
    for (const [at, name] of sources.entries())
      if (name === CERTIFICATE_SOURCE || sources.indexOf(name) < at)
        report(at < oidc.length ? ["oidc", at, "name"] : ["kubernetes", "name"], `"${name}" is taken: choose another`);
    for (const [at, each] of oidc.entries())
      if (oidc.findIndex((other) => other.issuer === each.issuer) < at)
        report(["oidc", at, "issuer"], "an issuer is one source: put what it is for into its audiences");
    for (const { path, message } of identityProblems(rules, sources)) report(path, message);
  });

const ConfigSchema = z
  .strictObject({
    stateDirectory: z.string().startsWith("/", "want an absolute path"),
    verifierId: z.string().min(1).max(128).default(hostname()),
    region: z.string().regex(REGION_PATTERN, "want a-z 0-9 -, at most 32").default("default"),
    listen: z
      .strictObject({
        main: hostPort.default("0.0.0.0:7443"),
        enrolment: hostPort.default("0.0.0.0:7444"),
        http: hostPort.default("127.0.0.1:7480"),
      })
      .prefault({}),
    advertisedNames: z.array(z.string().min(1).max(253)).min(1).max(32).default(["localhost", "127.0.0.1"]),
    enrolment: z
      .strictObject({
        mode: z.enum(["allowlist", "tofu"]).default("allowlist"),
        acceptWithoutCertificate: z.boolean().default(false),
        acceptJoinTokens: z.boolean().default(true),
        makerRootFiles: z.array(z.string()).max(256).default([]),
        allow: z
          .array(
            z
              .strictObject({ ekSha256: hex64.optional(), certificateSha256: hex64.optional(), name: z.string().max(253).default("") })
              .refine((each) => (each.ekSha256 === undefined) !== (each.certificateSha256 === undefined), "want one of ekSha256 and certificateSha256"),
          )
          .max(10_000)
          .default([]),
        pcrs: z.array(z.int().min(0).max(23)).min(1).max(24).default([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]),
        pcrBanks: z.union([z.tuple([z.enum(["sha256", "sha384"])]), z.tuple([z.literal("sha256"), z.literal("sha384")])]).default(["sha256"]),
        perSecond: z.int().min(1).max(10_000).default(100),
        certificateMinutes: z.int().min(1).max(60).default(60),
      })
      .prefault({}),
    kubernetes: z
      .strictObject({
        apiServer: z.url({ protocol: /^https$/ }).optional(),
        caFile: z.string().default("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"),
        tokenFile: z.string().default("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        cluster: z.string().regex(REGION_PATTERN, "want a-z 0-9 - (at most 32)").default("default"),
        join: z.strictObject({ audience: z.string().min(1).max(253).default("hullmark"), namespace: subdomain, serviceAccount: subdomain }).optional(),
        policy: z.strictObject({ namespace: subdomain, name: subdomain, teams: z.boolean().default(false) }).optional(),
        pods: z
          .strictObject({
            graceSeconds: z.int().min(1).max(600).default(30),
            maxAgeSeconds: z.int().min(90).max(3600).default(180),
            templates: z.boolean().default(false),
            configMaps: z.boolean().default(false),
          })
          .optional(),
        publish: z
          .strictObject({
            namespace: subdomain,
            caConfigMap: subdomain,
            adminSecret: subdomain,
            responderSecret: subdomain.optional(),
            viewerSecret: subdomain.optional(),
            actuatorSecret: subdomain.optional(),
            webhookConfiguration: subdomain.optional(),
          })
          .optional(),
        exceptions: z.boolean().default(false),
        podEvents: z.boolean().default(false),
        reports: z.strictObject({ name: subdomain, owner: subdomain }).optional(),
      })
      .optional(),
    admission: z
      .strictObject({
        listen: hostPort.default("0.0.0.0:7445"),
        exemptNamespaces: z.array(subdomain).max(1000).default(["kube-system", "kube-public", "kube-node-lease"]),
        clientCaFile: z.string().optional(),
      })
      .optional(),
    dashboard: z
      .strictObject({
        listen: hostPort.default("127.0.0.1:7446"),
        url: z.url({ protocol: /^https$/ }).optional(),
        idleMinutes: z.int().min(1).max(480).default(30),
        sessionHours: z.int().min(1).max(24).default(8),
      })
      .optional(),
    people: peopleConfig.optional(),
    policyFile: z.string().optional(),
    registries: z
      .strictObject({
        allow: z.array(hostGlob).max(256).default([]),
        allowPrivate: z.array(hostGlob).max(256).default([]),
        plainHttp: z.array(z.string()).max(64).default([]),
        loopbackTls: z.array(z.string()).max(64).default([]),
        caFile: z.string().optional(),
        dockerConfigFile: z.string().optional(),
        mirrors: z
          .array(z.strictObject({ of: registryHost, host: registryHost, authoritative: z.boolean().default(false) }))
          .max(64)
          .default([]),
      })
      .prefault({}),
    log: z
      .strictObject({
        name: z
          .string()
          .regex(/^[^\s+]{1,128}$/, "want no spaces and no +")
          .optional(),
        keyFile: z.string().optional(),
      })
      .prefault({}),
    ear: z.strictObject({ keyDays: z.int().min(2).max(366).default(30) }).prefault({}),
    keys: z
      .strictObject({
        maxAgeDays: z
          .strictObject({
            ca: z.int().min(1).max(3650).default(1095),
            log: z.int().min(1).max(3650).default(730),
            nonce: z.int().min(1).max(3650).default(365),
            intent: z.int().min(1).max(3650).default(365),
          })
          .prefault({}),
        overlapDays: z.int().min(1).max(366).default(30),
        pkcs11: z
          .string()
          .superRefine((uri, context) => {
            const problem = tokenUriProblem(uri);
            if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
          })
          .optional(),
      })
      .prefault({}),
    externalUrl: z.url().optional(),
    alertSecretsDirectory: z.string().min(1).default("/etc/hullmark/alert-secrets"),
    heartbeats: z
      .array(heartbeat)
      .max(8)
      .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, "two heartbeats have one name")
      .default([]),
    logging: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
    drainSeconds: z.int().min(1).max(120).default(10),
  })
  .refine(({ people, kubernetes }) => people?.kubernetes === undefined || kubernetes !== undefined, {
    path: ["people", "kubernetes"],
    message: "needs the block kubernetes: whose API server reviews the tokens",
  })
  .refine(({ people, dashboard }) => !people?.oidc.some(({ signIn }) => signIn) || dashboard?.url !== undefined, {
    path: ["people", "oidc"],
    message: "signIn needs dashboard.url: where the issuer sends browsers back to",
  });

export type VerifierConfig = z.infer<typeof ConfigSchema>;

/** Relative file names start at the configuration file. @throws ConfigError, also where the file cannot be read */
export function loadConfig(file: string): VerifierConfig {
  const config = parseConfig(readConfigFile(file), file);
  const at = (path: string): string => resolve(dirname(file), path);
  const { policyFile, registries, log, enrolment, kubernetes, admission } = config;
  return {
    ...config,
    ...(policyFile !== undefined && { policyFile: at(policyFile) }),
    enrolment: { ...enrolment, makerRootFiles: enrolment.makerRootFiles.map(at) },
    ...(kubernetes && { kubernetes: { ...kubernetes, caFile: at(kubernetes.caFile), tokenFile: at(kubernetes.tokenFile) } }),
    ...(admission && { admission: { ...admission, ...(admission.clientCaFile !== undefined && { clientCaFile: at(admission.clientCaFile) }) } }),
    registries: {
      ...registries,
      ...(registries.caFile !== undefined && { caFile: at(registries.caFile) }),
      ...(registries.dockerConfigFile !== undefined && { dockerConfigFile: at(registries.dockerConfigFile) }),
    },
    ...(config.people && {
      people: { ...config.people, oidc: config.people.oidc.map((each) => issuerAt(each, at)) },
    }),
    alertSecretsDirectory: at(config.alertSecretsDirectory),
    heartbeats: config.heartbeats.map((each) => (each.caFile === undefined ? each : { ...each, caFile: at(each.caFile) })),
    log: { ...log, ...(log.keyFile !== undefined && { keyFile: at(log.keyFile) }) },
  };
}

function issuerAt<I extends z.infer<typeof issuer>>({ caFile, signIn, ...others }: I, at: (path: string) => string) {
  return {
    ...others,
    ...(caFile !== undefined && { caFile: at(caFile) }),
    ...(signIn && { signIn: { ...signIn, ...(signIn.clientSecretFile !== undefined && { clientSecretFile: at(signIn.clientSecretFile) }) } }),
  };
}

/** @throws ConfigError with every mistake */
export function parseConfig(text: string, file: string): VerifierConfig {
  return parseConfigFile(ConfigSchema, text, file);
}
