/** Getting past a refusal on purpose: who asks for it says why and until when, and policy says who may and for how long. Pure. */
import { compileNames } from "@hullmark/proto/codec";
import type { BreakGlassPolicy } from "../policy/types.ts";
import { type AskedPod, BREAK_GLASS } from "./pods.ts";
import type { AdmissionRequest } from "./review.ts";

export interface BreakGlass {
  /** Who asks, in his own words. The name that the API server knows stands beside it wherever it is told. */
  readonly by: string;
  readonly reason: string;
  /** Unix milliseconds. */
  readonly untilMs: number;
}

export type BreakGlassOutcome =
  | { readonly kind: "none" }
  | { readonly kind: "granted"; readonly grant: BreakGlass }
  /** Asked for, and not given. */
  | { readonly kind: "denied"; readonly why: string };

const MAX_WORDS = 512;

/** How an exception is had at the door, in words for whoever is refused: whoever may is the policy's to name. */
export function exceptionAtTheDoor(policy: BreakGlassPolicy | undefined): string {
  if (policy) return `in an emergency: annotations ${Object.values(BREAK_GLASS).join(", ")}, for ${policy.maxSeconds / 3600} h at most, by whom policy names`;
  return "no exception can be asked for at the door: the policy has no break-glass (spec.admission.breakGlass); else whoever keeps it changes the rule";
}

/** Whether this pod gets past a refusal. @param nowMs Unix milliseconds */
export function readBreakGlass(request: AdmissionRequest, pod: AskedPod, policy: BreakGlassPolicy | undefined, nowMs: number): BreakGlassOutcome {
  const { [BREAK_GLASS.by]: by, [BREAK_GLASS.reason]: reason, [BREAK_GLASS.until]: until } = pod.annotations;
  if (by === undefined && reason === undefined && until === undefined) return { kind: "none" };
  const denied = (why: string): BreakGlassOutcome => ({ kind: "denied", why });
  if (!policy) return denied("the policy has no break-glass (spec.admission.breakGlass)");
  const words = [by, reason].every((each) => each !== undefined && each.trim() !== "" && each.length <= MAX_WORDS);
  if (!words) return denied(`${BREAK_GLASS.by} and ${BREAK_GLASS.reason} must each say something, in at most ${MAX_WORDS} characters`);
  if (!mayBreak(request, pod, policy)) return denied(`${request.user.name} is not among those who may (spec.admission.breakGlass)`);
  const untilMs = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})$/.test(until ?? "") ? Date.parse(until ?? "") : Number.NaN;
  if (Number.isNaN(untilMs)) return denied(`${BREAK_GLASS.until} must be a time such as ${new Date(nowMs + policy.maxSeconds * 1000).toISOString()}`);
  if (untilMs <= nowMs) return denied(`it ended at ${new Date(untilMs).toISOString()}`);
  if (untilMs - nowMs > policy.maxSeconds * 1000) return denied(`it may last until ${new Date(nowMs + policy.maxSeconds * 1000).toISOString()} at most`);
  return { kind: "granted", grant: { by: by ?? "", reason: reason ?? "", untilMs } };
}

/** A controller of the cluster's own makes pods of a template that somebody else was asked about. Its name is that of an account, or of all controllers together. */
const CONTROLLER = /^system:(?:serviceaccount:kube-system:.+|kube-controller-manager)$/;

function mayBreak({ user }: AdmissionRequest, { owned }: AskedPod, { users, groups }: BreakGlassPolicy): boolean {
  if (owned && CONTROLLER.test(user.name)) return true;
  return (users.length > 0 && compileNames(users)(user.name)) || user.groups.some((group) => groups.includes(group));
}
