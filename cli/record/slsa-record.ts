/** A record of one build as SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance). Pure: facts in, predicate out. */
import type { Material } from "./lock-files.ts";
import type { BuildPrivileges } from "./privileges.ts";

export const BUILD_TYPE = "https://hullmark.dev/build-record/v1";

/** Where the sources are from; undefined commit: they are not as any commit has them. */
export interface SourceFacts {
  /** `https://host/path`; empty where there is no remote. */
  readonly repository: string;
  /** `refs/heads/main`; empty for a detached head. */
  readonly ref: string;
  readonly commit: string | undefined;
}

export interface BuildFacts {
  readonly builder: string;
  readonly source: SourceFacts | undefined;
  /** Redacted. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Name → first line of what it says of its version. */
  readonly tools: Readonly<Record<string, string>>;
  readonly bases: readonly Material[];
  readonly materials: readonly Material[];
  readonly approvals: readonly string[];
  /** undefined: not known. */
  readonly privileges: BuildPrivileges | undefined;
  readonly invocation: string;
  /** Unix milliseconds. */
  readonly startedMs: number;
  readonly finishedMs: number;
}

export function buildRecord(facts: BuildFacts): Record<string, unknown> {
  const { builder, source, command, environment, tools, bases, materials, approvals, privileges, invocation, startedMs, finishedMs } = facts;
  return {
    buildDefinition: {
      buildType: BUILD_TYPE,
      externalParameters: { command, environment },
      internalParameters: {
        ...{ workingTree: source === undefined ? "none" : source.commit === undefined ? "changed" : "clean", approvals },
        ...(privileges && { privileges }),
      },
      resolvedDependencies: [...(source ? [sourceMaterial(source)] : []), ...bases, ...materials],
    },
    runDetails: {
      builder: { id: builder, version: tools },
      metadata: { invocationId: invocation, startedOn: new Date(startedMs).toISOString(), finishedOn: new Date(finishedMs).toISOString() },
    },
  };
}

function sourceMaterial({ repository, ref, commit }: SourceFacts): Material {
  return { uri: `git+${repository}${ref === "" ? "" : `@${ref}`}`, digest: commit === undefined ? {} : { gitCommit: commit } };
}

/** `host/name@sha256:…` as a package URL of type oci; undefined for what has no digest. */
export function baseMaterial(reference: string): Material | undefined {
  const [, name, hex] = /^([^@\s]{1,512})@sha256:([0-9a-f]{64})$/.exec(reference) ?? [];
  if (name === undefined || hex === undefined) return undefined;
  const repository = name.replace(/:[\w][\w.-]*$/, "");
  const last = repository.slice(repository.lastIndexOf("/") + 1);
  return { uri: `pkg:oci/${encodeURIComponent(last)}@sha256%3A${hex}?repository_url=${encodeURIComponent(repository)}`, digest: { sha256: hex } };
}

/** A remote as `https://host/path` without user, `.git` and slashes at the end; ssh forms too. Empty for a path on this machine. */
export function repositoryUrl(remote: string): string {
  const [, host, path] = /^(?:[^@\s/]+@)?([\w.-]+):(?!\/\/)([^\s]+)$/.exec(remote) ?? [];
  const url =
    host !== undefined && path !== undefined && !/^[a-z]:/i.test(remote) ? `https://${host}/${path}` : remote.replace(/^(?:ssh|git):\/\//, "https://");
  const plain = url
    .replace(/^(https?:\/\/)[^/@]*@/, "$1")
    .replace(/\/+$/, "")
    .replace(/\.git$/, "");
  return /^https?:\/\//.test(plain) ? plain : "";
}
