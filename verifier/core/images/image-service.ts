/**
 * From what containers say of their images to reference values and provenance: resolved by digest, layers replayed once ever, signatures collected.
 * Questions are answered at once from what is known; answers that come later are told to whoever subscribed.
 */
import { decodeRecord } from "@hullmark/proto/codec";
import type { Clock } from "../../ports/clock.ts";
import { type Registry, RegistryError } from "../../ports/registry.ts";
import type { RevocationAnswers } from "../../ports/revocation-answers.ts";
import type { ImageRow } from "../../ports/rows.ts";
import { matchRule } from "../policy/match.ts";
import { teamPolicy } from "../policy/tighten.ts";
import type { Policy, PolicyRule } from "../policy/types.ts";
import { collectArtefacts, consulting, type ResolvedImage, resolveImage, type Verifiers, withRevokedIndexes } from "../provenance/index.ts";
import type { LogEntry } from "../transparency/entry.ts";
import type { AttestedReport } from "../vulnerabilities/attested.ts";
import { Doubts, type Moment } from "./doubts.ts";
import { heldBack, type ImageKnowledge, type ImportedReports, judgeProvenance, NOTHING_KNOWN, type ProvenanceResult, repositoryOf } from "./image-entry.ts";
import { filesLoaded, filesOf } from "./image-files.ts";
import { imageRow, referenceFact, storedResolution } from "./image-rows.ts";
import type { LayerLibrary } from "./layer-library.ts";
import { type Original, originalOf } from "./original.ts";
import type { ImageQuestion, Images, ImagesUnder, ImageView, MissingImage } from "./types.ts";

export interface ImageServices {
  readonly registry: Registry;
  readonly layers: LayerLibrary;
  readonly verifiers: Verifiers;
  /** undefined: authorities are not asked whether they have taken certificates back. */
  readonly revocations?: RevocationAnswers | undefined;
  readonly clock: Clock;
  readonly policy: () => Policy;
  /** Reports on vulnerabilities that people imported; undefined: there are none. */
  readonly imported?: ImportedReports;
  /** Rows as stored: where to go on after a restart. */
  readonly stored: readonly ImageRow[];
  /** Makes a row durable, some time. */
  readonly save: (row: ImageRow, fact: LogEntry | undefined) => void;
  /** Something that is neither the registry's nor the image's fault. */
  readonly onProblem: (error: unknown) => void;
}

const MAX_ENTRIES = 4096;
/** Images looked up at one time; as many again of those of which a verdict is held back. */
const MAX_RUNNING = 2;
const FIRST_RETRY_MS = 2000;
const MAX_RETRY_MS = 120_000;
/** Signatures and tags are looked at again after this time: what was added or withdrawn since shows. */
const REFRESH_MS = 300_000;
/** Where only an authority's list is missing, it alone is asked for again after this time. */
const LIST_RETRY_MS = 60_000;
/** So many in a row may fail before a registry counts as away: about six minutes. */
const HOPEFUL_ATTEMPTS = 8;
/** Who writes a list of signatures anew has done so by then; and while an image counts as bad, its registry is asked so soon again at first. */
const SETTLE_MS = 3000;
const BAD_REFRESH_MS = 10_000;
/** So long a revoked signer is not told of for want of an answer. */
const REVOKED_MS = 30_000;
const LOOKUP_TIMEOUT_MS = 600_000;
/** Always the same one: what was made of it is remembered. */
const NO_REPORTS: readonly AttestedReport[] = [];

interface Entry {
  readonly key: string;
  readonly question: ImageQuestion;
  known: ImageKnowledge;
  /** By the rule that decides; of the policy in force. */
  readonly verdicts: Map<PolicyRule | undefined, ProvenanceResult>;
  /** By rules of namespaces' policies, each of which has one for everything: they vouch for nothing elsewhere. */
  readonly teamVerdicts: Map<PolicyRule | undefined, ProvenanceResult>;
  /** Digests of which it is known whether they are indexes of the image. */
  told: ReadonlySet<string>;
  readonly doubts: Doubts;
  attempts: number;
  /** Whole looks in a row by which it was bad. */
  badLooks: number;
  /** Until when nothing but lists need be asked for, Unix milliseconds: registries have told all there is. */
  wholeUntilMs: number;
  cancel: (() => void) | undefined;
  /** Of what ends the waiting for a revocation. */
  overdue: (() => void) | undefined;
}

export class ImageService implements Images {
  readonly #services: ImageServices;
  readonly #entries = new Map<string, Entry>();
  readonly #rows: Map<string, ImageRow>;
  readonly #listeners = new Set<(keys: ReadonlySet<string>) => void>();
  readonly #stop = new AbortController();
  #waiting: Entry[] = [];
  #running = 0;
  #runningHeld = 0;
  #changed = new Set<string>();
  /** How many verdicts turned bad. */
  #now: Moment = 0;
  /** What registries were asked at this moment or later, shared by all that are looked at again for it. */
  #anew: { readonly at: Moment; readonly registry: Registry } | undefined;
  #lookedFor: ReadonlySet<string>;

  constructor(services: ImageServices) {
    this.#services = services;
    this.#rows = new Map(services.stored.map((row) => [row.configDigest, row]));
    this.#lookedFor = new Set(revokedDigests(services.policy()));
  }

  view(question: ImageQuestion): ImageView {
    return this.#view(this.#entry(question), this.#services.policy(), question);
  }

  /**
   * What images are under another policy, by what is known of them now: nothing changes, and nothing is looked up but the indexes that it revokes and of which nothing is known.
   * @throws the signal's reason
   */
  async under(policy: Policy, signal: AbortSignal): Promise<ImagesUnder> {
    const revoked = revokedDigests(policy);
    const entries = new Map<string, Entry>();
    const untold = new Set<string>();
    const forsaken = new Map<string, readonly string[]>();
    for (const { key, question, known, told } of [...this.#entries.values()]) {
      const digests = revoked.filter((digest) => !told.has(digest));
      const looked = known.resolved && (await withRevokedIndexes(this.#services.registry, known.resolved, digests, signal));
      if (looked && !digests.every((digest) => looked.told.has(digest))) untold.add(key);
      entries.set(key, newEntry(key, question, { ...known, resolved: looked?.image }));
      if (known.files && isForsaken({ ...this.#services, policy: () => policy }, known)) forsaken.set(key, known.files.by);
    }
    const view = (question: ImageQuestion): ImageView =>
      this.#view(entries.get(keyOf(question)) ?? newEntry(keyOf(question), question, NOTHING_KNOWN), policy, question);
    return { view, untold, forsaken };
  }

  #view(entry: Entry, policy: Policy, question: ImageQuestion): ImageView {
    const verdict = this.#verdict(entry, entry.verdicts, policy, question);
    const team = teamPolicy(policy, question.containerName);
    const ofTeam = team && this.#verdict(entry, entry.teamVerdicts, team, question);
    const asked = ofTeam && (ofTeam.input.required || ofTeam.input.status === "revoked") ? ofTeam : undefined;
    const { image, resolved } = entry.known;
    return {
      key: entry.key,
      image,
      lookingUp: isLookingUp(entry),
      configDigest: resolved?.configDigest ?? "",
      manifestDigest: resolved?.manifestDigest ?? "",
      pinnedReference: pinnedReference(resolved, question.imageReference, matchRule(policy, question)),
      provenance: verdict.input,
      teamProvenance: asked?.input,
      provenanceRow: asked && verdict.input.status === "signed" ? asked.row : verdict.row,
    };
  }

  #verdict(entry: Entry, verdicts: Entry["verdicts"], policy: Policy, question: ImageQuestion): ProvenanceResult {
    const rule = matchRule(policy, question);
    const known = verdicts.get(rule);
    if (known) return known;
    const judged = judgeProvenance(entry, policy, rule, this.#services.verifiers, this.#services.clock.nowMs(), this.#services.imported);
    // What would be under another policy is nothing that anybody is told of.
    const real = this.#entries.get(entry.key) === entry;
    const place = `${verdicts === entry.verdicts ? "cluster" : policy.name}/${rule?.name ?? ""}`;
    const verdict = real && !this.#tellable(entry, place, judged) ? heldBack(judged) : judged;
    verdicts.set(rule, verdict);
    return verdict;
  }

  /** Whether registries were asked since it turned bad; they are where not. */
  #tellable(entry: Entry, place: string, judged: ProvenanceResult): boolean {
    const seen = entry.doubts.see(place, judged, entry.known.readAt, () => ++this.#now);
    const { clock } = this.#services;
    if (seen === "ask") this.#enqueue(entry);
    if (seen === "ask-later") {
      entry.cancel?.();
      entry.cancel = clock.after(SETTLE_MS, () => this.#enqueue(entry));
    }
    if (seen.startsWith("ask") && judged.input.status === "revoked") {
      const now = this.#now;
      entry.overdue?.();
      entry.overdue = clock.after(REVOKED_MS, () => {
        entry.doubts.waitedSince = now;
        this.#update(entry, entry.known);
        this.#save(entry);
      });
    }
    return seen === "tell";
  }

  /** What it is looked up by: while it is bad, nothing that was kept from before. */
  #asked({ doubts, known }: Entry): Registry {
    const { registry } = this.#services;
    if (!doubts.any) return registry;
    const since = doubts.heldSince(known.readAt);
    if (since === undefined) return registry.anew();
    if (!this.#anew || this.#anew.at < since) this.#anew = { at: this.#now, registry: registry.anew() };
    return this.#anew.registry;
  }

  vouches(path: Buffer, sha256: Buffer): boolean {
    for (const { known, verdicts } of this.#entries.values()) {
      if ("missing" in known.image || ![...verdicts.values()].some(({ input }) => input.status === "signed")) continue;
      const found = known.image.reference.merged(path);
      const record = found && decodeRecord(found.record);
      if (record?.type === "f" && sha256.equals(record.sha256)) return true;
    }
    return false;
  }

  onChange(listener: (keys: ReadonlySet<string>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Signatures are judged anew; who asks again gets the new answer. A digest that is revoked newly may be an index that nobody has asked about. */
  policyChanged(): void {
    const before = this.#lookedFor;
    this.#lookedFor = new Set(revokedDigests(this.#services.policy()));
    const news = [...this.#lookedFor].some((digest) => !before.has(digest));
    for (const entry of this.#entries.values()) {
      forget(entry);
      const { resolved, files } = entry.known;
      if (!resolved) continue;
      const forsaken = isForsaken(this.#services, entry.known);
      if (files && forsaken) {
        const detail = `who signed its file manifest (${files.by.join(", ")}) counts no more: its layers are read`;
        this.#update(entry, { ...entry.known, image: { missing: "resolving", detail }, files: undefined });
      }
      this.#save(entry);
      // Of another trust store's authorities nothing may have been asked yet.
      if (news || forsaken || this.#rests(entry)) this.#enqueue(entry);
    }
  }

  /** Images are judged anew, by other reports. */
  reportsChanged(): void {
    for (const entry of this.#entries.values()) {
      this.#update(entry, entry.known);
      this.#save(entry);
    }
  }

  /** Reports on an image's vulnerabilities that an authority of the policy signed. */
  reportsOf(configDigest: string): readonly AttestedReport[] {
    const entry = this.#resolved(configDigest, ({ known }) => known.artefacts !== undefined);
    return entry ? this.#verdict(entry, entry.verdicts, this.#services.policy(), entry.question).reports : NO_REPORTS;
  }

  /** Registries may still tell more of an image than they have: they were not asked yet, or did not answer a moment ago. */
  isLookingUp(configDigest: string): boolean {
    const entry = this.#resolved(configDigest, () => true);
    return !entry || isLookingUp(entry);
  }

  #resolved(configDigest: string, where: (entry: Entry) => boolean): Entry | undefined {
    for (const entry of this.#entries.values()) if (entry.known.resolved?.configDigest === configDigest && where(entry)) return entry;
    return undefined;
  }

  /** A file's content as the image has it. @returns undefined: it is not known to have it @throws RegistryError; the signal's reason */
  async original(configDigest: string, file: Original, maxBytes: number, signal: AbortSignal): Promise<Buffer | "too-large" | undefined> {
    const entry = this.#resolved(configDigest, ({ known }) => !("missing" in known.image));
    return entry && (await originalOf(this.#services.registry, entry.known, file, maxBytes, signal));
  }

  #rests({ verdicts, teamVerdicts }: Entry): boolean {
    return [...verdicts.values(), ...teamVerdicts.values()].some(({ answers }) => answers.length > 0);
  }

  /** Looks images up again now. @param image a config digest or a reference as written @returns how many */
  refresh(image: string): number {
    const found = [...this.#entries.values()].filter(
      ({ question, known }) =>
        question.imageReference === image ||
        question.configDigest === image ||
        known.resolved?.configDigest === image ||
        known.resolved?.manifestDigest === image,
    );
    for (const entry of found) this.#enqueue(entry);
    return found.length;
  }

  rows(): ImageRow[] {
    return [...this.#rows.values()];
  }

  stop(): void {
    this.#stop.abort();
    for (const { cancel, overdue } of this.#entries.values()) {
      cancel?.();
      overdue?.();
    }
  }

  #entry(question: ImageQuestion): Entry {
    const key = keyOf(question);
    const known = this.#entries.get(key);
    if (known) return known;
    if (this.#entries.size >= MAX_ENTRIES) {
      for (const [oldest, { cancel, overdue }] of this.#entries) {
        cancel?.();
        overdue?.();
        this.#entries.delete(oldest);
        break;
      }
    }
    const entry = newEntry(key, question, NOTHING_KNOWN);
    this.#entries.set(key, entry);
    this.#enqueue(entry);
    return entry;
  }

  /** @param whole whether registries are asked, not lists alone */
  #enqueue(entry: Entry, whole = true): void {
    entry.cancel?.();
    entry.cancel = undefined;
    if (whole) entry.wholeUntilMs = 0;
    if (!this.#waiting.includes(entry)) this.#waiting.push(entry);
    this.#fill();
  }

  #fill(): void {
    for (let entry = this.#next(); entry; entry = this.#next()) {
      const looked = entry;
      const held = isHeldBack(looked);
      this.#waiting = this.#waiting.filter((each) => each !== looked);
      const count = (by: 1 | -1): void => {
        if (held) this.#runningHeld += by;
        else this.#running += by;
      };
      count(1);
      this.#lookUp(looked)
        .catch((error: unknown) => {
          if (!this.#stop.signal.aborted) this.#failed(looked, error);
        })
        .finally(() => {
          count(-1);
          this.#fill();
        });
    }
  }

  /** What is held back waits for no layers of others, nor do others for its registry. */
  #next(): Entry | undefined {
    if (this.#stop.signal.aborted || this.#waiting.length === 0) return undefined;
    const other = this.#running < MAX_RUNNING ? this.#waiting.find((each) => !isHeldBack(each)) : undefined;
    return other ?? (this.#runningHeld < MAX_RUNNING ? this.#waiting.find(isHeldBack) : undefined);
  }

  async #lookUp(entry: Entry): Promise<void> {
    const { clock } = this.#services;
    const registry = this.#asked(entry);
    const began = this.#now;
    const timeout = new AbortController();
    const cancel = clock.after(LOOKUP_TIMEOUT_MS, () => timeout.abort(new RegistryError("TIMEOUT", "the registry took too long")));
    const signal = AbortSignal.any([this.#stop.signal, timeout.signal]);
    try {
      if (entry.wholeUntilMs > clock.nowMs() && !isHeldBack(entry)) return await this.#lookUpLists(entry, signal);
      const stored = storedResolution(this.#rows.get(entry.question.configDigest));
      if (stored && !entry.known.resolved) await this.#load(entry, stored, signal);
      const resolution = await resolveImage(registry, { ...entry.question, platform: platformOf(entry.question.architecture) }, signal);
      if (resolution.kind === "resolved") {
        const { image, told } = await withRevokedIndexes(registry, resolution.image, revokedDigests(this.#services.policy()), signal);
        const artefacts = await collectArtefacts(registry, image.subjects, signal);
        // Before it is told to anybody: a judgement without them would be "unknown" for a moment.
        const untold = await this.#consult(entry, { ...entry.known, resolved: image, failure: undefined, artefacts }, signal);
        const whole = artefacts.incomplete.length === 0;
        if (whole) entry.wholeUntilMs = clock.nowMs() + REFRESH_MS;
        await this.#load(entry, image, signal, { artefacts, readAt: whole ? began : entry.known.readAt });
        entry.told = told;
        this.#save(entry);
        return whole ? this.#again(entry, this.#refreshMs(entry), untold) : this.#again(entry, undefined);
      }
      // What was resolved once by digest stays what it is; only the registry is not to be had, or has forgotten it.
      if (entry.known.resolved && (resolution.kind === "unreachable" || resolution.kind === "no-reference")) {
        await this.#consult(entry, entry.known, signal);
        // What a registry does not hold nobody can sign there: nothing newer is to be read.
        const readAt = resolution.kind === "no-reference" ? began : entry.known.readAt;
        this.#update(entry, { ...entry.known, readAt, artefacts: entry.known.artefacts ?? { artefacts: [], incomplete: [resolution.text] } });
      } else this.#update(entry, { image: missingOf(resolution), resolved: undefined, failure: resolution, artefacts: undefined, readAt: began });
      this.#again(entry, resolution.kind === "unreachable" ? undefined : this.#refreshMs(entry));
    } finally {
      cancel();
    }
  }

  /** A signature that is added to what is bad shows soon; what stays bad is no load on its registry. */
  #refreshMs(entry: Entry): number {
    if (!entry.doubts.any) entry.badLooks = 0;
    else if (!isHeldBack(entry)) entry.badLooks++;
    return entry.badLooks === 0 ? REFRESH_MS : Math.min(REFRESH_MS, BAD_REFRESH_MS * 2 ** Math.min(16, entry.badLooks - 1));
  }

  async #lookUpLists(entry: Entry, signal: AbortSignal): Promise<void> {
    const untold = await this.#consult(entry, entry.known, signal);
    this.#update(entry, { ...entry.known });
    this.#save(entry);
    // No longer than after a whole look: the clock may have been set back meanwhile.
    this.#again(entry, Math.min(REFRESH_MS, entry.wholeUntilMs - this.#services.clock.nowMs()), untold);
  }

  /**
   * Asks authorities what they say of the certificates on which verdicts will rest.
   * @returns whether nobody can tell for want of one that did not answer; one of several that will do is not missed @throws the signal's reason
   */
  async #consult({ question }: Entry, known: ImageKnowledge, signal: AbortSignal): Promise<boolean> {
    const { revocations, policy, verifiers, clock } = this.#services;
    if (!known.artefacts?.artefacts.some(({ format }) => format === "notary")) return false;
    const judge = () => {
      const all = [policy(), teamPolicy(policy(), question.containerName)].flatMap((by) => by ?? []);
      const results = all.map((by) => judgeProvenance({ known, question }, by, matchRule(by, question), verifiers, clock.nowMs()));
      return { answers: results.flatMap((each) => each.answers), untold: results.some((each) => each.untold) };
    };
    const { answers, untold } = await consulting(judge, revocations, signal);
    signal.throwIfAborted();
    return untold && answers.some((url) => revocations?.problem(url) !== undefined);
  }

  async #load(entry: Entry, resolved: ResolvedImage, signal: AbortSignal, read: Pick<ImageKnowledge, "artefacts" | "readAt"> = entry.known): Promise<void> {
    const { known, question } = entry;
    const { artefacts, readAt } = read;
    const files = filesOf(this.#services, known.files, resolved, artefacts);
    const sound = known.files === undefined || known.files.key === files?.key;
    const same = known.resolved?.configDigest === resolved.configDigest && !("missing" in known.image) && sound;
    // Before it is known what is attached, nothing is fetched that a manifest may stand for.
    const onlyKept = !artefacts && this.#services.policy().fileManifests !== undefined;
    const found = same ? known : await filesLoaded(this.#services, question, resolved, { files, onlyKept }, signal);
    if (!found) return;
    // Policy may have changed meanwhile: whom it trusts no more, the layers replace.
    if (found.files && filesOf(this.#services, found.files, resolved, artefacts)?.key !== found.files.key)
      return await this.#load(entry, resolved, signal, read);
    this.#update(entry, { image: found.image, files: found.files, resolved, failure: undefined, artefacts, readAt });
  }

  #failed(entry: Entry, error: unknown): void {
    const ours = !(error instanceof RegistryError);
    if (ours) this.#services.onProblem(error);
    const detail = ours ? "reference values could not be made; see the verifier's log" : error.message;
    // Reference values that are at hand stay good: they are named by digest. The verdict is judged anew: what it rests on may have ended meanwhile.
    const image = "missing" in entry.known.image ? ({ missing: "registry-unreachable", detail } as const) : entry.known.image;
    this.#update(entry, { ...entry.known, image });
    this.#again(entry, undefined);
  }

  /** @param delayMs undefined: the last attempt failed, wait longer each time @param untold a list is missing: it is asked for before */
  #again(entry: Entry, delayMs: number | undefined, untold = false): void {
    entry.attempts = delayMs === undefined || untold ? entry.attempts + 1 : 0;
    entry.cancel?.();
    entry.cancel = undefined;
    if (this.#waiting.includes(entry)) return;
    // Seen bad meanwhile, where registries had told otherwise before.
    if (delayMs !== undefined && isHeldBack(entry)) delayMs = Math.min(delayMs, SETTLE_MS);
    const waitMs = delayMs ?? Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(16, entry.attempts - 1));
    const listsFirst = untold && waitMs > LIST_RETRY_MS;
    entry.cancel = this.#services.clock.after(listsFirst ? LIST_RETRY_MS : Math.max(0, waitMs), () => this.#enqueue(entry, !listsFirst));
  }

  #update(entry: Entry, known: ImageKnowledge): void {
    entry.known = known;
    forget(entry);
    if (this.#changed.size === 0) queueMicrotask(() => this.#tell());
    this.#changed.add(entry.key);
  }

  #tell(): void {
    const keys = this.#changed;
    this.#changed = new Set();
    for (const listener of this.#listeners) listener(keys);
  }

  #save(entry: Entry): void {
    const provenance = this.#verdict(entry, entry.verdicts, this.#services.policy(), entry.question).row;
    const row = imageRow(entry.known, entry.question, provenance, this.#rows.get(entry.known.resolved?.configDigest ?? ""));
    if (!row) return;
    const before = this.#rows.get(row.configDigest);
    if (before && JSON.stringify(before) === JSON.stringify(row)) return;
    this.#rows.set(row.configDigest, row);
    const news = before?.state !== row.state || before.provenance?.status !== row.provenance?.status;
    this.#services.save(row, news ? referenceFact(row, this.#services.clock.nowMs()) : undefined);
  }
}

function keyOf({ imageReference, imageId, repoDigests, configDigest, architecture, dialect, runtime }: ImageQuestion): string {
  return JSON.stringify([imageReference, imageId, repoDigests, configDigest, architecture, dialect, runtime]);
}

function isLookingUp(entry: Entry): boolean {
  const { known, attempts } = entry;
  if (known === NOTHING_KNOWN || (known.resolved !== undefined && !known.artefacts)) return true;
  return attempts <= HOPEFUL_ATTEMPTS && (attempts > 0 || isHeldBack(entry));
}

/** Whether a verdict on it is not told before its registry was asked again. */
function isHeldBack({ known, doubts }: Entry): boolean {
  return doubts.heldSince(known.readAt) !== undefined;
}

function newEntry(key: string, question: ImageQuestion, known: ImageKnowledge): Entry {
  const verdicts = { verdicts: new Map(), teamVerdicts: new Map(), doubts: new Doubts() };
  return { key, question, known, ...verdicts, told: new Set(), attempts: 0, badLooks: 0, wholeUntilMs: 0, cancel: undefined, overdue: undefined };
}

/** Whether its files are known by a manifest that counts no more under the policy. */
function isForsaken(services: Parameters<typeof filesOf>[0], { files, resolved, artefacts }: ImageKnowledge): boolean {
  return files !== undefined && resolved !== undefined && filesOf(services, files, resolved, artefacts)?.key !== files.key;
}

function revokedDigests({ revocations }: Policy): string[] {
  return revocations.flatMap(({ what }) => (what.kind === "digest" ? [what.digest] : []));
}

function forget({ verdicts, teamVerdicts }: Entry): void {
  verdicts.clear();
  teamVerdicts.clear();
}

/** Signers sign what a tag names, which may be an index. */
/** In the place where it counts as found: another may hold it under another digest, unsigned, or be selected by another rule. */
function pinnedReference(resolved: ResolvedImage | undefined, imageReference: string, rule: PolicyRule | undefined): string {
  if (!resolved) return "";
  const place = repositoryOf(resolved, imageReference, rule?.registries ?? []);
  const there = resolved.subjects.filter(({ repository }) => repository === place);
  const pinned = there.find(({ kind }) => kind === "index") ?? there[0];
  return pinned ? `${pinned.repository}@${pinned.digest}` : "";
}

function missingOf(resolution: NonNullable<ImageKnowledge["failure"]>): MissingImage {
  if (resolution.kind === "unreachable") return { missing: "registry-unreachable", detail: resolution.text };
  if (resolution.kind === "malformed") return { missing: "unextractable", detail: resolution.text };
  return { missing: "no-reference", detail: resolution.text };
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: "amd64",
  amd64: "amd64",
  aarch64: "arm64",
  arm64: "arm64",
  armv7l: "arm",
  ppc64le: "ppc64le",
  s390x: "s390x",
  riscv64: "riscv64",
};

/** OCI names of what the kernel calls its machine. */
function platformOf(machine: string): { os: string; architecture: string } | undefined {
  const architecture = ARCHITECTURES[machine];
  return architecture === undefined ? undefined : { os: "linux", architecture };
}
