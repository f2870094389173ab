/** SPDX 2.2 and 2.3 in JSON: which packages there are. It says nothing of vulnerabilities. */
import * as z from "zod";
import { dateMs, digestIn, few, imageDigest, packages, text } from "../shapes.ts";
import type { ParsedReport } from "../types.ts";

const PACKAGE = z.object({
  name: text(1024),
  versionInfo: text(),
  primaryPackagePurpose: text(64),
  checksums: few(z.object({ algorithm: text(32), checksumValue: text(256) })),
  externalRefs: few(z.object({ referenceType: text(64), referenceLocator: text(1024) })),
});
const DOCUMENT = z.object({
  spdxVersion: z.enum(["SPDX-2.2", "SPDX-2.3"], "spdxVersion: want SPDX-2.2 or SPDX-2.3"),
  creationInfo: z.object({ created: dateMs, creators: few(z.string().max(256)) }),
  packages: packages(PACKAGE),
});

export const isSpdx = (value: Readonly<Record<string, unknown>>): boolean => "spdxVersion" in value;

/** @throws ZodError */
export function readSpdx(value: unknown): ParsedReport {
  const document = DOCUMENT.parse(value);
  const [images, parts] = [document.packages.filter(isImage), document.packages.filter((each) => !isImage(each))];
  const sha256 = images.flatMap(({ checksums }) =>
    checksums.filter(({ algorithm }) => algorithm === "SHA256").map(({ checksumValue }) => `sha256:${checksumValue}`),
  );
  return {
    format: "spdx",
    tool: document.creationInfo.creators.find((creator) => creator.startsWith("Tool: "))?.slice(6) ?? "",
    createdAtMs: document.creationInfo.created,
    subject: {
      configDigest: undefined,
      manifestDigests: [...new Set([...[...images.map(({ versionInfo }) => versionInfo), ...sha256].flatMap(digestIn), ...images.flatMap(digestsNamed)])],
      diffIds: [],
    },
    isScan: false,
    ...{ findings: [], statements: [], leftOut: 0 },
    packages: parts.filter(({ externalRefs }) => externalRefs.some(({ referenceType }) => referenceType === "purl")).length,
  };
}

function digestsNamed({ externalRefs }: z.output<typeof PACKAGE>): string[] {
  return externalRefs.flatMap(({ referenceLocator }) => imageDigest(referenceLocator));
}

function isImage({ primaryPackagePurpose, externalRefs }: z.output<typeof PACKAGE>): boolean {
  return primaryPackagePurpose === "CONTAINER" || externalRefs.some(({ referenceLocator }) => referenceLocator.startsWith("pkg:oci/"));
}
