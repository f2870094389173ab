/** How a developer mends a drift in the image or in what starts it, by the build step that history names. Pure. */

import { type Drift, ProvenanceStatus } from "@hullmark/proto/v1/query";
import { ADMISSION_KINDS, CODE_KINDS, isSilence, isUnprovenBoot, NODE_KINDS, PROVENANCE_KINDS } from "@hullmark/verifier/core/policy/kinds";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Called } from "../kubectl/invocation.ts";
import { shellWord } from "../playbook/page.ts";

const has = (kinds: readonly string[], kind: string): boolean => kinds.includes(kind);

const BUILDKIT = " # buildkit";

/** The instruction of a Dockerfile that a history entry stands for, as builders write them: `created_by` of BuildKit, of the classic builder, else as it is. May be hostile. */
export function dockerfileLine(history: string): string {
  const text = (history.endsWith(BUILDKIT) ? history.slice(0, -BUILDKIT.length) : history).trim();
  const instruction = /^\/bin\/sh -c #\(nop\)\s+(.*)$/s.exec(text)?.[1];
  if (instruction !== undefined) return instruction;
  const run = /^(?:RUN )?(?:\|\d+ .*? )?\/bin\/sh -c (.*)$/s.exec(text)?.[1];
  return run === undefined ? text : `RUN ${run}`;
}

/** What in a Dockerfile, or in the declaration of a workload, sets what differs. */
const SETS: Readonly<Record<string, string>> = {
  args: "ENTRYPOINT and CMD",
  env: "ENV",
  user: "USER",
  "working-directory": "WORKDIR",
};

/** @returns sentences, printable */
export function mended(drift: Drift, command: Called): string[] {
  const { kind, origin } = drift;
  const place = origin?.place ?? "";
  if (has(PROVENANCE_KINDS, kind)) return provenance(drift, command);
  if (isSilence(kind))
    return [`Nothing is to be changed in an image: bring the node's agent back, or, where the node is gone for good, ${command} node revoke.`];
  if (isUnprovenBoot(kind))
    return [`Nothing is to be changed in an image: ${command} node show says what is not proven. Restart the machine through its firmware where it was not.`];
  if (has(NODE_KINDS, kind) || place === "node") return ["Nothing is to be changed in an image: it is the node's."];
  if (has(ADMISSION_KINDS, kind)) return [`Deploy an image that policy accepts (${command} policy explain POLICY IMAGE).`];
  if (place === "layer" || place === "runtime-layer" || kind === "replaced")
    return ["Nothing is to be changed in the image: the node holds other bytes than were signed. A new build does not heal it."];
  if (place === "bind") return ["Nothing is to be changed in the image: the engine makes this file from what the container is started with."];
  const sets = SETS[kind];
  if (sets !== undefined) return [`If it is right so, say so in the image by ${sets}, build, sign and deploy; else take it out of what starts the container.`];
  if (place === "configuration" || place === "mount")
    return ["No image can say that: change what starts the container (its Compose file, its pod's specification)."];
  if (has(CODE_KINDS, kind)) return ["If it is to run, bring it in by a build step (COPY or RUN), build, sign and deploy: then it is the image's."];
  return file(drift);
}

function file({ kind, path, origin }: Drift): string[] {
  const name = printable(path, 1024);
  if (!origin || origin.layerIndex < 0)
    return [`If it belongs there, bring ${name} in by a build step (COPY or RUN), build, sign and deploy. If it is data, keep it in a volume.`];
  const step = `the build step of layer ${origin.layerIndex}: ${printable(dockerfileLine(origin.history), 300) || "history does not name it"}`;
  return [
    kind === "removed" ? `If it is to be gone, leave it out in ${step}` : `If it is to be so, make the change in ${step}`,
    "Then build, sign and deploy.",
  ];
}

function provenance({ kind, imageReference, provenance: of }: Drift, command: Called): string[] {
  const image = shellWord(imageReference) ?? "IMAGE";
  const commit = of?.commit ? ` (it says commit ${printable(of.commit, 100)}${of.sourceRepository ? ` of ${printable(of.sourceRepository, 300)}` : ""})` : "";
  if (kind === "revoked" || of?.status === ProvenanceStatus.REVOKED) return [`Deploy a build that is trusted${commit}.`];
  if (kind === "attestation-missing")
    return [`Let the build attest what the policy asks for: ${command} attest ${image} --predicate FILE --type TYPE --key KEY${commit}`];
  if (kind === "moved-tag" || kind === "other-digest")
    return [`Find the build that pushed it${commit}, and have that build sign it: ${command} sign ${image} --key KEY`];
  return [`Let the build that made it sign it${commit}: ${command} sign ${image} --key KEY`];
}
