/** `npm run fuzz`: every fuzz target for ten minutes; with `-- --coverage` it fails where a parser has a line coverage below 85 % by these inputs alone. */
import { defineConfig } from "vitest/config";

/** Files that read bytes of somebody else, and do little besides. */
const PARSERS = [
  "cli/notation/{document,subject}.ts",
  "proto/codec/ima-{ascii,list}.ts",
  "verifier/adapters/notary/{cose,envelope,jws}.ts",
  "verifier/adapters/sigstore/material.ts",
  "verifier/core/admission/{pods,review}.ts",
  "verifier/core/appraisal/{decode-evidence,decode-parts}.ts",
  "verifier/core/certificates/{crl,pem}.ts",
  "verifier/core/endorsement/{ek-certificate,tpm-attest,tpm-public}.ts",
  "verifier/core/measured-boot/{efi,event-log}.ts",
  "verifier/core/policy/parse.ts",
  "verifier/core/provenance/{file-manifest,image-objects,json,reference,slsa,statement}.ts",
  "verifier/core/vulnerabilities/{bind,parse,read-json}.ts",
  "verifier/core/vulnerabilities/formats/*.ts",
  "verifier/core/reference-value/{layer-tree,tar-header,tar-pax,tar-reader,tar-sparse}.ts",
];

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/fuzz/**/*.test.ts"],
    hookTimeout: 120_000,
    coverage: {
      provider: "v8",
      include: PARSERS,
      reporter: ["text"],
      reportOnFailure: true,
      thresholds: { perFile: true, lines: 85 },
    },
  },
});
