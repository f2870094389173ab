/** What was found of an image's signatures as a finding for {@link sarifLog}. Pure. */
import { phraseOf, playbookOf } from "@hullmark/verifier/core/alerting/text";
import type { ProvenanceVerdict } from "@hullmark/verifier/core/provenance/index";
import type { SarifFinding } from "./sarif.ts";

interface Judged {
  readonly image: { readonly repository: string; readonly digest: string };
  readonly verdict: ProvenanceVerdict;
}

/** @param accepted by whom it was judged; what cannot be told is not accepted, and is an error as a refusal is */
export function verdictFinding({ image, verdict }: Judged, accepted: boolean): SarifFinding {
  const { status, text, refusals, source } = verdict;
  return {
    ...{ rule: status, ruleText: `${status}: ${accepted ? "an image was judged" : phraseOf(status)}`, help: `docs/policy.md, ${playbookOf("unsigned")}` },
    ...(accepted ? { level: "none", kind: "pass" } : { level: "error" }),
    text: `${image.repository}@${image.digest}: ${[text, ...refusals.map(({ requirement, found, remedy }) => `${requirement}: ${found} (${remedy})`)].join("; ")}`,
    path: new Uint8Array(),
    places: [
      ["image", image.repository],
      ["imageDigest", image.digest],
    ],
    identity: ["image", image.repository, status],
    properties: { status },
    source: { repository: source?.repository ?? "", commit: source?.commit ?? "" },
  };
}
