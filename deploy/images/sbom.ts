import { readFileSync } from "node:fs";
import { run } from "./command.ts";
import type { DebianPackage } from "./debian.ts";
import type { ImageDefinition } from "./definitions.ts";

// SPDX 2.3. The npm part is npm's own (`npm sbom`, from the lock file); Node and the Debian packages are added.

const REPOSITORY = new URL("../..", import.meta.url).pathname;

export interface SourceFacts {
  readonly version: string;
  /** Git's commit, with `-dirty` where files differ from it. */
  readonly revision: string;
  /** Of the commit: Unix seconds and RFC 3339. */
  readonly atSeconds: number;
  readonly created: string;
}

interface Package {
  readonly name: string;
  readonly SPDXID: string;
  readonly versionInfo: string;
  readonly [field: string]: unknown;
}
interface Document {
  documentNamespace: string;
  name: string;
  creationInfo: { created: string; creators: string[] };
  documentDescribes: string[];
  packages: Package[];
  relationships: { spdxElementId: string; relatedSpdxElement: string; relationshipType: string }[];
}

/** The bill of materials of one image as SPDX JSON; the same image has the same bytes. */
export async function softwareBill(image: ImageDefinition, digest: string, debian: readonly DebianPackage[], source: SourceFacts): Promise<string> {
  const args = ["sbom", "--sbom-format", "spdx", "--package-lock-only", "--workspace", image.workspace];
  const document = JSON.parse(await run("npm", args, REPOSITORY)) as Document;
  const root = "SPDXRef-Image";
  const distribution = /^ID=(\w+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "debian";
  const added = [
    spdxPackage("SPDXRef-Package-node", "node", process.versions.node, `pkg:npm/node-linux-${process.arch}@${process.versions.node}`),
    ...debian.map(({ name, version, architecture, sha256 }) => ({
      ...spdxPackage(
        `SPDXRef-Package-deb-${name.replaceAll(/[^A-Za-z0-9.-]/g, "-")}`,
        name,
        version,
        `pkg:deb/${distribution}/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}`,
      ),
      checksums: [{ algorithm: "SHA256", checksumValue: sha256 }],
    })),
  ];
  const described = {
    ...spdxPackage(root, image.name, source.version, `pkg:oci/${image.name}@${encodeURIComponent(digest)}`),
    licenseDeclared: "Apache-2.0",
    primaryPackagePurpose: "CONTAINER",
  };
  const contains = (related: string) => ({ spdxElementId: root, relatedSpdxElement: related, relationshipType: "CONTAINS" });
  const describes = { spdxElementId: "SPDXRef-DOCUMENT", relatedSpdxElement: root, relationshipType: "DESCRIBES" };
  const npm = shipped(document, image.workspace);
  const packages = document.packages.filter(({ SPDXID }) => npm.has(SPDXID));
  const relationships = document.relationships.filter((each) => npm.has(each.spdxElementId) && npm.has(each.relatedSpdxElement));
  // npm draws a random name and the time of day: both follow from the image instead.
  document.name = `${image.name}@${digest}`;
  document.documentNamespace = `https://hullmark.dev/spdx/${image.name}/${digest.slice(7)}`;
  document.creationInfo.created = source.created.replace(/\.\d+Z$/, "Z");
  document.documentDescribes = [root];
  document.packages = [described, ...packages, ...added];
  document.relationships = [describes, ...relationships, ...[...npm, ...added.map(({ SPDXID }) => SPDXID)].map(contains)];
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** What the workspace needs in production, directly and indirectly. (`--omit dev` also leaves out what another workspace has for development.) */
function shipped({ packages, relationships }: Document, workspace: string): ReadonlySet<string> {
  const found = packages.filter(
    ({ packageFileName }) => packageFileName === `node_modules/@hullmark/${workspace}` || packageFileName === `node_modules/${workspace}`,
  );
  const ids = new Set(found.map(({ SPDXID }) => SPDXID));
  // A set is iterated in the order of insertion, what is added on the way included.
  for (const id of ids)
    for (const { spdxElementId, relatedSpdxElement, relationshipType } of relationships)
      if (relatedSpdxElement === id && relationshipType === "DEPENDENCY_OF") ids.add(spdxElementId);
  if (ids.size < 2) throw new Error(`npm sbom knows nothing that ${workspace} depends on`);
  return ids;
}

function spdxPackage(id: string, name: string, version: string, purl: string): Package {
  const externalRefs = [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl }];
  return { name, SPDXID: id, versionInfo: version, downloadLocation: "NOASSERTION", filesAnalyzed: false, licenseDeclared: "NOASSERTION", externalRefs };
}
