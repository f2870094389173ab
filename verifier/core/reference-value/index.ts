export { entriesBelow } from "./children.ts";
export * from "./dialect.ts";
export { findContent, type WantedContent } from "./find-content.ts";
export * from "./layer-tree.ts";
export * from "./merged-tree.ts";
export { DEFAULT_REPLAY_LIMITS, LayerReplay, type ReplayLimits, type ReplayOptions, type ReplayResult, replayLayer } from "./replay.ts";
export { type LayerIdentity, replayBlob } from "./replay-blob.ts";
export { dockerInitLayer, RuntimeMade, type RuntimeMadeInput } from "./runtime-made.ts";
