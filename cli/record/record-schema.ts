/** The form of what `hullmark build-record` writes, published as docs/provenance.schema.json: SLSA provenance v1 with parameters of our own. */
import * as z from "zod";
import { BUILD_TYPE } from "./slsa-record.ts";

const digest = z.partialRecord(z.enum(["gitCommit", "sha1", "sha256", "sha384", "sha512", "dirHash"]), z.string().regex(/^[0-9a-f]{40,128}$/));
const material = z
  .strictObject({ uri: z.string(), digest })
  .describe(
    "git+URL@REF with gitCommit (the sources), pkg:oci/… with sha256 (a base), file:PATH with sha256 (a lock file), or a package that a lock file pins",
  );
const instant = z.iso.datetime({ precision: 3 });

export const buildRecordSchema = z.strictObject({
  buildDefinition: z.strictObject({
    buildType: z.literal(BUILD_TYPE),
    externalParameters: z.strictObject({
      command: z.array(z.string()).min(1).describe("the build step, secrets redacted"),
      environment: z.record(z.string(), z.string()).describe("variables that were named, secrets redacted"),
    }),
    internalParameters: z.strictObject({
      workingTree: z.enum(["none", "changed", "clean"]).describe("of the sources: no checkout, not as their commit has them, or as it has them"),
      approvals: z.array(z.string()).describe("in the words given: attest approvals that a policy is to ask for"),
      privileges: z
        .strictObject({
          user: z.int().min(0).describe("effective user id, as the step itself sees it"),
          capabilities: z.array(z.string()).describe("effective, without CAP_"),
          noNewPrivileges: z.boolean(),
        })
        .optional()
        .describe("with which the step was started; absent where the kernel does not say"),
    }),
    resolvedDependencies: z.array(material),
  }),
  runDetails: z.strictObject({
    builder: z.strictObject({
      id: z.url(),
      version: z.record(z.string(), z.string()).describe("tool, and the first line of what it says of its version"),
    }),
    metadata: z.strictObject({ invocationId: z.string().regex(/^urn:uuid:/), startedOn: instant, finishedOn: instant }),
  }),
});

export function provenanceJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(buildRecordSchema, { reused: "inline" });
  return { $schema, $id: "https://hullmark.dev/schemas/build-record.v1.json", title: "Predicate of build-record (SLSA provenance v1)", ...schema };
}
