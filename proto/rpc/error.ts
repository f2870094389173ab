/** One error for everything that can go wrong with a call, on either side. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { type ErrorDetail, ErrorDetailSchema } from "@hullmark/proto/v1/error";

const DETAIL_KEY = "hullmark-error-bin";

export type RpcCode = keyof typeof status;

export interface RpcErrorOptions {
  /** Closed set of the service, for programs. */
  readonly reason?: string;
  readonly field?: string;
  /** Which of the reason's refusals, where it has several. */
  readonly refusal?: string;
  /** What the caller can do about it. */
  readonly fix?: string;
  readonly retryable?: boolean;
  /** Set on the caller's side: names the call in the server's log. */
  readonly requestId?: string;
  /** Logged on the side where it arose, never sent. */
  readonly cause?: unknown;
}

/** A failed call. `message` is sent to the peer: it must hold no secret and no path of the server. */
export class RpcError extends Error {
  readonly code: RpcCode;
  readonly detail: Pick<ErrorDetail, "reason" | "field" | "refusal" | "fix" | "retryable" | "requestId">;

  constructor(code: RpcCode, message: string, options: RpcErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RpcError";
    this.code = code;
    const { reason = "", field = "", refusal = "", fix = "", retryable = code === "UNAVAILABLE", requestId = "" } = options;
    this.detail = { reason, field, refusal, fix, retryable, requestId };
  }

  /** Normalises anything thrown, once, at the boundary. What is not an RpcError becomes INTERNAL without its text. */
  static from(thrown: unknown): RpcError {
    if (thrown instanceof RpcError) return thrown;
    if (isServiceError(thrown)) return fromServiceError(thrown);
    if (thrown instanceof Error && thrown.name === "AbortError") return new RpcError("CANCELLED", "cancelled", { cause: thrown });
    return new RpcError("INTERNAL", "internal error", { cause: thrown });
  }

  /** The form that grpc-js sends. */
  toServiceError(requestId: string): Partial<ServiceError> {
    const metadata = new Metadata();
    metadata.set(DETAIL_KEY, Buffer.from(toBinary(ErrorDetailSchema, create(ErrorDetailSchema, { ...this.detail, requestId }))));
    return { code: status[this.code], details: this.message, metadata };
  }
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return thrown instanceof Error && typeof (thrown as Partial<ServiceError>).code === "number" && "details" in thrown;
}

function fromServiceError(error: ServiceError): RpcError {
  const code = (status[error.code] ?? "UNKNOWN") as RpcCode;
  const raw = error.metadata?.get(DETAIL_KEY)[0];
  const options: RpcErrorOptions = { cause: error };
  if (!(raw instanceof Buffer) || raw.length > 8192) return new RpcError(code, error.details, options);
  try {
    const { reason, field, refusal, fix, retryable, requestId } = fromBinary(ErrorDetailSchema, raw);
    return new RpcError(code, error.details, { ...options, reason, field, refusal, fix, retryable, requestId });
  } catch {
    return new RpcError(code, error.details, options);
  }
}
