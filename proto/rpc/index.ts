export { type CallOptions, RpcChannel, type ServiceClient } from "./client.ts";
export { MAX_MESSAGE_BYTES } from "./definition.ts";
export { type RpcCode, RpcError, type RpcErrorOptions } from "./error.ts";
export { addService, type CallContext, type Guard, type OnError, type ServiceImplementation } from "./server.ts";
