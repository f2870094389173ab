/** Reports as scanners and makers write them: the members that Trivy 0.62, Grype 0.92 and the specifications' examples have, with values of ours. */
import { digestOf } from "./digest-of.ts";

export interface Shown {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly severity: string;
  readonly fixed?: string;
  readonly layer?: string;
}

export interface Scanned {
  readonly config?: string;
  readonly manifests?: readonly string[];
  readonly diffIds?: readonly string[];
  readonly createdAt?: string;
}

const purlOf = ({ name, version }: Pick<Shown, "name" | "version">): string => `pkg:deb/debian/${name}@${version}?arch=amd64&distro=debian-12.5`;

export function trivyReport(shown: readonly Shown[], { config, manifests = [], diffIds = [], createdAt = "2026-11-20T08:00:00Z" }: Scanned) {
  return {
    SchemaVersion: 2,
    CreatedAt: createdAt,
    Trivy: { Version: "0.62.1" },
    ArtifactName: "acme/web:1",
    ArtifactType: "container_image",
    Metadata: { OS: { Family: "debian", Name: "12.5" }, ImageID: config, DiffIDs: diffIds, RepoDigests: manifests, ImageConfig: { os: "linux" } },
    Results: [
      {
        Target: "acme/web:1 (debian 12.5)",
        Class: "os-pkgs",
        Type: "debian",
        Vulnerabilities: shown.map((each) => ({
          VulnerabilityID: each.id,
          PkgID: `${each.name}@${each.version}`,
          PkgName: each.name,
          PkgIdentifier: { PURL: purlOf(each), UID: "f00" },
          InstalledVersion: each.version,
          ...(each.fixed && { FixedVersion: each.fixed, Status: "fixed" }),
          Layer: { Digest: digestOf("blob"), ...(each.layer && { DiffID: each.layer }) },
          SeveritySource: "debian",
          Title: "a flaw",
          Description: "at length",
          Severity: each.severity.toUpperCase(),
          CVSS: {
            nvd: { V3Vector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", V3Score: 9.8 },
            redhat: { V3Vector: "CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:L/A:L" },
          },
          References: ["https://nvd.nist.gov/"],
        })),
      },
      { Target: "app/secret.pem", Class: "secret" },
    ],
  };
}

export function grypeReport(shown: readonly Shown[], { config = "", manifests = [], diffIds = [], createdAt = "2026-11-21T08:00:00Z" }: Scanned) {
  return {
    matches: shown.map((each) => ({
      vulnerability: {
        id: each.id,
        severity: each.severity,
        urls: [],
        cvss: [
          {
            source: "nvd",
            type: "Primary",
            version: "3.1",
            vector: "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H",
            metrics: { baseScore: 7.8 },
            vendorMetadata: {},
          },
        ],
        epss: [{ cve: each.id, epss: 0.42, percentile: 0.97, date: "2026-11-20" }],
        knownExploited: [{ cve: each.id, knownRansomwareCampaignUse: "Known" }],
        fix: { versions: each.fixed ? [each.fixed] : [], state: each.fixed ? "fixed" : "unknown" },
        advisories: [],
        risk: 12,
      },
      relatedVulnerabilities: [],
      matchDetails: [],
      artifact: {
        id: "a1",
        name: each.name,
        version: each.version,
        type: "deb",
        locations: [{ path: "/var/lib/dpkg/status", layerID: each.layer ?? "" }],
        purl: purlOf(each),
        upstreams: [],
      },
    })),
    source: {
      type: "image",
      target: {
        userInput: "acme/web:1",
        imageID: config,
        manifestDigest: "",
        tags: [],
        layers: diffIds.map((digest) => ({ digest, size: 1 })),
        repoDigests: manifests,
      },
    },
    distro: { name: "debian", version: "12" },
    descriptor: { name: "grype", version: "0.92.0", timestamp: createdAt },
  };
}

export function openvexDocument(statements: readonly object[], timestamp = "2026-11-22T08:00:00Z") {
  return { "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex-1", author: "Acme Security", timestamp, version: 1, statements };
}

/** Of the profile VEX, with an image, and a package as a part of it (`part`) and by itself (`package`). @param image manifest digest */
export function csafDocument(image: string, of: Pick<Shown, "name" | "version">, vulnerabilities: readonly object[], change: object = {}) {
  const named = (product_id: string, purl: string) => ({ product_id, name: product_id, product_identification_helper: { purl } });
  return {
    document: {
      ...{ category: "csaf_vex", csaf_version: "2.0", title: "VEX of the tests" },
      publisher: { category: "vendor", name: "Acme ProductCERT", namespace: "https://acme.example" },
      tracking: { id: "ACME-2026-1", status: "final", version: "1", current_release_date: "2026-11-22T08:00:00Z", ...change },
    },
    product_tree: {
      branches: [
        { category: "vendor", name: "Acme", branches: [{ category: "product_version", name: "1", product: named("image", ociPurl(image)) }] },
        { category: "product_name", name: "bare", product: { product_id: "bare", name: "without a package URL" } },
      ],
      full_product_names: [named("package", purlOf(of))],
      relationships: [
        ["part", "package", "image"],
        ["elsewhere", "package", "bare"],
      ].map(([name = "", product_reference, relates_to_product_reference]) => ({
        ...{ category: "default_component_of", product_reference, relates_to_product_reference },
        full_product_name: { product_id: name, name },
      })),
      product_groups: [{ group_id: "all", product_ids: ["part", "package"] }],
    },
    vulnerabilities,
  };
}

/** @param image manifest digest */
export const ociPurl = (image: string): string => `pkg:oci/web@${image.replace(":", "%3A")}?repository_url=registry.example/acme/web`;
export const bytesOf = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
export { purlOf };
