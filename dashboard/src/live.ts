/** The verifier tells that something changed; whoever shows it asks again. */
import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { AskError, ask, type By } from "./ask.ts";

/** Without a stream, and for what no event tells of (a certificate that ends), it is asked now and then. */
const ASK_EVERY_MS = 30_000;
/** However much happens. */
const ASK_AT_MOST_EVERY_MS = 2000;

type Listener = () => void;
const changed = new Set<Listener>();
const states = new Set<(live: boolean) => void>();
let source: EventSource | undefined;
let live = false;

/** @returns ends it */
export function startLive(): () => void {
  source = new EventSource("/api/changes");
  source.onmessage = () => {
    for (const listener of changed) listener();
  };
  source.onopen = () => tell(true);
  source.onerror = () => {
    tell(false);
    // Whether the session is over: the next question tells.
    for (const listener of changed) listener();
  };
  return () => {
    source?.close();
    source = undefined;
  };
}

function tell(now: boolean): void {
  live = now;
  for (const state of states) state(now);
}

export function useLive(): boolean {
  const [now, set] = useState(live);
  useEffect(() => {
    states.add(set);
    return () => void states.delete(set);
  }, []);
  return now;
}

export interface Answer<T> {
  /** The newest answer; it stays while a newer one is waited for, and where that fails. */
  readonly value: T | undefined;
  /** When the verifier gave it, Unix milliseconds. */
  readonly valueAtMs: number | undefined;
  /** Why the newest question failed. */
  readonly error: AskError | undefined;
  /** Asks at once, for a person. */
  readonly again: () => Promise<void>;
}

/** Asks when the page is opened, when `request` changes, and whenever something changes. */
export function useAnswer<M extends DescMethodUnary>(method: M, request: MessageInitShape<M["input"]>): Answer<MessageShape<M["output"]>> {
  const key = `${method.name} ${JSON.stringify(request)}`;
  const [answer, setAnswer] = useState<{ key: string; value?: MessageShape<M["output"]>; valueAtMs?: number; error?: AskError }>({ key });
  const latest = useRef({ request, key });
  latest.current = { request, key };
  const run = useCallback(
    async (by: By, signal?: AbortSignal): Promise<void> => {
      const asked = latest.current;
      const settle = (told: { value: MessageShape<M["output"]>; valueAtMs: number } | { error: AskError }): void => {
        if (signal?.aborted || latest.current.key !== asked.key) return;
        setAnswer(({ error: _before, ...before }) => ({ ...(before.key === asked.key ? before : { key: asked.key }), ...told }));
      };
      try {
        settle({ value: await ask(method, asked.request, by, signal), valueAtMs: Date.now() });
      } catch (error) {
        if (error instanceof AskError) settle({ error });
        else if (!signal?.aborted) throw error;
      }
    },
    [method],
  );
  useEffect(() => {
    const stop = new AbortController();
    let askedMs = performance.now();
    let waiting: ReturnType<typeof setTimeout> | undefined;
    const refresh = (): void => {
      if (waiting !== undefined || document.hidden) return;
      waiting = setTimeout(
        () => {
          waiting = undefined;
          askedMs = performance.now();
          void run("page", stop.signal);
        },
        Math.max(0, ASK_AT_MOST_EVERY_MS - (performance.now() - askedMs)),
      );
    };
    void run("person", stop.signal);
    const timer = setInterval(refresh, ASK_EVERY_MS);
    changed.add(refresh);
    document.addEventListener("visibilitychange", refresh);
    return () => {
      stop.abort();
      clearTimeout(waiting);
      clearInterval(timer);
      changed.delete(refresh);
      document.removeEventListener("visibilitychange", refresh);
    };
  }, [key, run]);
  const mine = answer.key === key ? answer : undefined;
  return { value: mine?.value, valueAtMs: mine?.valueAtMs, error: mine?.error, again: () => run("person") };
}

/** Now, for ages: anew each second would make everything move; each ten is enough. */
export function useNow(): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), 10_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
