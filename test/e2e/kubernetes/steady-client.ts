/**
 * A program: asks an address 50 times a second, each time by a connection of its own, until it is told to end; then it writes how that went, as JSON.
 * It counts from the first answer: a service that was made a moment ago has no address behind it yet.
 */
import { get } from "node:http";

const EVERY_MS = 20;
const TIMEOUT_MS = 10_000;

const [url = ""] = process.argv.slice(2);
let sent = 0;
let open = 0;
let ended = false;
let answered = false;
const failures: string[] = [];

function ask(): void {
  if (answered) sent++;
  const counts = answered;
  open++;
  const at = new Date().toISOString();
  const over = (problem?: string): void => {
    open--;
    if (problem === undefined) answered = true;
    else if (counts) failures.push(`${at} ${problem}`);
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
  process.stdout.write(JSON.stringify({ sent, failures }), () => process.exit(0));
}

const timer = setInterval(ask, EVERY_MS);
process.on("SIGTERM", () => {
  clearInterval(timer);
  ended = true;
  finish();
});
