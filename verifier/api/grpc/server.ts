/** The gRPC listeners: one for nodes and people with certificates, one for strangers who want one. */
import { Server, type ServerCredentials } from "@grpc/grpc-js";
import { addService, type CallContext, type Guard, MAX_MESSAGE_BYTES, type OnError, RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { Enrollment } from "@hullmark/proto/v1/enrollment";
import { Query } from "@hullmark/proto/v1/query";
import { Actuation, Response } from "@hullmark/proto/v1/response";
import { type AccessServices, mainGuard } from "./access.ts";
import { type AdminServices, adminService } from "./admin.ts";
import { type AttestationServices, attestationService } from "./attestation.ts";
import { ChangingCredentials, type TlsMaterial } from "./credentials.ts";
import { type EnrollmentServices, enrollmentService, renewalService } from "./enrollment.ts";
import { type QueryServices, queryService } from "./query.ts";
import { actuationService, type ResponseServices, responseService } from "./response.ts";

export interface ListenOptions {
  /** `host:port`; port 0: any. */
  readonly mainAddress: string;
  readonly enrolmentAddress: string;
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

const RECONNECT_MS = 3000;

/** @throws the system's error where an address cannot be listened on */
export async function listen(options: ListenOptions): Promise<RunningServer> {
  const main = new Server(LIMITS);
  const guard = mainGuard(options.access);
  addService(main, Attestation, attestationService(options.attestation), guard, options.onError);
  const watching = new Set<CallContext>();
  const queryGuard: Guard = (context) => {
    guard(context);
    if (!context.end) return;
    watching.add(context);
    context.signal.addEventListener("abort", () => watching.delete(context), { once: true });
  };
  addService(main, Query, queryService(options.query), queryGuard, options.onError);
  addService(main, Admin, adminService(options.admin), guard, options.onError);
  addService(main, Response, responseService(options.response), guard, options.onError);
  addService(main, Actuation, actuationService(options.response), guard, options.onError);
  addService(main, Enrollment, renewalService(options.enrolment, options.access), guard, options.onError);
  const enrolment = new Server(ENROLMENT_LIMITS);
  // Nobody can be asked who he is before he has enrolled.
  const open: Guard = () => {};
  addService(enrolment, Enrollment, enrollmentService(options.enrolment), open, options.onError);
  const servers = [main, enrolment];
  const secure = [new ChangingCredentials(options.tls, true), new ChangingCredentials(options.tls, false)] as const;
  try {
    const mainPort = await bind(main, options.mainAddress, secure[0]);
    const enrolmentPort = await bind(enrolment, options.enrolmentAddress, secure[1]);
    return {
      mainPort,
      enrolmentPort,
      changeTls: (tls) => secure.forEach((each) => void each.change(tls)),
      endRefused: () => {
        for (const context of watching) {
          try {
            guard(context);
          } catch (error) {
            context.end?.(RpcError.from(error));
          }
        }
      },
      reconnect: () => void main.drain(options.mainAddress.replace(/\d+$/, String(mainPort)), RECONNECT_MS),
      stop: (deadlineMs) => stop(servers, deadlineMs),
    };
  } catch (error) {
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
