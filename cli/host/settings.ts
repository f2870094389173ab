/** The configuration files of verifier and agent on one host: everything on loopback. */
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { stringify } from "yaml";
import type { Layout } from "./layout.ts";
import type { HostRecord } from "./record.ts";

const HEADER = "# Written by hullmark up, and written again by the next.\n";
const LOOPBACK = "127.0.0.1";
const PREFERRED = { main: 7443, enrolment: 7444, http: 7480 } as const;

export type Ports = HostRecord["ports"];

/** The usual ports where all are free, else any three. Only at the first start: later ones keep them. */
export async function choosePorts(): Promise<Ports> {
  const usual = Object.values(PREFERRED);
  if ((await Promise.all(usual.map(portIfFree))).every((port) => port !== undefined)) return PREFERRED;
  const [main, enrolment, http] = await Promise.all([portIfFree(0), portIfFree(0), portIfFree(0)]);
  return { main: main ?? PREFERRED.main, enrolment: enrolment ?? PREFERRED.enrolment, http: http ?? PREFERRED.http };
}

function portIfFree(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, LOOPBACK, () => {
      const { port: bound } = server.address() as { port: number };
      server.close(() => resolve(bound));
    });
  });
}

/** Writes both files. @returns their text, which decides whether the services are to be started anew */
export function writeSettings(layout: Layout, record: HostRecord): string {
  const verifier = HEADER + stringify(verifierSettings(layout, record));
  const agent = HEADER + stringify(agentSettings(layout, record));
  writeFileSync(layout.settings("verifier"), verifier, { mode: 0o600 });
  writeFileSync(layout.settings("agent"), agent, { mode: 0o600 });
  return verifier + agent;
}

function verifierSettings(layout: Layout, { ports, tcti, ekSha256, nodeName, makerRootFiles, plainHttpRegistries, policyFile }: HostRecord): object {
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
