/** The gRPC listeners: one for nodes and people with certificates, one for strangers who want one, and one for people with tokens. */
import type { DescService } from "@bufbuild/protobuf";
import { Server } from "@grpc/grpc-js";
import { addService, type CallContext, type Guard, MAX_MESSAGE_BYTES, type OnError, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { Enrollment } from "@hullmark/proto/v1/enrollment";
import { Query } from "@hullmark/proto/v1/query";
import { Actuation, Response } from "@hullmark/proto/v1/response";
import type { Bearers } from "../../core/people/bearers.ts";
import { type AccessServices, callerOf, mainGuard, type TokenGuardServices, tokenGuard } from "./access.ts";
import { type AdminServices, adminService } from "./admin.ts";
import { type AttestationServices, attestationService } from "./attestation.ts";
import { BoundedListener, type ConnectionLimits } from "./bounded-listener.ts";
import { ChangingCredentials, type TlsMaterial } from "./credentials.ts";
import { type EnrollmentServices, enrollmentService, renewalService } from "./enrollment.ts";
import { type QueryServices, queryService } from "./query.ts";
import { actuationService, type ResponseServices, responseService } from "./response.ts";

interface Place {
  readonly host: string;
  /** 0: any. */
  readonly port: number;
}

/** Whose connections are bounded. */
export type ListenerName = "main" | "enrolment" | "people";

export interface ListenOptions {
  readonly places: { readonly main: Place; readonly enrolment: Place };
  /** For people with bearer tokens; undefined: none. */
  readonly people: (Pick<TokenGuardServices, "onToken"> & Place & { readonly bearers: Pick<Bearers, "authenticate"> }) | undefined;
  /** A connection was closed, since there were too many. */
  readonly onDropped: (listener: ListenerName) => void;
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
  /** There at this moment that count: of people with tokens and of those who enrol all, on the main listener strangers alone. */
  readonly connections: () => Readonly<Record<ListenerName, number>>;
  /** New connections meet these. */
  changeTls(tls: TlsMaterial): void;
  /** Ends the streams of people and actuators who would be refused now. */
  endRefused(): void;
  /** Ends the connections that are there, for whom they let in may count no more: what is asked now is answered still, for three seconds. */
  reconnect(): void;
  /** No new calls; watches end, other calls that are under way may until `deadlineMs`, then they are cut off. */
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

/**
 * Whoever has a certificate is let in by their first call, and counts no more among strangers: each has so many of their own. What counts is a handshake under way, or a stranger who begins none: of a whole fleet that comes
 * back at once, by one address too, most are let in sooner.
 */
const MAIN_CONNECTIONS = { all: 16_384, ofAddress: 4096, proven: { ofEach: 256 } } as const;
const ENROLMENT_CONNECTIONS = { all: 4096, ofAddress: 1024, proven: "counts" } as const;
/** Anybody may connect here; what a call sends is read once its token was found good. */
const PEOPLE_CONNECTIONS = { all: 512, ofAddress: 128, proven: "counts" } as const;
const PEOPLE_LIMITS = { ...LIMITS, "grpc.max_receive_message_length": 1024 * 1024, "grpc.max_concurrent_streams": 16 };
/** Longer than any timer waits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const RECONNECT_MS = 3000;
/** So long a verifier that stops waits for whoever was not let in: a handshake, an enrolment. */
const STRANGERS_MS = 1000;

const stoppingError = (): RpcError => new RpcError("UNAVAILABLE", "the verifier is stopping: reconnect", { reason: "STOPPING", retryable: true });

/** @throws the system's error where an address cannot be listened on */
export async function listen(options: ListenOptions): Promise<RunningServer> {
  const main = new Server(LIMITS);
  const enrolment = new Server(ENROLMENT_LIMITS);
  const people = new Server(PEOPLE_LIMITS);
  const servers = [main, enrolment, people];
  const { onDropped, places } = options;
  const onMain = bounded(main, new ChangingCredentials(options.tls, true), MAIN_CONNECTIONS, () => onDropped("main"));
  const onEnrolment = bounded(enrolment, new ChangingCredentials(options.tls, false), ENROLMENT_CONNECTIONS, () => onDropped("enrolment"));
  const onPeople = bounded(people, new ChangingCredentials(options.tls, false), PEOPLE_CONNECTIONS, () => onDropped("people"));
  const all = [onMain, onEnrolment, onPeople];
  const guard = mainGuard(options.access);
  const certified: Guard = (context) => {
    guard(context);
    onMain.listener.proven(context.peer, whoCalls(callerOf(context, options.access)));
  };
  let stopping = false;
  const refuseStopping = (): void => {
    if (stopping) throw stoppingError();
  };
  const serve = <S extends DescService>(server: Server, service: S, implementation: ServiceImplementation<S>, admit: Guard): void => {
    const guarded: Guard = async (context) => {
      refuseStopping();
      await admit(context);
      refuseStopping();
    };
    addService(server, service, implementation, guarded, options.onError);
  };
  serve(main, Attestation, attestationService(options.attestation), certified);
  const watching = new Set<CallContext>();
  const endIfRefused = (context: CallContext): void => {
    try {
      guard(context);
    } catch (error) {
      context.end?.(RpcError.from(error));
    }
  };
  /** A certificate, or a token, that is over ends what is open by it. */
  const whileItLasts =
    (admit: Guard): Guard =>
    async (context) => {
      await admit(context);
      if (!context.end || context.signal.aborted) return;
      watching.add(context);
      const { notAfterMs } = callerOf(context, options.access);
      const wait = (): NodeJS.Timeout => {
        const leftMs = Math.max(0, notAfterMs - options.access.nowMs()) + 1;
        const look = (): void => {
          if (options.access.nowMs() < notAfterMs) timer = wait();
          else endIfRefused(context);
        };
        return setTimeout(look, Math.min(leftMs, MAX_TIMER_MS));
      };
      let timer = wait();
      const done = (): void => {
        clearTimeout(timer);
        watching.delete(context);
      };
      context.signal.addEventListener("abort", done, { once: true });
    };
  const servePeople = (server: Server, admit: Guard): void => {
    serve(server, Query, queryService(options.query), whileItLasts(admit));
    serve(server, Admin, adminService(options.admin), admit);
    serve(server, Response, responseService(options.response), admit);
  };
  servePeople(main, certified);
  serve(main, Actuation, actuationService(options.response), whileItLasts(certified));
  serve(main, Enrollment, renewalService(options.enrolment, options.access), certified);
  // Nobody can be asked who he is before he has enrolled.
  const open: Guard = () => {};
  serve(enrolment, Enrollment, enrollmentService(options.enrolment), open);
  if (options.people) servePeople(people, tokenGuard({ ...options.people, onProven: (peer) => onPeople.listener.proven(peer, "") }, guard));
  try {
    const mainPort = await onMain.listener.listen(places.main.host, places.main.port);
    const enrolmentPort = await onEnrolment.listener.listen(places.enrolment.host, places.enrolment.port);
    const peoplePort = options.people && (await onPeople.listener.listen(options.people.host, options.people.port));
    return {
      mainPort,
      enrolmentPort,
      peoplePort,
      connections: () => ({ main: onMain.listener.size, enrolment: onEnrolment.listener.size, people: onPeople.listener.size }),
      changeTls: (tls) => all.forEach(({ credentials }) => void credentials.change(tls)),
      endRefused: () => watching.forEach(endIfRefused),
      reconnect: () => {
        // After its time it ends whatever connections there are by then, also the new ones, and with them calls that have just begun: that time never comes.
        onMain.injector.drain(MAX_TIMER_MS);
        onMain.listener.endInTime(RECONNECT_MS);
      },
      stop: async (deadlineMs) => {
        stopping = true;
        const gone = Promise.all(all.map(({ listener }) => listener.close()));
        for (const { end } of watching) end?.(stoppingError());
        // Its own word that all calls are over comes at once: Node closes the sessions before it looks at them. Whoever has the last answer closes the connection.
        for (const server of servers) server.tryShutdown(() => {});
        await within(gone, Math.min(STRANGERS_MS, deadlineMs));
        for (const { listener } of all) listener.endStrangers();
        await within(gone, deadlineMs - STRANGERS_MS);
        for (const server of servers) server.forceShutdown();
        for (const { listener } of all) listener.endAll();
      },
    };
  } catch (error) {
    for (const { listener } of all) void listener.close();
    for (const server of servers) server.forceShutdown();
    throw error;
  }
}

/** Whatever certificate they come with. */
function whoCalls(caller: ReturnType<typeof callerOf>): string {
  const { kind } = caller;
  return `${kind} ${kind === "operator" ? caller.name : kind === "cluster-actuator" ? caller.cluster : caller.nodeId}`;
}

/** A listener of a server, not yet listening. */
function bounded(server: Server, credentials: ChangingCredentials, limits: ConnectionLimits, onDropped: () => void) {
  const injector = server.createConnectionInjector(credentials);
  return { credentials, injector, listener: new BoundedListener(limits, (socket) => injector.injectConnection(socket), onDropped) };
}

/** Resolves when `done` has, or after `deadlineMs`. */
async function within(done: Promise<unknown>, deadlineMs: number): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, deadlineMs);
  await Promise.race([done, late.promise]);
  clearTimeout(timer);
}
