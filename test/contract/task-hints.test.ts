/** When a runtime without events is asked for its list: each second, or only when its tasks begin and end where it tells of these. */
import { create, toBinary } from "@bufbuild/protobuf";
import { TaskHints } from "@hullmark/agent/adapters/cri/task-hints";
import { EnvelopeSchema, TaskExitSchema } from "@hullmark/proto/containerd-events";
import { RpcError } from "@hullmark/proto/rpc";
import { expect, onTestFinished, test } from "vitest";

const INTERVAL_MS = 10;
/** More than any number of lists that follow a hint, by far. */
const LONG_MS = 100 * INTERVAL_MS;

const envelope = (topic: string, event?: { readonly containerId: string; readonly id: string }) =>
  create(EnvelopeSchema, { namespace: "k8s.io", topic, ...(event && { event: { value: toBinary(TaskExitSchema, create(TaskExitSchema, event)) } }) });
type Envelope = ReturnType<typeof envelope>;

/** A runtime that says what the test wants, and how often it is asked. */
function following(refusal?: RpcError) {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  let say: (next: Envelope | RpcError) => void = () => {};
  let filters: readonly string[] = [];
  const subscribe = async function* (request: { readonly filters?: string[] }) {
    filters = request.filters ?? [];
    if (refusal) throw refusal;
    for (;;) {
      const next = await new Promise<Envelope | RpcError>((resolve) => {
        say = resolve;
      });
      if (next instanceof RpcError) throw next;
      yield next;
    }
  };
  const hints = new TaskHints({ subscribe } as ConstructorParameters<typeof TaskHints>[0], stop.signal, INTERVAL_MS);
  const seen = { asked: 0, lost: undefined as unknown };
  const asking = (async () => {
    for (; !stop.signal.aborted; seen.asked++) await hints.due(stop.signal);
  })().catch((error: unknown) => {
    seen.lost = error;
  });
  const quiet = async (): Promise<number> => {
    for (let before = -1; before !== seen.asked; ) {
      before = seen.asked;
      await new Promise((resolve) => setTimeout(resolve, LONG_MS));
    }
    return seen.asked;
  };
  return { stop, seen, asking, quiet, filters: () => filters, say: (next: Envelope | RpcError) => say(next) };
}

test("it is asked some times, and then when a task begins or ends, until the interface can be expected to know of it", async () => {
  const { stop, seen, asking, quiet, filters, say } = following();
  const first = await quiet();
  expect(first).toBe(10);
  expect(filters()).toEqual([expect.stringContaining('namespace=="k8s.io"')]);
  say(envelope("/tasks/start"));
  await expect.poll(() => seen.asked).toBeGreaterThan(first);
  expect(await quiet()).toBe(first + 6);
  say(envelope("/tasks/exit", { containerId: "a", id: "a" }));
  expect(await quiet()).toBe(first + 12);
  // A probe of the kubelet's.
  say(envelope("/tasks/exit", { containerId: "a", id: "probe" }));
  expect(await quiet()).toBe(first + 12);
  say(create(EnvelopeSchema, { topic: "/tasks/exit", event: { value: Uint8Array.of(10, 200) } }));
  expect(await quiet()).toBe(first + 18);
  stop.abort();
  await asking;
  expect(seen.lost).toBeUndefined();
});

test("one that has no such interface, or keeps it from this program, is asked each second", async () => {
  for (const code of ["UNIMPLEMENTED", "PERMISSION_DENIED"] as const) {
    const { seen } = following(new RpcError(code, "no"));
    await expect.poll(() => seen.asked, { timeout: 30_000 }).toBeGreaterThan(30);
  }
});

test("a stream that is lost is told, while it is waited for and before", async () => {
  const lost = new RpcError("UNAVAILABLE", "connection lost");
  const { seen, quiet, say } = following();
  await quiet();
  say(lost);
  await expect.poll(() => seen.lost).toBe(lost);
  const early = following(lost);
  await expect.poll(() => early.seen.lost).toBe(lost);
});
