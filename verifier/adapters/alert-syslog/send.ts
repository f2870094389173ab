/**
 * A connection a delivery, over TLS or plain TCP. Syslog acknowledges nothing: what was written may lie in a buffer of a receiver that is gone. So we end our side
 * and wait for the receiver to end its own, which it does when it has read all that came before.
 */
import { isIP, connect as netConnect, type Socket } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { NotifierError } from "../../ports/notifier.ts";

export interface SyslogReceiver {
  readonly host: string;
  readonly port: number;
  readonly transport: "tls" | "tcp";
  /** For the whole exchange. */
  readonly timeoutMs: number;
  /** PEM certificates to trust instead of the system's. */
  readonly ca: string | undefined;
}

/** @throws NotifierError; the signal's reason */
export async function sendFrames(receiver: SyslogReceiver, frames: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { host, port, timeoutMs } = receiver;
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    await exchange(receiver, frames, AbortSignal.any([signal, timeout]));
  } catch (cause) {
    signal.throwIfAborted();
    if (timeout.aborted) throw new NotifierError("NOTIFY_TIMEOUT", `${host}:${port} did not take it within ${timeoutMs} ms`, { cause });
    throw new NotifierError("NOTIFY_UNREACHABLE", `${host}:${port}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function exchange(receiver: SyslogReceiver, frames: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let ended = false;
    const socket: Socket = connect(receiver, () => {
      socket.end(frames, "ascii");
    });
    const abort = () => socket.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    signal.addEventListener("abort", abort, { once: true });
    // Nothing is to come; but it must be read for the end to be seen.
    socket.resume();
    socket.on("end", () => {
      ended = true;
    });
    socket.on("error", reject);
    socket.on("close", () => {
      signal.removeEventListener("abort", abort);
      if (ended && socket.writableFinished) resolve();
      else reject(new Error("the connection was cut before the receiver had read everything"));
    });
    if (signal.aborted) abort();
  });
}

function connect({ host, port, transport, ca }: SyslogReceiver, onReady: () => void): Socket {
  if (transport === "tcp") return netConnect({ host, port, allowHalfOpen: true }, onReady);
  const name = isIP(host) === 0 ? { servername: host } : {};
  return tlsConnect({ host, port, ...name, minVersion: "TLSv1.2", ...(ca === undefined ? {} : { ca }) }, onReady);
}
