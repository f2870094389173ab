/** What the verifier concludes of a node from the agent's own words on how it works. */
import { create } from "@bufbuild/protobuf";
import { NodeStateSchema } from "@hullmark/proto/v1/attestation";
import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { expect, test } from "vitest";
import { appraiseNode } from "../../verifier/core/appraisal/appraise-node.ts";

const WORKS = { runtimeReachable: true, changeSource: "fanotify", attribution: true, tpm: "ok" };

function appraised(change: { attribution?: boolean; changeSource?: string; runtimeReachable?: boolean; missingCapabilities?: string[] }): {
  verdict: Verdict;
  codes: string[];
} {
  const state = create(NodeStateSchema, { ...WORKS, ...change });
  const unremarkable = { revoked: false, connected: true, lastSeenMs: 0, lastQuoteMs: 0, quoteRefused: undefined, chainBroken: undefined, boot: undefined };
  const { verdict, reasons } = appraiseNode(
    {
      ...unremarkable,
      trustLevel: TrustLevel.TPM,
      state,
      heartbeatIntervalMs: 1000,
      quoteIntervalMs: 1000,
      overloaded: false,
      rival: undefined,
      clockSkew: undefined,
    },
    0,
  );
  return { verdict, codes: reasons.map(({ code }) => code) };
}

test("that the kernel tells of no processes is said, and is no reason to trust the node less", () => {
  expect(appraised({})).toEqual({ verdict: Verdict.AFFIRMING, codes: [] });
  expect(appraised({ attribution: false })).toEqual({ verdict: Verdict.AFFIRMING, codes: ["no-process-events"] });
});

test("what bars or warns comes first; a source that never names anybody, and none at all, say so themselves", () => {
  expect(appraised({ attribution: false, missingCapabilities: ["CAP_NET_ADMIN"] })).toEqual({
    verdict: Verdict.WARNING,
    codes: ["missing-capabilities", "no-process-events"],
  });
  expect(appraised({ attribution: false, runtimeReachable: false })).toEqual({
    verdict: Verdict.UNKNOWN,
    codes: ["runtime-unreachable", "no-process-events"],
  });
  expect(appraised({ attribution: false, changeSource: "chokidar" }).codes).toEqual([]);
  expect(appraised({ attribution: false, changeSource: "" })).toEqual({ verdict: Verdict.UNKNOWN, codes: ["change-source-dead"] });
});
