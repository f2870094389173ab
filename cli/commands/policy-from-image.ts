/** `hullmark policy init --from-image`: a policy that the image as it is meets, out of what could be verified of it. */

import { printable } from "@hullmark/verifier/core/text/printable";
import { stringify } from "yaml";
import type { DiscoveredImage } from "../signing/discover-image.ts";

export interface FromImageOptions {
  readonly name: string;
  /** As they are to stand in the policy. */
  readonly keyFile: string | undefined;
  readonly trustRootFile: string | undefined;
}

/** YAML that lints clean; undefined where nobody verifiable has signed the image, so that no rule could be met. */
export function policyFromImage(
  { image, keySigned, identities, build, unverified }: DiscoveredImage,
  { name, keyFile, trustRootFile }: FromImageOptions,
): string | undefined {
  const identityName = (i: number): string => (identities.length === 1 ? "pipeline" : `signer-${i + 1}`);
  const signers = [...(keySigned ? ["release"] : []), ...identities.flatMap(({ signed }, i) => (signed ? [identityName(i)] : []))];
  if (signers.length === 0) return undefined;
  const spec = {
    mode: "observe",
    ...(identities.length > 0 && { trustRoots: [{ name: "root", file: trustRootFile }] }),
    authorities: [
      ...(keyFile !== undefined ? [{ name: "release", keyFile }] : []),
      ...identities.map(({ issuer, subject }, i) => ({ name: identityName(i), keyless: { trustRoot: "root", issuer, subject } })),
    ],
    rules: [
      {
        name: "signed",
        select: { images: imageGlobs(image.repository) },
        require: {
          signatures: { authorities: signers, threshold: "any" },
          ...(build && { build: { authorities: [build.by === "key" ? "release" : identityName(build.by)], ...asked(build.source) } }),
        },
        allow: { env: ["**"], mounts: ["/**"], args: true, users: ["**"] },
      },
    ],
  };
  const notes = unverified.slice(0, 16).map((line) => `# not used, since it could not be verified: ${printable(line, 300)}\n`);
  return `# Hullmark policy out of ${image.repository}@${image.digest}: what could be verified of it, exactly.
# Read who is named here before you trust it; then widen: a subject to a subjectGlob, a ref to refs/tags/*. docs/policy.md says all.
${notes.join("")}${stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name }, spec }, { lineWidth: 0 })}`;
}

function asked({ repository, ref, builder, buildType }: NonNullable<DiscoveredImage["build"]>["source"]) {
  const uri = (text: string) => (/^[a-z][a-z0-9+.-]*:\/\/[^/]+\//.test(text) ? [literal(text)] : []);
  return {
    sources: uri(repository.replace(/\/+$/, "").replace(/\.git$/, "")),
    refs: ref === "" ? [] : [literal(ref)],
    builders: uri(builder),
    buildTypes: uri(buildType),
  };
}

/** Globs over references: all of one repository and nothing else, as whoever starts a container may write it: Docker Hub's names have short forms. */
export function imageGlobs(repository: string): readonly string[] {
  const short = [/^docker\.io\/(.+)$/, /^docker\.io\/library\/(.+)$/].flatMap((hub) => hub.exec(repository)?.[1] ?? []);
  const hosts = short.flatMap((name) => [`docker.io/${name}`, `index.docker.io/${name}`]);
  return [...new Set([repository, ...short, ...hosts])].flatMap((name) => [literal(name), `${literal(name)}:*`, `${literal(name)}@*`]);
}

/** Text as a glob that matches just that. */
function literal(text: string): string {
  return text.replace(/[\\*?]/g, "\\$&");
}
