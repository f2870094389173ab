/** Connections of strangers, over real sockets: bounded in all and by address; what gives way is never somebody who was let in, where anybody else is there. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { BoundedListener, type ConnectionLimits } from "@hullmark/verifier/api/grpc/bounded-listener";
import { afterEach, expect, test } from "vitest";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function fixture(limits: { readonly all: number; readonly ofAddress: number }, proven: ConnectionLimits["proven"] = "counts") {
  let dropped = 0;
  const listener = new BoundedListener(
    { ...limits, proven },
    (socket) => void socket.on("error", () => {}).resume(),
    () => void dropped++,
  );
  const port = await listener.listen("127.0.0.1", 0);
  ends.push(() => {
    void listener.close();
    listener.endAll();
  });
  /** One that the listener has taken, from an address of the loopback network. */
  const from = async (localAddress: string): Promise<{ readonly socket: Socket; readonly peer: string; readonly closed: Promise<unknown> }> => {
    const before = listener.size + dropped;
    const socket = connect({ host: "127.0.0.1", port, localAddress }).on("error", () => {});
    ends.push(() => void socket.destroy());
    await once(socket, "connect");
    await expect.poll(() => listener.size + dropped, { timeout: 30_000 }).toBe(before + 1);
    return { socket, peer: `${localAddress}:${socket.localPort}`, closed: once(socket, "close") };
  };
  return { listener, from, dropped: () => dropped };
}

test("of one address the oldest gives way that showed no token, and others stay", async () => {
  const { listener, from, dropped } = await fixture({ all: 100, ofAddress: 3 });
  const other = await from("127.0.0.2");
  const proven = await from("127.0.0.1");
  listener.proven(proven.peer, "");
  const [second] = [await from("127.0.0.1"), await from("127.0.0.1")];
  expect([listener.size, dropped()]).toEqual([4, 0]);
  await from("127.0.0.1");
  await second.closed;
  expect([listener.size, dropped()]).toEqual([4, 1]);
  expect([proven.socket.closed, other.socket.closed]).toEqual([false, false]);
  // One that went makes place again.
  other.socket.destroy();
  await expect.poll(() => listener.size, { timeout: 30_000 }).toBe(3);
});

test("of all, one of the address that holds most gives way; where all were let in, the newest", async () => {
  const { listener, from, dropped } = await fixture({ all: 3, ofAddress: 3 });
  const few = await from("127.0.0.2");
  const many = [await from("127.0.0.1"), await from("127.0.0.1")];
  const third = await from("127.0.0.3");
  await many[0]?.closed;
  expect([listener.size, dropped(), few.socket.closed]).toEqual([3, 1, false]);
  for (const { peer } of [few, third, many[1] as typeof few]) listener.proven(peer, "");
  const late = await from("127.0.0.4");
  await late.closed;
  expect([listener.size, few.socket.closed, third.socket.closed]).toEqual([3, false, false]);
});

test("where who was let in counts for themselves, strangers alone count, and only they are ended; of one's own the oldest gives way", async () => {
  const { listener, from, dropped } = await fixture({ all: 100, ofAddress: 2 }, { ofEach: 2 });
  const own = [await from("127.0.0.1"), await from("127.0.0.1")];
  for (const { peer } of own) listener.proven(peer, "");
  expect(listener.size).toBe(0);
  const strangers = [await from("127.0.0.1"), await from("127.0.0.1")];
  expect([listener.size, dropped()]).toEqual([2, 0]);
  await from("127.0.0.1");
  await strangers[0]?.closed;
  expect([listener.size, dropped(), own.some(({ socket }) => socket.closed)]).toEqual([2, 1, false]);
  listener.endStrangers();
  await strangers[1]?.closed;
  expect(own.some(({ socket }) => socket.closed)).toBe(false);
  await expect.poll(() => listener.size, { timeout: 30_000 }).toBe(0);
  const third = await from("127.0.0.1");
  listener.proven(third.peer, "");
  await own[0]?.closed;
  expect([dropped(), own[1]?.socket.closed, third.socket.closed]).toEqual([2, false, false]);
  const other = await from("127.0.0.1");
  listener.proven(other.peer, "other");
  own[1]?.socket.destroy();
  await own[1]?.closed;
  expect([dropped(), third.socket.closed, other.socket.closed]).toEqual([2, false, false]);
  for (const { socket } of [third, other]) socket.destroy();
});

test("where it closes it says when all have ended: those who were let in at once, too", async () => {
  const { listener, from } = await fixture({ all: 100, ofAddress: 10 }, { ofEach: 2 });
  const [known, stranger] = [await from("127.0.0.1"), await from("127.0.0.2")];
  listener.proven(known.peer, "w-01");
  const gone = listener.close();
  stranger.socket.destroy();
  await expect.poll(() => listener.size, { timeout: 30_000 }).toBe(0);
  expect(await Promise.race([gone, "those let in are there"])).toBe("those let in are there");
  listener.endAll();
  await Promise.all([gone, known.closed]);
});

test("those that are to end in time do, let in or not; who comes meanwhile stays", async () => {
  const { listener, from } = await fixture({ all: 100, ofAddress: 10 }, { ofEach: 2 });
  const [known, stranger] = [await from("127.0.0.1"), await from("127.0.0.2")];
  listener.proven(known.peer, "w-01");
  listener.endInTime(200);
  const [late, lateKnown] = [await from("127.0.0.3"), await from("127.0.0.4")];
  listener.proven(lateKnown.peer, "w-01");
  await Promise.all([known.closed, stranger.closed]);
  expect([late.socket.closed, lateKnown.socket.closed]).toEqual([false, false]);
});
