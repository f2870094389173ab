/** What the API server asks of a webhook (admission.k8s.io/v1, AdmissionReview), read strictly as far as it is used. */
import * as z from "zod";

/** The question cannot be read: no verdict, and the webhook's failure policy decides. */
export class AdmissionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AdmissionError";
  }
}

/** The object is whoever asks's to choose; the rest is the API server's word. */
export interface AdmissionRequest {
  readonly uid: string;
  /** For example `Deployment`. */
  readonly kind: string;
  readonly namespace: string;
  /** Empty where the API server is to make one up. */
  readonly name: string;
  readonly operation: string;
  readonly user: { readonly name: string; readonly groups: readonly string[] };
  /** Nothing will be stored: nothing may be recorded. */
  readonly dryRun: boolean;
  readonly object: unknown;
  /** undefined unless the operation is UPDATE. */
  readonly oldObject: unknown;
}

const text = (max: number) => z.string().max(max);
const review = z.looseObject({
  apiVersion: z.literal("admission.k8s.io/v1"),
  kind: z.literal("AdmissionReview"),
  request: z.looseObject({
    uid: text(128).min(1),
    kind: z.looseObject({ kind: text(253) }),
    namespace: text(253).default(""),
    name: text(253).default(""),
    operation: text(32),
    userInfo: z.looseObject({ username: text(1024).default(""), groups: z.array(text(1024)).max(1000).nullish() }),
    dryRun: z.boolean().default(false),
    object: z.unknown().optional(),
    oldObject: z.unknown().optional(),
  }),
});

/** @param body parsed JSON @throws AdmissionError */
export function readReview(body: unknown): AdmissionRequest {
  const parsed = review.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new AdmissionError(`no AdmissionReview: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
  }
  const { uid, kind, namespace, name, operation, userInfo, dryRun, object, oldObject } = parsed.data.request;
  return {
    ...{ uid, namespace, name, operation, dryRun, object, oldObject: oldObject ?? undefined },
    kind: kind.kind,
    user: { name: userInfo.username, groups: userInfo.groups ?? [] },
  };
}
