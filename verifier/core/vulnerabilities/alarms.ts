/** Tells people of new vulnerabilities of images that run, where policy asks for it. What they were told of stands in the alerts themselves, so that a restart tells nothing twice. */

import type { Store } from "../../ports/store.ts";
import type { AlertBook, AlertSubject } from "../alerting/index.ts";
import type { Committer } from "../fleet/committer.ts";
import type { Policy, VulnerabilityAlertTerms } from "../policy/types.ts";
import { type Alarming, alarmingOf, alarmNews, endOf, type HeldAlarm, heldAlarm, shortOf, type Told, toldBefore, toldWith } from "./alarm.ts";
import type { ImageFinding } from "./image-findings.ts";
import { type ImageOverview, sumOf, type VulnerabilityCounts, type VulnerabilityOverview } from "./overview.ts";

/** Signed reports and statements are looked up in registries first: what counts before they are there is not all. */
const LOOKUP_MS = 120_000;
/** An image that nothing runs for so long is over: what is started each hour anew runs. */
const GONE_MS = 3_600_000;

export interface VulnerabilityAlarmServices {
  readonly overview: Pick<VulnerabilityOverview, "all">;
  /** Registries may still tell more of it than they have. */
  readonly isLookingUp: (configDigest: string) => boolean;
  readonly book: Pick<AlertBook, "heldIds" | "holderOf" | "held">;
  readonly store: Pick<Store, "countWorkloads">;
  readonly committer: Pick<Committer, "submit">;
  readonly policy: () => Policy;
  readonly nowMs: () => number;
}

export interface VulnerabilityStanding {
  readonly counts: VulnerabilityCounts;
  readonly images: number;
  /** Of which no scan is known. */
  readonly unscanned: number;
}

/** What is remembered of an image. */
interface Known {
  readonly ranAtMs: number;
  readonly told: Told | undefined;
}

export class VulnerabilityAlarms {
  readonly #services: VulnerabilityAlarmServices;
  #startedAtMs: number;
  /** By {@link shortOf}. */
  #known: ReadonlyMap<string, Known> = new Map();
  /** Of the same findings under the same terms the same is alarming. */
  readonly #alarming = new WeakMap<readonly ImageFinding[], { readonly terms: VulnerabilityAlertTerms | undefined; readonly alarming: Alarming }>();
  #standing: VulnerabilityStanding | undefined;

  constructor(services: VulnerabilityAlarmServices) {
    this.#services = services;
    this.#startedAtMs = services.nowMs();
  }

  /** Of images that run, as {@link tick} found them last: whatever policy asks. A vulnerability counts once an image. undefined: they were not looked at yet, which is not that there are none. */
  get standing(): VulnerabilityStanding | undefined {
    return this.#standing;
  }

  /** Holds what is known now against what people were told. @throws StoreError: it comes again */
  async tick(): Promise<void> {
    const { overview, book, store, committer, nowMs } = this.#services;
    const { byImage } = await store.countWorkloads();
    const running = overview.all(({ configDigest }) => (byImage[configDigest] ?? 0) > 0);
    const unscanned = running.filter(({ reports }) => !reports.some(({ isScan }) => isScan)).length;
    this.#standing = { counts: sumOf(running.map(({ counts }) => counts)), images: running.length, unscanned };
    const atMs = nowMs();
    // The clock may have been set back.
    this.#startedAtMs = Math.min(this.#startedAtMs, atMs);
    if (atMs - this.#startedAtMs < LOOKUP_MS) return;
    const toldAtMs = (id: string): number => book.held(book.holderOf(id) ?? "")?.record.newsAtMs ?? 0;
    const held = new Map([...book.heldIds()].flatMap((id) => heldAlarm(id, toldAtMs(id)) ?? []).map((each) => [each.image, each]));
    const known = this.#rested(held.keys(), atMs);
    const subjects = running.flatMap((each) => this.#tellOf(each, byImage[each.image.configDigest] ?? 0, held, known, atMs));
    const ended = [...held.values()].filter(({ image }) => !known.has(image)).map((each) => endOf(each, atMs));
    if (subjects.length + ended.length > 0) await committer.submit({ entries: [], build: () => ({}), subjects: [...ended, ...subjects] });
    this.#known = known;
  }

  /** What is remembered of images that may run no more. @param held those of which an alert is open: a process before this one may have seen them run until this one began */
  #rested(held: Iterable<string>, atMs: number): Map<string, Known> {
    const all = new Map([...held].map((image): [string, Known] => [image, { ranAtMs: this.#startedAtMs, told: undefined }]));
    for (const [image, { ranAtMs, told }] of this.#known) all.set(image, { ranAtMs: Math.min(ranAtMs, atMs), told });
    return new Map([...all].filter(([, { ranAtMs }]) => atMs - ranAtMs < GONE_MS));
  }

  #tellOf(overview: ImageOverview, containers: number, held: ReadonlyMap<string, HeldAlarm>, known: Map<string, Known>, atMs: number): readonly AlertSubject[] {
    const { policy, isLookingUp } = this.#services;
    const { configDigest } = overview.image;
    const image = shortOf(configDigest);
    const alarming = this.#alarmingOf(overview.findings, policy().vulnerabilityAlerts);
    const told = this.#known.get(image)?.told;
    const settled = !isLookingUp(configDigest) || atMs - this.#startedAtMs >= GONE_MS;
    const alarm = { overview, containers, alarming, held: held.get(image), told, settled };
    const { subjects, news } = alarmNews(alarm, atMs);
    known.set(image, { ranAtMs: atMs, told: news ? toldWith(told, alarming, atMs) : (told ?? toldBefore(alarm)) });
    return subjects;
  }

  #alarmingOf(findings: readonly ImageFinding[], terms: VulnerabilityAlertTerms | undefined): Alarming {
    const before = this.#alarming.get(findings);
    if (before && before.terms === terms) return before.alarming;
    const alarming = alarmingOf(findings, terms);
    this.#alarming.set(findings, { terms, alarming });
    return alarming;
  }
}
