/** What agent and verifier do alike as processes; nothing of what they measure or judge. */
export { readCommandLine } from "./command-line.ts";
export { ConfigError, hostPort, parseConfigFile, readConfigFile, splitHostPort } from "./config-file.ts";
export { dieAt } from "./failpoints.ts";
export { openLog } from "./log.ts";
export { runTasks, stopOnSignals, type Task } from "./tasks.ts";
export { VERSION } from "./version.ts";
