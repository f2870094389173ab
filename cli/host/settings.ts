/** The configuration files of verifier and agent on one host: everything on loopback. */
import { randomInt } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { stringify } from "yaml";
import { readActSettings } from "./act-settings.ts";
import { HostError } from "./error.ts";
import type { Layout } from "./layout.ts";
import type { HostRecord } from "./record.ts";

const HEADER = "# Written by hullmark up, and written again by the next.\n";
const LOOPBACK = "127.0.0.1";
const PREFERRED = { main: 7443, enrolment: 7444, http: 7480, dashboard: 7446 } as const;
/** From here up to, without, there: below the ports that the kernel gives to connections of its choice (ip_local_port_range), which would take one between two starts. */
const OTHERS = [11_000, 30_000] as const;
const TRIES = 1000;

export type Ports = HostRecord["ports"];

/** The usual ports where all are free, else any four. Nobody holds them until the verifier does: it may find one taken all the same. @throws HostError NO_PORTS */
export async function choosePorts(): Promise<Ports> {
  if ((await Promise.all(Object.values(PREFERRED).map(isFree))).every(Boolean)) return PREFERRED;
  const found = new Set<number>();
  for (let tried = 0; found.size < 4; tried++) {
    if (tried === TRIES) throw new HostError("NO_PORTS", `no four free ports between ${OTHERS.join(" and ")}`);
    const port = randomInt(...OTHERS);
    if (await isFree(port)) found.add(port);
  }
  const [main, enrolment, http, dashboard] = [...found] as [number, number, number, number];
  return { main, enrolment, http, dashboard };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, LOOPBACK, () => server.close(() => resolve(true)));
  });
}

/** Writes the files of what is to run. @returns their text, which decides whether the services are to be started anew @throws HostError BAD_SETTINGS */
export function writeSettings(layout: Layout, record: HostRecord): string {
  const verifier = HEADER + stringify(verifierSettings(layout, record));
  const agent = HEADER + stringify(agentSettings(layout, record));
  writeFileSync(layout.settings("verifier"), verifier, { mode: 0o600 });
  writeFileSync(layout.settings("agent"), agent, { mode: 0o600 });
  const actuator = record.act ? HEADER + stringify(actuatorSettings(layout, record)) : "";
  if (record.act) writeFileSync(layout.settings("actuator"), actuator, { mode: 0o600 });
  else rmSync(layout.settings("actuator"), { force: true });
  return verifier + agent + actuator;
}

function verifierSettings(layout: Layout, record: HostRecord): object {
  const { ports, tcti, ekSha256, nodeName, makerRootFiles, plainHttpRegistries, policyFile, dashboard } = record;
  const withTpm = tcti !== "none";
  return {
    stateDirectory: layout.data("verifier"),
    region: "local",
    listen: { main: `${LOOPBACK}:${ports.main}`, enrolment: `${LOOPBACK}:${ports.enrolment}`, http: `${LOOPBACK}:${ports.http}` },
    advertisedNames: ["localhost", LOOPBACK],
    enrolment: {
      // A TPM without EK certificate can be known again, but nobody vouches for it: trusted at first sight, and shown as that.
      mode: withTpm && ekSha256 === null ? "tofu" : "allowlist",
      acceptWithoutCertificate: withTpm && ekSha256 === null,
      acceptJoinTokens: !withTpm,
      makerRootFiles,
      allow: ekSha256 === null ? [] : [{ ekSha256, name: nodeName }],
    },
    // The host asks itself: what a container here names on loopback, its engine has pulled from there.
    registries: { plainHttp: plainHttpRegistries, allowPrivate: ["localhost", "localhost:*", `${LOOPBACK}`, `${LOOPBACK}:*`] },
    ...(policyFile !== null && { policyFile }),
    ...(dashboard && { dashboard: { listen: `${LOOPBACK}:${ports.dashboard}` } }),
  };
}

function agentSettings(layout: Layout, { nodeName, ports, tcti, dockerSocket }: HostRecord): object {
  return {
    nodeName,
    stateDirectory: layout.data("agent"),
    verifier: { address: `localhost:${ports.main}`, enrolmentAddress: `localhost:${ports.enrolment}`, caFile: layout.caFile },
    tpm: { tcti },
    ...(tcti === "none" && { joinTokenFile: layout.joinToken }),
    runtime: { docker: { socket: dockerSocket } },
  };
}

/** What the operator does not say is as an actuator has it where nothing is said. */
function actuatorSettings(layout: Layout, { ports, dockerSocket, actConfigFile }: HostRecord): object {
  return {
    ...(actConfigFile !== null && readActSettings(actConfigFile)),
    stateDirectory: layout.data("actuator"),
    credentialDirectory: layout.actuatorCredentials,
    verifier: { address: `localhost:${ports.main}` },
    docker: { socket: dockerSocket },
  };
}
