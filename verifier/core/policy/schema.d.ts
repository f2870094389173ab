/** The policy file, key by key. Unknown keys are errors everywhere. What spans several keys is in check.ts. */
import { z } from "zod";
export declare const API_VERSION = "hullmark.dev/v1";
export declare const policyFile: z.ZodObject<
  {
    apiVersion: z.ZodLiteral<"hullmark.dev/v1">;
    kind: z.ZodLiteral<"Policy">;
    metadata: z.ZodObject<
      {
        name: z.ZodString;
      },
      z.core.$strict
    >;
    spec: z.ZodPrefault<
      z.ZodObject<
        {
          mode: z.ZodDefault<z.ZodLiteral<"observe">>;
          trustRoots: z.ZodDefault<
            z.ZodArray<
              z.ZodObject<
                {
                  name: z.ZodString;
                  file: z.ZodString;
                  requireLog: z.ZodDefault<z.ZodBoolean>;
                  requireSct: z.ZodDefault<z.ZodBoolean>;
                },
                z.core.$strict
              >
            >
          >;
          authorities: z.ZodDefault<
            z.ZodArray<
              z.ZodObject<
                {
                  key: z.ZodOptional<z.ZodString>;
                  keyFile: z.ZodOptional<z.ZodString>;
                  keyless: z.ZodOptional<
                    z.ZodObject<
                      {
                        issuer: z.ZodString;
                        subject: z.ZodOptional<z.ZodString>;
                        subjectGlob: z.ZodOptional<z.ZodString>;
                        trustRoot: z.ZodString;
                        extensions: z.ZodDefault<
                          z.ZodRecord<
                            z.ZodEnum<{
                              buildConfigDigest: "buildConfigDigest";
                              buildConfigURI: "buildConfigURI";
                              buildSignerDigest: "buildSignerDigest";
                              buildSignerURI: "buildSignerURI";
                              buildTrigger: "buildTrigger";
                              runInvocationURI: "runInvocationURI";
                              runnerEnvironment: "runnerEnvironment";
                              sourceRepositoryDigest: "sourceRepositoryDigest";
                              sourceRepositoryIdentifier: "sourceRepositoryIdentifier";
                              sourceRepositoryOwnerIdentifier: "sourceRepositoryOwnerIdentifier";
                              sourceRepositoryOwnerURI: "sourceRepositoryOwnerURI";
                              sourceRepositoryRef: "sourceRepositoryRef";
                              sourceRepositoryURI: "sourceRepositoryURI";
                              sourceRepositoryVisibilityAtSigning: "sourceRepositoryVisibilityAtSigning";
                            }> &
                              z.core.$partial,
                            z.ZodString
                          >
                        >;
                      },
                      z.core.$strict
                    >
                  >;
                  validFrom: z.ZodOptional<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                  validUntil: z.ZodOptional<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                  name: z.ZodString;
                  anyOf: z.ZodOptional<
                    z.ZodArray<
                      z.ZodObject<
                        {
                          key: z.ZodOptional<z.ZodString>;
                          keyFile: z.ZodOptional<z.ZodString>;
                          keyless: z.ZodOptional<
                            z.ZodObject<
                              {
                                issuer: z.ZodString;
                                subject: z.ZodOptional<z.ZodString>;
                                subjectGlob: z.ZodOptional<z.ZodString>;
                                trustRoot: z.ZodString;
                                extensions: z.ZodDefault<
                                  z.ZodRecord<
                                    z.ZodEnum<{
                                      buildConfigDigest: "buildConfigDigest";
                                      buildConfigURI: "buildConfigURI";
                                      buildSignerDigest: "buildSignerDigest";
                                      buildSignerURI: "buildSignerURI";
                                      buildTrigger: "buildTrigger";
                                      runInvocationURI: "runInvocationURI";
                                      runnerEnvironment: "runnerEnvironment";
                                      sourceRepositoryDigest: "sourceRepositoryDigest";
                                      sourceRepositoryIdentifier: "sourceRepositoryIdentifier";
                                      sourceRepositoryOwnerIdentifier: "sourceRepositoryOwnerIdentifier";
                                      sourceRepositoryOwnerURI: "sourceRepositoryOwnerURI";
                                      sourceRepositoryRef: "sourceRepositoryRef";
                                      sourceRepositoryURI: "sourceRepositoryURI";
                                      sourceRepositoryVisibilityAtSigning: "sourceRepositoryVisibilityAtSigning";
                                    }> &
                                      z.core.$partial,
                                    z.ZodString
                                  >
                                >;
                              },
                              z.core.$strict
                            >
                          >;
                          validFrom: z.ZodOptional<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                          validUntil: z.ZodOptional<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                        },
                        z.core.$strict
                      >
                    >
                  >;
                },
                z.core.$strict
              >
            >
          >;
          revocations: z.ZodDefault<
            z.ZodArray<
              z.ZodObject<
                {
                  reason: z.ZodString;
                  since: z.ZodOptional<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                  key: z.ZodOptional<z.ZodString>;
                  keyFile: z.ZodOptional<z.ZodString>;
                  identity: z.ZodOptional<
                    z.ZodObject<
                      {
                        issuer: z.ZodString;
                        subject: z.ZodOptional<z.ZodString>;
                        subjectGlob: z.ZodOptional<z.ZodString>;
                      },
                      z.core.$strict
                    >
                  >;
                  digest: z.ZodOptional<z.ZodString>;
                  builder: z.ZodOptional<z.ZodString>;
                  commits: z.ZodOptional<
                    z.ZodObject<
                      {
                        repository: z.ZodString;
                        ids: z.ZodArray<z.ZodString>;
                      },
                      z.core.$strict
                    >
                  >;
                },
                z.core.$strict
              >
            >
          >;
          rules: z.ZodDefault<
            z.ZodArray<
              z.ZodObject<
                {
                  name: z.ZodString;
                  select: z.ZodPrefault<
                    z.ZodObject<
                      {
                        images: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        containers: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        labels: z.ZodDefault<z.ZodRecord<z.ZodString, z.ZodString>>;
                        nodes: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        workloads: z.ZodDefault<z.ZodArray<z.ZodString>>;
                      },
                      z.core.$strict
                    >
                  >;
                  require: z.ZodPrefault<
                    z.ZodObject<
                      {
                        signatures: z.ZodOptional<
                          z.ZodObject<
                            {
                              authorities: z.ZodArray<z.ZodString>;
                              threshold: z.ZodDefault<
                                z.ZodUnion<
                                  readonly [
                                    z.ZodEnum<{
                                      all: "all";
                                      any: "any";
                                    }>,
                                    z.ZodInt,
                                  ]
                                >
                              >;
                            },
                            z.core.$strict
                          >
                        >;
                        attestations: z.ZodDefault<
                          z.ZodArray<
                            z.ZodObject<
                              {
                                authorities: z.ZodArray<z.ZodString>;
                                threshold: z.ZodDefault<
                                  z.ZodUnion<
                                    readonly [
                                      z.ZodEnum<{
                                        all: "all";
                                        any: "any";
                                      }>,
                                      z.ZodInt,
                                    ]
                                  >
                                >;
                                predicateType: z.ZodString;
                              },
                              z.core.$strict
                            >
                          >
                        >;
                      },
                      z.core.$strict
                    >
                  >;
                  allow: z.ZodPrefault<
                    z.ZodObject<
                      {
                        env: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        capabilities: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                        mounts: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        privileged: z.ZodDefault<z.ZodBoolean>;
                        hostNamespaces: z.ZodDefault<
                          z.ZodArray<
                            z.ZodEnum<{
                              cgroup: "cgroup";
                              ipc: "ipc";
                              net: "net";
                              pid: "pid";
                              user: "user";
                              uts: "uts";
                            }>
                          >
                        >;
                        users: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        devices: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        args: z.ZodDefault<z.ZodBoolean>;
                        workingDirectory: z.ZodDefault<z.ZodBoolean>;
                        seccomp: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        apparmor: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        code: z.ZodDefault<
                          z.ZodArray<
                            z.ZodEnum<{
                              deleted: "deleted";
                              memfd: "memfd";
                              tmpfs: "tmpfs";
                              upper: "upper";
                              volume: "volume";
                            }>
                          >
                        >;
                      },
                      z.core.$strict
                    >
                  >;
                  severities: z.ZodDefault<
                    z.ZodRecord<
                      z.ZodEnum<{
                        [x: string]: string;
                      }> &
                        z.core.$partial,
                      z.ZodEnum<{
                        critical: "critical";
                        high: "high";
                        info: "info";
                        low: "low";
                        medium: "medium";
                      }>
                    >
                  >;
                },
                z.core.$strict
              >
            >
          >;
          nodes: z.ZodDefault<
            z.ZodArray<
              z.ZodObject<
                {
                  name: z.ZodString;
                  select: z.ZodPrefault<
                    z.ZodObject<
                      {
                        nodes: z.ZodDefault<z.ZodArray<z.ZodString>>;
                      },
                      z.core.$strict
                    >
                  >;
                  boot: z.ZodPrefault<
                    z.ZodObject<
                      {
                        eventLog: z.ZodDefault<
                          z.ZodEnum<{
                            optional: "optional";
                            required: "required";
                          }>
                        >;
                        secureBoot: z.ZodDefault<
                          z.ZodEnum<{
                            any: "any";
                            required: "required";
                          }>
                        >;
                        variables: z.ZodPrefault<
                          z.ZodObject<
                            {
                              PK: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                              KEK: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                              db: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                              dbx: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                            },
                            z.core.$strict
                          >
                        >;
                        authorities: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                        images: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                        drivers: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                        files: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                        initrds: z.ZodDefault<z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>;
                        commandLines: z.ZodDefault<z.ZodArray<z.ZodString>>;
                      },
                      z.core.$strict
                    >
                  >;
                  pcrs: z.ZodDefault<z.ZodRecord<z.ZodString, z.ZodArray<z.ZodPipe<z.ZodString, z.ZodTransform<string, string>>>>>;
                },
                z.core.$strict
              >
            >
          >;
          mutable: z.ZodDefault<
            z.ZodArray<
              z.ZodObject<
                {
                  name: z.ZodString;
                  class: z.ZodEnum<{
                    any: "any";
                    data: "data";
                  }>;
                  select: z.ZodPrefault<
                    z.ZodObject<
                      {
                        images: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        containers: z.ZodDefault<z.ZodArray<z.ZodString>>;
                        labels: z.ZodDefault<z.ZodRecord<z.ZodString, z.ZodString>>;
                        nodes: z.ZodDefault<z.ZodArray<z.ZodString>>;
                      },
                      z.core.$strict
                    >
                  >;
                  paths: z.ZodArray<z.ZodString>;
                },
                z.core.$strict
              >
            >
          >;
          mutableDefaults: z.ZodDefault<z.ZodBoolean>;
          severities: z.ZodDefault<
            z.ZodRecord<
              z.ZodEnum<{
                [x: string]: string;
              }> &
                z.core.$partial,
              z.ZodEnum<{
                critical: "critical";
                high: "high";
                info: "info";
                low: "low";
                medium: "medium";
              }>
            >
          >;
          intervals: z.ZodPrefault<
            z.ZodObject<
              {
                quote: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                rescan: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                heartbeat: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
              },
              z.core.$strict
            >
          >;
          budget: z.ZodPrefault<
            z.ZodObject<
              {
                entries: z.ZodDefault<z.ZodInt>;
                bytes: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                time: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
              },
              z.core.$strict
            >
          >;
          alerts: z.ZodPrefault<
            z.ZodObject<
              {
                routes: z.ZodDefault<
                  z.ZodArray<
                    z.ZodDiscriminatedUnion<
                      [
                        z.ZodObject<
                          {
                            name: z.ZodString;
                            url: z.ZodString;
                            headers: z.ZodDefault<
                              z.ZodRecord<
                                z.ZodString,
                                z.ZodUnion<
                                  readonly [
                                    z.ZodObject<
                                      {
                                        value: z.ZodString;
                                      },
                                      z.core.$strict
                                    >,
                                    z.ZodObject<
                                      {
                                        fromEnv: z.ZodString;
                                      },
                                      z.core.$strict
                                    >,
                                  ]
                                >
                              >
                            >;
                            minSeverity: z.ZodDefault<
                              z.ZodEnum<{
                                critical: "critical";
                                high: "high";
                                info: "info";
                                low: "low";
                                medium: "medium";
                              }>
                            >;
                            groupBy: z.ZodDefault<
                              z.ZodArray<
                                z.ZodEnum<{
                                  image: "image";
                                  kind: "kind";
                                  node: "node";
                                  severity: "severity";
                                  workload: "workload";
                                }>
                              >
                            >;
                            groupWait: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                            repeat: z.ZodOptional<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                            maxPerMinute: z.ZodDefault<z.ZodInt>;
                            timeout: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                            caFile: z.ZodOptional<z.ZodString>;
                            type: z.ZodLiteral<"webhook">;
                            hmacKeyFromEnv: z.ZodOptional<z.ZodString>;
                          },
                          z.core.$strict
                        >,
                        z.ZodObject<
                          {
                            name: z.ZodString;
                            url: z.ZodString;
                            headers: z.ZodDefault<
                              z.ZodRecord<
                                z.ZodString,
                                z.ZodUnion<
                                  readonly [
                                    z.ZodObject<
                                      {
                                        value: z.ZodString;
                                      },
                                      z.core.$strict
                                    >,
                                    z.ZodObject<
                                      {
                                        fromEnv: z.ZodString;
                                      },
                                      z.core.$strict
                                    >,
                                  ]
                                >
                              >
                            >;
                            minSeverity: z.ZodDefault<
                              z.ZodEnum<{
                                critical: "critical";
                                high: "high";
                                info: "info";
                                low: "low";
                                medium: "medium";
                              }>
                            >;
                            groupBy: z.ZodDefault<
                              z.ZodArray<
                                z.ZodEnum<{
                                  image: "image";
                                  kind: "kind";
                                  node: "node";
                                  severity: "severity";
                                  workload: "workload";
                                }>
                              >
                            >;
                            groupWait: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                            repeat: z.ZodOptional<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                            maxPerMinute: z.ZodDefault<z.ZodInt>;
                            timeout: z.ZodPrefault<z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>>;
                            caFile: z.ZodOptional<z.ZodString>;
                            type: z.ZodLiteral<"alertmanager">;
                          },
                          z.core.$strict
                        >,
                      ],
                      "type"
                    >
                  >
                >;
              },
              z.core.$strict
            >
          >;
        },
        z.core.$strict
      >
    >;
  },
  z.core.$strict
>;
export type PolicyFile = z.output<typeof policyFile>;
