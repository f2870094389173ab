export { ReplayThread } from "./replay-thread.ts";
