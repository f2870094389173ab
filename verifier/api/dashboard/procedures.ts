/**
 * What the page may ask: procedures of the gRPC services, by the same guard and the same code. Not all of them: whoever steals a session, or a person's browser, issues no
 * certificate, rotates no key, lets in no node and changes no policy.
 */
import { create, type DescMethodUnary, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type CallContext, type Guard, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import { Response } from "@hullmark/proto/v1/response";
import { type AdminServices, adminService, type QueryServices, queryService } from "../grpc/index.ts";
import { type ResponseServices, responseService } from "../grpc/response.ts";

export interface ProcedureServices {
  readonly query: QueryServices;
  readonly admin: AdminServices;
  readonly response: ResponseServices;
}

type Unary<S extends DescService> = { [K in keyof S["method"]]: S["method"][K] extends DescMethodUnary ? K : never }[keyof S["method"]];

const QUERIES: readonly Unary<typeof Query>[] = [
  ...(["getStatus", "listIncidents", "getIncident", "listDrift", "getDrift", "listLogEntries"] as const),
  ...([
    "listNodes",
    "getNode",
    "listWorkloads",
    "getWorkload",
    "listImages",
    "getImage",
    "listVulnerabilities",
    "getVulnerabilities",
    "listBaselines",
    "listExceptions",
    "listDrills",
  ] as const),
];
const CHANGES: readonly Unary<typeof Admin>[] = [
  ...(["acknowledgeDrift", "assignIncident", "resolveIncident", "diffDrift"] as const),
  ...(["requestException", "approveException", "denyException", "revokeException"] as const),
];
const RESPONSES: readonly Unary<typeof Response>[] = ["listActions", "getAction", "approveAction", "denyAction", "undoAction", "pauseActions"];

/** Answers one serialised request, or throws RpcError. */
type Procedure = (request: Uint8Array, context: CallContext) => Promise<Uint8Array>;

/** By path: `/hullmark.v1.Query/GetStatus`. Every call passes `guard` first. */
export function procedures({ query, admin, response }: ProcedureServices, guard: Guard): ReadonlyMap<string, Procedure> {
  return new Map([
    ...proceduresOf(Query, queryService(query), QUERIES, guard),
    ...proceduresOf(Admin, adminService(admin), CHANGES, guard),
    ...proceduresOf(Response, responseService(response), RESPONSES, guard),
  ]);
}

function proceduresOf<S extends DescService>(
  service: S,
  implementation: ServiceImplementation<S>,
  names: readonly Unary<S>[],
  guard: Guard,
): [string, Procedure][] {
  return names.map((name) => {
    const method = service.method[name as string] as DescMethodUnary;
    const handler = implementation[name] as (request: unknown, context: CallContext) => Promise<Record<string, unknown>>;
    const answer: Procedure = async (request, context) => {
      await guard(context);
      return toBinary(method.output, create(method.output, await handler(read(method, request), context)));
    };
    return [`/${service.typeName}/${method.name}`, answer];
  });
}

function read(method: DescMethodUnary, request: Uint8Array): unknown {
  try {
    return fromBinary(method.input, request);
  } catch (cause) {
    throw new RpcError("INVALID_ARGUMENT", "the request cannot be read", { reason: "MALFORMED", fix: "reload the page", cause });
  }
}
