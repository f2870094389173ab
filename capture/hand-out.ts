/** Hands a sealed capture to the verifier, for a person who asked there: one at a time, so many an hour, where this host's configuration allows it. Only responders can open it. */
import { CaptureRefusal } from "@hullmark/proto/v1/capture";
import type { KeptCaptures } from "./capture.ts";

export interface WantedCapture {
  readonly requestId: Uint8Array;
  readonly actionId: string;
  readonly digest: string;
}

export interface CapturePart {
  readonly requestId: Uint8Array;
  readonly offset: number;
  readonly bytes: Buffer;
  readonly last: boolean;
  readonly refusal: CaptureRefusal;
}

export interface HandOutServices {
  /** undefined: none are taken, or none are handed out. */
  readonly captures: KeptCaptures | undefined;
  /** Resolves when the verifier has the part. */
  readonly upload: (part: CapturePart) => Promise<void>;
  readonly nowMs: () => number;
  /** For this host's own log. */
  readonly told: (what: string, facts: Readonly<Record<string, string>>) => void;
}

const MAX_HOURLY = 60;
const HOUR_MS = 3_600_000;
const NOTHING = Buffer.alloc(0);

export class HandOut {
  readonly #services: HandOutServices;
  #busy = false;
  #hour = { sinceMs: 0, asked: 0 };

  constructor(services: HandOutServices) {
    this.#services = services;
  }

  /** @throws what `upload` rejects with, and the system's errors of reading: the verifier then waits no longer than it does */
  async answer({ requestId, actionId, digest }: WantedCapture): Promise<void> {
    const { captures, upload, told } = this.#services;
    const refuse = async (refusal: CaptureRefusal): Promise<void> => {
      told("capture refused", { actionId: actionId.slice(0, 32), digest: digest.slice(0, 71), refusal: CaptureRefusal[refusal] });
      await upload({ requestId, offset: 0, bytes: NOTHING, last: true, refusal });
    };
    if (!captures) return await refuse(CaptureRefusal.NOT_HANDED_OUT);
    if (this.#busy || !this.#mayAsk()) return await refuse(CaptureRefusal.BUSY);
    this.#busy = true;
    try {
      const sealed = await captures.open(actionId, digest);
      if (!sealed) return await refuse(CaptureRefusal.NOT_KEPT);
      let offset = 0;
      for await (const bytes of sealed) {
        await upload({ requestId, offset, bytes, last: false, refusal: CaptureRefusal.UNSPECIFIED });
        offset += bytes.length;
      }
      await upload({ requestId, offset, bytes: NOTHING, last: true, refusal: CaptureRefusal.UNSPECIFIED });
      told("capture handed out", { actionId, digest });
    } finally {
      this.#busy = false;
    }
  }

  #mayAsk(): boolean {
    const nowMs = this.#services.nowMs();
    if (Math.abs(nowMs - this.#hour.sinceMs) >= HOUR_MS) this.#hour = { sinceMs: nowMs, asked: 0 };
    return ++this.#hour.asked <= MAX_HOURLY;
  }
}
