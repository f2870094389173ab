/**
 * A program: asks an address 50 times a second, each time by a connection of its own, until it is told to end; then it writes how that went, as JSON.
 * It counts from the first answer: a service that was made a moment ago has no address behind it yet. What it is late with, since the machine is busy, it makes up for.
 */
import { get } from "node:http";

const EVERY_MS = 20;
/** A connection whose first packets go to a pod that is not there any more waits for 1 s, then for 2 s more: an answer that takes longer is none. */
const TIMEOUT_MS = 3_000;
/** That it makes up for at once. */
const MAX_AT_ONCE = 25;

const [url = ""] = process.argv.slice(2);
let sent = 0;
let open = 0;
let ended = false;
let firstAnswerMs: number | undefined;
let seconds = 0;
let slowestMs = 0;
const failures: string[] = [];

function tick(): void {
  if (firstAnswerMs === undefined) return void ask(false);
  const elapsedMs = performance.now() - firstAnswerMs;
  seconds = elapsedMs / 1000;
  for (let due = Math.min(MAX_AT_ONCE, Math.floor(elapsedMs / EVERY_MS) - sent); due > 0; due--) ask(true);
}

function ask(counts: boolean): void {
  if (counts) sent++;
  open++;
  const at = new Date().toISOString();
  const startMs = performance.now();
  const over = (problem?: string): void => {
    open--;
    const endMs = performance.now();
    if (problem === undefined) firstAnswerMs ??= endMs;
    else if (counts) failures.push(`${at} ${problem}`);
    if (counts) slowestMs = Math.max(slowestMs, endMs - startMs);
    finish();
  };
  const request = get(url, { agent: false, timeout: TIMEOUT_MS }, (response) => {
    response.resume();
    response.on("error", ({ message }) => over(message));
    response.on("end", () => over(response.statusCode === 200 ? undefined : `status ${response.statusCode}`));
  });
  request.on("timeout", () => request.destroy(new Error("no answer")));
  request.on("error", ({ message }) => over(message));
}

function finish(): void {
  if (!ended || open > 0) return;
  process.stdout.write(JSON.stringify({ sent, seconds, slowestMs: Math.round(slowestMs), failures }), () => process.exit(0));
}

const timer = setInterval(tick, EVERY_MS);
process.on("SIGTERM", () => {
  clearInterval(timer);
  ended = true;
  finish();
});
