/** The policy that `hullmark policy init --profile pilot` writes: source, commit, tools and base of what one key signs. Each line more asks for more; none of these need change for it. */
import { stringify } from "yaml";
import { SigningError } from "../signing/errors.ts";

export interface PilotOptions {
  readonly name: string;
  /** As it is to stand in the policy. */
  readonly keyFile: string | undefined;
  /** Globs over repositories. */
  readonly sources: readonly string[];
  /** `NAME=GLOB` over versions. */
  readonly tools: readonly string[];
  /** `sha256:…` */
  readonly bases: readonly string[];
  /** Globs over references; empty: every image. */
  readonly images: readonly string[];
}

/** @throws SigningError USAGE */
export function pilotPolicy({ name, keyFile, sources, tools, bases, images }: PilotOptions): string {
  if (keyFile === undefined || sources.length === 0)
    throw new SigningError("USAGE", "the pilot profile asks for who signs and for what is built: --authority-key FILE --source https://host/owner/*");
  const spec = {
    mode: "observe",
    authorities: [{ name: "release", keyFile }],
    rules: [
      {
        name: "pilot",
        ...(images.length > 0 && { select: { images } }),
        require: {
          signatures: { authorities: ["release"] },
          build: {
            ...{ authorities: ["release"], sources, commit: true },
            ...(tools.length > 0 && { tools: Object.fromEntries(tools.map(toolOf)) }),
            ...(bases.length > 0 && { bases }),
          },
        },
        allow: { env: ["**"], mounts: ["/**"], args: true, users: ["**"] },
      },
    ],
  };
  return `# Hullmark policy, pilot profile: signed by one key, and built from known sources, a commit, known tools and bases, as Hullmark's build-record writes down.
# It tells and refuses nothing. Widen it by adding, in this order as a rule (docs/provenance.md): build.dependencies: true, build.refs, build.builders with
# spec.builders and build.level, build.privileges, approvals, attestations (SBOM, scan, tests); then spec.admission, and last take lines out of allow.
${stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name }, spec }, { lineWidth: 0 })}`;
}

function toolOf(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1) throw new SigningError("USAGE", `--tool ${JSON.stringify(text)}: want NAME=GLOB, for example node=v24.*`);
  return [text.slice(0, at), text.slice(at + 1)];
}
