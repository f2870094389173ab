import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { EAR_LIFETIME_SECONDS, EAR_PROFILE, type EarStatus, earClaims } from "@hullmark/verifier/core/ear/claims";
import type { NodeRow, VectorRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { node as nodeRow, workload as workloadRow } from "../contract/store-fixtures.ts";

const CATEGORIES = ["instanceIdentity", "configuration", "executables", "fileSystem", "hardware", "runtimeOpaque", "storageOpaque", "sourcedData"] as const;
const vectors = fc.record(Object.fromEntries(CATEGORIES.map((name) => [name, fc.constantFrom(0, 2, 3, 32, 33, 96, 99)]))) as unknown as fc.Arbitrary<VectorRow>;
const verdicts = fc.constantFrom(Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN);
const ORDER: readonly EarStatus[] = ["affirming", "warning", "none", "contraindicated"];

const claimsOf = (node: NodeRow, workload = undefined as ReturnType<typeof workloadRow> | undefined) =>
  earClaims({ node, workload, policySha256: "ab", verifierId: "v1", region: "eu-1", version: "0", nonce: Buffer.alloc(0), nowMs: 1_700_000_000_900 }) as {
    ear_status: EarStatus;
    submods: Record<string, { ear_status: EarStatus; ear_trustworthiness_vector: Record<string, number> }>;
  };

describe("EAR claims", () => {
  it("have the profile, whole seconds, and a life of their own", () => {
    expect(claimsOf(nodeRow("n1"))).toMatchObject({
      eat_profile: EAR_PROFILE,
      iss: "hullmark/eu-1/v1",
      iat: 1_700_000_000,
      exp: 1_700_000_000 + EAR_LIFETIME_SECONDS,
      submods: { node: { ear_appraisal_policy_ids: ["urn:hullmark:policy:sha256:ab"] } },
    });
    expect(claimsOf(nodeRow("n1"))).not.toHaveProperty("eat_nonce");
  });

  it("state nothing better than the verdict, nor than the worst claim of a vector, nor than any submod", () => {
    fc.assert(
      fc.property(verdicts, vectors, verdicts, vectors, (nodeVerdict, nodeVector, verdict, vector) => {
        const node = { ...nodeRow("n1"), trustLevel: TrustLevel.TPM, verdict: nodeVerdict, vector: nodeVector };
        const { submods, ear_status } = claimsOf(node, { ...workloadRow("n1", "c1"), verdict, vector });
        for (const [name, shown, values] of [
          ["node", nodeVerdict, nodeVector],
          ["container", verdict, vector],
        ] as const) {
          const worst = Math.max(...Object.values(values));
          const submod = submods[name];
          const rank = ORDER.indexOf(submod?.ear_status ?? "affirming");
          if (worst >= 96 || shown === Verdict.CONTRAINDICATED) expect(rank).toBe(3);
          else if (shown === Verdict.UNKNOWN) expect(rank).toBe(2);
          else expect(rank).toBe(worst >= 32 || shown === Verdict.WARNING ? 1 : 0);
          expect(ORDER.indexOf(ear_status)).toBeGreaterThanOrEqual(rank);
          expect(Object.keys(submod?.ear_trustworthiness_vector ?? {}).length).toBeGreaterThan(0);
        }
      }),
    );
  });
});
