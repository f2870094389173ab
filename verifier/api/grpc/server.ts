/** The gRPC listeners: one for nodes and people with certificates, one for strangers who want one, and one for people with tokens. */
import { Server, type ServerCredentials } from "@grpc/grpc-js";
import { addService, type CallContext, type Guard, MAX_MESSAGE_BYTES, type OnError, RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { Enrollment } from "@hullmark/proto/v1/enrollment";
import { Query } from "@hullmark/proto/v1/query";
import { Actuation, Response } from "@hullmark/proto/v1/response";
import type { Bearers } from "../../core/people/bearers.ts";
import { type AccessServices, mainGuard, type TokenGuardServices, tokenGuard } from "./access.ts";
import { type AdminServices, adminService } from "./admin.ts";
import { type AttestationServices, attestationService } from "./attestation.ts";
import { BoundedListener } from "./bounded-listener.ts";
import { ChangingCredentials, type TlsMaterial } from "./credentials.ts";
import { type EnrollmentServices, enrollmentService, renewalService } from "./enrollment.ts";
import { TokenCaller } from "./identity.ts";
import { type QueryServices, queryService } from "./query.ts";
import { actuationService, type ResponseServices, responseService } from "./response.ts";

export interface ListenOptions {
  /** `host:port`; port 0: any. */
  readonly mainAddress: string;
  readonly enrolmentAddress: string;
  /** For people with bearer tokens; undefined: none. */
  readonly people:
    | (Pick<TokenGuardServices, "onToken"> & {
        readonly host: string;
        readonly port: number;
        readonly bearers: Pick<Bearers, "authenticate">;
        /** A connection was closed, since there were too many. */
        readonly onDropped: () => void;
      })
    | undefined;
  readonly tls: TlsMaterial;
  readonly access: AccessServices;
  readonly attestation: AttestationServices;
  readonly enrolment: EnrollmentServices;
  readonly query: QueryServices;
  readonly admin: AdminServices;
  readonly response: ResponseServices;
  readonly onError: OnError;
}

export interface RunningServer {
  readonly mainPort: number;
  readonly enrolmentPort: number;
  readonly peoplePort: number | undefined;
  /** There at this moment of people with tokens, and of strangers who have yet to show one. */
  readonly peopleConnections: () => number;
  /** New connections meet these. */
  changeTls(tls: TlsMaterial): void;
  /** Ends the streams of people who would be refused now. */
  endRefused(): void;
  /** Ends the connections that are there, for whom they let in may count no more: what is asked now is answered still, for three seconds. */
  reconnect(): void;
  /** No new calls; those under way may end until `deadlineMs`, then they are cut off. */
  stop(deadlineMs: number): Promise<void>;
}

const LIMITS = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  // Each call of one connection may hold one message in memory: only who has a certificate has a connection.
  "grpc.max_concurrent_streams": 64,
  // A node that has vanished without a word is noticed.
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
};
/** Strangers send small messages. */
const ENROLMENT_LIMITS = { ...LIMITS, "grpc.max_receive_message_length": 64 * 1024, "grpc.max_concurrent_streams": 16 };

/** Anybody may connect here; what a call sends is read once its token was found good. */
const PEOPLE_CONNECTIONS = { all: 512, ofAddress: 128 };
const PEOPLE_LIMITS = { ...LIMITS, "grpc.max_receive_message_length": 1024 * 1024, "grpc.max_concurrent_streams": 16 };
/** Longer than any timer waits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const RECONNECT_MS = 3000;

/** @throws the system's error where an address cannot be listened on */
export async function listen(options: ListenOptions): Promise<RunningServer> {
  const main = new Server(LIMITS);
  const guard = mainGuard(options.access);
  addService(main, Attestation, attestationService(options.attestation), guard, options.onError);
  const watching = new Set<CallContext>();
  const endIfRefused = (context: CallContext): void => {
    try {
      guard(context);
    } catch (error) {
      context.end?.(RpcError.from(error));
    }
  };
  const servePeople = (server: Server, admit: Guard): void => {
    const queryGuard: Guard = async (context) => {
      await admit(context);
      if (!context.end || context.signal.aborted) return;
      watching.add(context);
      // A token that is over ends what is open by it.
      const leftMs = context.caller instanceof TokenCaller ? context.caller.identity.notAfterMs - options.access.nowMs() : undefined;
      const timer = leftMs === undefined ? undefined : setTimeout(() => endIfRefused(context), Math.min(leftMs + 1, MAX_TIMER_MS));
      const done = (): void => {
        clearTimeout(timer);
        watching.delete(context);
      };
      context.signal.addEventListener("abort", done, { once: true });
    };
    addService(server, Query, queryService(options.query), queryGuard, options.onError);
    addService(server, Admin, adminService(options.admin), admit, options.onError);
    addService(server, Response, responseService(options.response), admit, options.onError);
  };
  servePeople(main, guard);
  addService(main, Actuation, actuationService(options.response), guard, options.onError);
  addService(main, Enrollment, renewalService(options.enrolment, options.access), guard, options.onError);
  const enrolment = new Server(ENROLMENT_LIMITS);
  // Nobody can be asked who he is before he has enrolled.
  const open: Guard = () => {};
  addService(enrolment, Enrollment, enrollmentService(options.enrolment), open, options.onError);
  const people = new Server(PEOPLE_LIMITS);
  const servers = [main, enrolment, people];
  const secure = servers.map((server) => new ChangingCredentials(options.tls, server === main));
  const [mainTls, enrolmentTls, peopleTls] = secure as [ChangingCredentials, ChangingCredentials, ChangingCredentials];
  const injector = people.createConnectionInjector(peopleTls);
  const bounded = options.people && new BoundedListener(PEOPLE_CONNECTIONS, (socket) => injector.injectConnection(socket), options.people.onDropped);
  if (options.people) {
    const onProven = (peer: string): void => bounded?.proven(peer);
    servePeople(people, tokenGuard({ ...options.people, onProven }, guard));
  }
  try {
    const mainPort = await bind(main, options.mainAddress, mainTls);
    const enrolmentPort = await bind(enrolment, options.enrolmentAddress, enrolmentTls);
    const peoplePort = options.people && (await bounded?.listen(options.people.host, options.people.port));
    return {
      mainPort,
      enrolmentPort,
      peoplePort,
      peopleConnections: () => bounded?.size ?? 0,
      changeTls: (tls) => secure.forEach((each) => void each.change(tls)),
      endRefused: () => watching.forEach(endIfRefused),
      reconnect: () => void main.drain(options.mainAddress.replace(/\d+$/, String(mainPort)), RECONNECT_MS),
      stop: async (deadlineMs) => {
        bounded?.close();
        await stop(servers, deadlineMs);
        bounded?.endAll();
      },
    };
  } catch (error) {
    bounded?.close();
    for (const server of servers) server.forceShutdown();
    throw error;
  }
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => server.bindAsync(address, credentials, (error, port) => (error ? reject(error) : resolve(port))));
}

async function stop(servers: readonly Server[], deadlineMs: number): Promise<void> {
  const ended = Promise.all(servers.map((server) => new Promise<void>((resolve) => server.tryShutdown(() => resolve()))));
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, deadlineMs);
  });
  await Promise.race([ended, late]);
  clearTimeout(timer);
  for (const server of servers) server.forceShutdown();
}
