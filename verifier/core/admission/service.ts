/** Answers the API server's questions: may this pod, or what makes such pods, come in? One answer within the time that is left, whatever registries do. */
import type { Clock } from "../../ports/clock.ts";
import type { AdmissionDecision, Meter } from "../../ports/meter.ts";
import type { SourceCommit } from "../../ports/notifier.ts";
import { type Registry, RegistryError } from "../../ports/registry.ts";
import type { RevocationAnswers } from "../../ports/revocation-answers.ts";
import type { ImportedReports } from "../images/image-entry.ts";
import { noteMode, objectionMode } from "../policy/admission-mode.ts";
import { matchRule } from "../policy/match.ts";
import { teamPolicy } from "../policy/tighten.ts";
import type { AdmissionMode, Policy, PolicyRule } from "../policy/types.ts";
import { consulting, type ImageReference, ProvenanceError, parseReference, revokedDigest, type Verifiers } from "../provenance/index.ts";
import { type AdmissionAnswer, auditOf, messageOf, type Objection, warningsOf } from "./answer.ts";
import { type BreakGlass, exceptionAtTheDoor, readBreakGlass } from "./break-glass.ts";
import { barredDigest, concerns, type ImageOutcome, judgeImage } from "./judge.ts";
import { AdmissionLookup, type AskedImage, type Look } from "./lookup.ts";
import { type AskedContainer, type AskedPod, askedPod, newContainers } from "./pods.ts";
import type { AdmissionRequest } from "./review.ts";

/** What the API server does by itself where it gets no answer, and what is done here where nobody can tell. */
export type FailurePolicy = "fail" | "ignore";

/** What is worth an entry in the log. */
export interface Happening {
  readonly decision: "refused" | "break-glass";
  readonly request: AdmissionRequest;
  readonly pod: AskedPod;
  readonly objections: readonly Objection[];
  readonly grant: BreakGlass | undefined;
}

/** Writes down what happened, once however often it is asked. */
export interface AdmissionRecorder {
  /** Durable when it resolves. @throws where it cannot be recorded */
  record(happening: Happening): Promise<void>;
  /** A pod, or what makes such pods, came in with images that were built from these commits: what was told of them is over. */
  accepted(workload: string, sources: readonly SourceCommit[]): void;
}

export interface AdmissionServices {
  readonly registry: Registry;
  readonly verifiers: Verifiers;
  /** Reports on vulnerabilities that people imported; undefined: there are none. */
  readonly imported?: ImportedReports | undefined;
  /** undefined: authorities are not asked whether they have taken certificates back. */
  readonly revocations?: RevocationAnswers | undefined;
  readonly policy: () => Policy;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly recorder: AdmissionRecorder;
  /** Namespaces in which nothing is asked: the verifier's own and the cluster's. */
  readonly exemptNamespaces: readonly string[];
  /** A refusal could not be written down, which holds nobody up. */
  readonly onProblem: (error: unknown) => void;
}

/** Of one container by one policy: what stands against it, or else what it was built from. */
interface Judged {
  readonly objection?: Objection;
  readonly source?: SourceCommit | undefined;
}

interface Outcome {
  readonly decision: AdmissionDecision;
  readonly answer: AdmissionAnswer;
}
/** An answer about everything that was objected; refused where there is a message. */
type Told = (decision: AdmissionDecision, warnings?: readonly string[], message?: string) => Outcome;

/** From what is named, over the images of an index and their layers, to what is attached to them. */
const MAX_LOOKS = 4;
/** A verdict that rests on time (validity, age) is made anew after it. */
const VERDICT_MS = 10_000;

export class AdmissionService {
  readonly #services: AdmissionServices;
  readonly #lookup: AdmissionLookup;
  readonly #stop = new AbortController();
  /** Of images at hand, by policy: rule → outcome. */
  readonly #verdicts = new WeakMap<AskedImage, WeakMap<Policy, Map<PolicyRule | undefined, { readonly outcome: ImageOutcome; readonly atMs: number }>>>();

  constructor(services: AdmissionServices) {
    this.#services = services;
    this.#lookup = new AdmissionLookup({ registry: services.registry, nowMs: () => services.clock.nowMs(), stopped: this.#stop.signal });
  }

  stop(): void {
    this.#stop.abort(new RegistryError("UNAVAILABLE", "the verifier is stopping"));
  }

  /** @param waiting aborts when the answer must be given @throws AdmissionError where the question cannot be read */
  async answer(request: AdmissionRequest, failure: FailurePolicy, waiting: AbortSignal): Promise<AdmissionAnswer> {
    const startedMs = this.#services.clock.nowMs();
    const { decision, answer } = await this.#decide(request, failure, waiting);
    this.#services.meter.admission(decision, Math.max(0, this.#services.clock.nowMs() - startedMs) / 1000);
    return answer;
  }

  async #decide(request: AdmissionRequest, failure: FailurePolicy, waiting: AbortSignal): Promise<Outcome> {
    const { exemptNamespaces, policy: current } = this.#services;
    const telling =
      (objections: readonly Objection[]): Told =>
      (decision, warnings = [], message = "") => ({
        decision,
        answer: { uid: request.uid, allowed: message === "", message, warnings, audit: auditOf(decision, objections) },
      });
    if (exemptNamespaces.includes(request.namespace)) return telling([])("exempt");
    const pod = askedPod(request);
    // What goes, and what a node tells of itself that runs already, cannot be kept out.
    if (!pod || pod.ending || (pod.mirror && request.user.name.startsWith("system:node:"))) return telling([])("exempt");
    const policy = current();
    const team = teamPolicy(policy, request.namespace);
    const asking = newContainers(request, pod).flatMap((container) => [policy, ...(team ? [team] : [])].map((by) => ({ container, by })));
    const found = await Promise.all(
      asking.map(({ container, by }) => this.#judge(container, pod, by, (ofRule) => objectionMode(policy, team, request.namespace, by, ofRule), waiting)),
    );
    const objections = found.flatMap(({ objection }) => objection ?? []);
    const told = telling(objections);
    const letIn = (decision: AdmissionDecision, warnings: readonly string[] = []): Outcome => {
      const sources = found.flatMap(({ objection, source }) => (objection || !source ? [] : [source]));
      const objected = objections.map(({ source }) => source?.commit);
      if (!request.dryRun)
        this.#services.recorder.accepted(
          pod.workload,
          sources.filter(({ commit }) => !objected.includes(commit)),
        );
      return told(decision, warnings);
    };
    if (objections.length === 0) return letIn("allowed");
    const ofMode = (mode: AdmissionMode): readonly Objection[] => objections.filter((each) => each.mode === mode);
    const [enforced, warned] = [ofMode("enforce"), warningsOf(ofMode("warn"))];
    if (enforced.length === 0) return warned.length === 0 ? letIn("audited") : letIn("warned", warned);
    const refused = enforced.some(({ kind }) => kind === "refused");
    if (!refused && failure === "ignore") return told("unknown-allowed", [...warningsOf(enforced, "let in unjudged: "), ...warned]);
    return await this.#refuse(request, pod, policy, enforced, refused, told);
  }

  /** Unless somebody who may lets it in all the same. */
  async #refuse(request: AdmissionRequest, pod: AskedPod, policy: Policy, objections: readonly Objection[], refused: boolean, told: Told): Promise<Outcome> {
    const { clock, recorder, onProblem } = this.#services;
    const glass = readBreakGlass(request, pod, policy.admission.breakGlass, clock.nowMs());
    let why = glass.kind === "denied" ? `break-glass was not granted: ${glass.why}` : "";
    if (glass.kind === "granted") {
      const { grant } = glass;
      try {
        if (!request.dryRun) await recorder.record({ decision: "break-glass", request, pod, objections, grant });
        const until = new Date(grant.untilMs).toISOString();
        return told("break-glass", warningsOf(objections, `let in by break-glass until ${until}, recorded and alerted: `));
      } catch (error) {
        onProblem(error);
        why = "break-glass was not granted: it could not be recorded";
      }
    }
    if (!request.dryRun) recorder.record({ decision: "refused", request, pod, objections, grant: undefined }).catch(onProblem);
    if (why === "") why = exceptionAtTheDoor(policy.admission.breakGlass);
    return told(refused ? "refused" : "unknown-refused", [], messageOf(objections, why));
  }

  async #judge(
    container: AskedContainer,
    pod: AskedPod,
    policy: Policy,
    modeOf: (ofRule: AdmissionMode | undefined) => AdmissionMode,
    waiting: AbortSignal,
  ): Promise<Judged> {
    const rule = matchRule(policy, {
      imageReference: container.image,
      containerName: `${pod.namespace}/${pod.name}/${container.name}`,
      ...{ workload: pod.workload, labels: pod.labels, nodeName: pod.nodeName },
    });
    const { required, revocable } = concerns(policy, rule);
    if (!required && !revocable) return {};
    const mode = modeOf(rule?.admission);
    const objection = (kind: Objection["kind"], digest: string, text: string, remedy: string): Objection => ({
      ...{ container, digest, rule: rule?.name ?? "", mode, kind, text, asked: "", found: "", remedy },
    });
    // What no rule asks for comes in where nobody can tell whether it is revoked, and whoever asked is told so.
    const untold = (digest: string, text: string, remedy: string): Objection => {
      if (required) return objection("unknown", digest, text, remedy);
      return { ...objection("unknown", digest, `nobody can tell whether it is revoked: ${text}`, remedy), mode: noteMode(modeOf(undefined)) };
    };
    let reference: ImageReference;
    try {
      reference = parseReference(container.image);
    } catch (error) {
      if (!(error instanceof ProvenanceError)) throw error;
      return required ? { objection: objection("refused", "", error.message, "write HOST/NAME@sha256:DIGEST") } : {};
    }
    // What is trusted no more is no rule's to let in.
    const barred = (digest: string, why: string): Objection => ({
      ...{ ...objection("refused", digest, why, "run an image that is not revoked"), mode: modeOf(undefined) },
    });
    const named = revokedDigest(policy.revocations, reference.digest === undefined ? [] : [reference.digest]);
    if (reference.digest !== undefined && named !== undefined) return { objection: barred(reference.digest, named) };
    try {
      const { image, outcome } = await this.#outcome(reference, policy, rule, pod.architecture, waiting);
      if (outcome.kind === "refused") {
        const { revoked, text, remedy, asked, found, source } = outcome;
        return { objection: { ...objection("refused", image.digest, text, remedy), asked, found, source, mode: revoked ? modeOf(undefined) : mode } };
      }
      return outcome.kind === "unknown" ? { objection: untold(image.digest, outcome.text, outcome.remedy) } : { source: outcome.source };
    } catch (error) {
      const known = this.#lookup.remembered(reference);
      const why = known && barredDigest(known, policy, pod.architecture);
      if (known && why !== undefined) return { objection: barred(known.digest, why) };
      const digest = known?.digest ?? reference.digest ?? "";
      if (waiting.aborted)
        return { objection: untold(digest, "the registry did not answer in the time that there was", "ask again, or make the registry answer") };
      if (error instanceof RegistryError) return { objection: untold(digest, error.message, remedyOf(error)) };
      if (!(error instanceof ProvenanceError)) throw error;
      // Whoever pushed it built it so that nobody can look through it: of a registry that is away nothing of the kind is known.
      const text = required ? error.message : `nobody can tell whether something revoked is in it: ${error.message}`;
      return { objection: { ...objection("refused", digest, text, "push the image anew"), mode: required ? mode : modeOf(undefined) } };
    }
  }

  async #outcome(
    reference: ImageReference,
    policy: Policy,
    rule: PolicyRule | undefined,
    architecture: string | undefined,
    waiting: AbortSignal,
  ): Promise<{ readonly image: AskedImage; readonly outcome: Exclude<ImageOutcome, { kind: "look-deeper" }> }> {
    let look: Look = { depth: "named", attached: false };
    for (let looks = 0; looks < MAX_LOOKS; looks++) {
      const image = await this.#lookup.image(reference, look, waiting);
      const outcome = await this.#consulted(image, policy, rule, architecture, waiting);
      if (outcome.kind === "refused" && barredDigest(image, policy, architecture) === undefined) {
        const again = await this.#lookup.again(reference, image, waiting);
        const now = again === image ? outcome : await this.#consulted(again, policy, rule, architecture, waiting);
        if (now.kind !== "look-deeper") return { image: again, outcome: now };
        ({ look } = now);
        continue;
      }
      if (outcome.kind !== "look-deeper") return { image, outcome };
      ({ look } = outcome);
    }
    throw new ProvenanceError("MALFORMED", "an index whose images cannot be told");
  }

  /** With what authorities say of the certificates on which it rests. They are waited for only where nobody could tell without: a slow one holds up nothing else. */
  async #consulted(
    image: AskedImage,
    policy: Policy,
    rule: PolicyRule | undefined,
    architecture: string | undefined,
    waiting: AbortSignal,
  ): Promise<ImageOutcome> {
    let anew = false;
    const judge = (): ImageOutcome => {
      if (anew) this.#verdicts.delete(image);
      anew = true;
      return this.#remembered(image, policy, rule, architecture);
    };
    return await consulting(judge, this.#services.revocations, waiting, ({ kind }) => kind === "unknown");
  }

  #remembered(image: AskedImage, policy: Policy, rule: PolicyRule | undefined, architecture: string | undefined): ImageOutcome {
    const { verifiers, clock, imported } = this.#services;
    const nowMs = clock.nowMs();
    if (architecture !== undefined && image.isIndex) return judgeImage(image, policy, rule, architecture, verifiers, nowMs, imported);
    const ofImage = this.#verdicts.get(image) ?? new WeakMap();
    this.#verdicts.set(image, ofImage);
    const verdicts = ofImage.get(policy) ?? new Map();
    ofImage.set(policy, verdicts);
    const known = verdicts.get(rule);
    if (known && Math.abs(nowMs - known.atMs) <= VERDICT_MS) return known.outcome;
    const outcome = judgeImage(image, policy, rule, undefined, verifiers, nowMs, imported);
    // What nobody could tell may be told at any moment.
    if (outcome.kind !== "unknown") verdicts.set(rule, { outcome, atMs: nowMs });
    return outcome;
  }
}

function remedyOf({ code }: RegistryError): string {
  if (code === "NOT_FOUND") return "push the image, or correct its name";
  if (code === "UNAUTHORIZED" || code === "DENIED") return "let the verifier read it (registries in its configuration)";
  return "make the registry answer, and ask again";
}
