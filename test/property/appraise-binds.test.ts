import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { BindFileSchema, ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { expect, test } from "vitest";
import { appraiseBindFiles } from "../../verifier/core/appraisal/appraise-binds.ts";
import type { ContainerInput } from "../../verifier/core/appraisal/types.ts";
import { defaultPolicy } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";

const LOOPBACK = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

type Told = Partial<Record<"extraHosts" | "addresses" | "networkNames" | "hostNamespaces", string[]>> & { readonly hostname?: string };

const found = (line: string, configuration: Told, hostAliases?: readonly string[]): number => findings(line, configuration, hostAliases).length;

function findings(line: string, configuration: Told, hostAliases?: readonly string[]) {
  const content = Buffer.from(`${LOOPBACK}${line}\n`);
  const file = create(BindFileSchema, { destination: "/etc/hosts", mode: 0o644, content, sha256: createHash("sha256").update(content).digest() });
  const told = create(ContainerConfigurationSchema, { hostname: "web", addresses: ["172.17.0.2"], ...configuration });
  const rules = containerRules(defaultPolicy(), { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
  const pod = hostAliases && { kind: "specified", pod: { hostAliases } };
  return appraiseBindFiles({ state: { filesystem: { bindFiles: [file], claims: [] }, configuration: told }, rules, pod } as unknown as ContainerInput);
}

test("a container's own line has its name, with a domain the first label too, and nothing else", () => {
  const hostname = "web.example.com";
  expect(found("172.17.0.2\tweb.example.com web", { hostname })).toBe(0);
  expect(found("172.17.0.2\tweb", {})).toBe(0);
  for (const line of ["172.17.0.2\tweb.example.com example", "172.17.0.2\texample.com", "172.17.0.3\tweb.example.com web", "6.6.6.6\tweb"])
    expect(found(line, { hostname }), line).toBe(1);
});

test("the own line of a container that has no network any more is what the engine left; another name is not, nor where it has the host's network", () => {
  const addresses: string[] = [];
  expect(found("172.17.0.2\tweb\n172.17.0.2\tweb", { addresses })).toBe(0);
  // A line for each network that it was on, and for each family.
  expect(found("172.18.0.2\tweb\n192.168.16.3\tweb\nfd12:3456:789a::2\tweb", { addresses })).toBe(0);
  expect(found("10.1.0.2\tweb.example.com web", { addresses, hostname: "web.example.com" })).toBe(0);
  for (const line of ["172.17.0.2\tregistry.example", "172.17.0.2\tweb registry.example"]) expect(found(line, { addresses }), line).toBe(1);
  expect(found("172.17.0.2\tweb", { addresses, hostNamespaces: ["net"] })).toBe(1);
});

test("nor is what the engine never writes: an own name at an address that its networks do not have, or names that others know it by", () => {
  const told = { addresses: [], networkNames: ["shop-web-1", "api"] };
  for (const address of ["6.6.6.6", "172.32.0.2", "192.169.0.2", "2001:db8::6", "100.66.6.6"])
    expect(found(`172.17.0.2\tweb\n${address}\tweb`, told), address).toBe(1);
  for (const line of ["172.17.0.2\tweb.example.com", "172.17.0.2\tweb.web", "172.17.0.2\tapi", "172.17.0.2\tshop-web-1"])
    expect(found(line, told), line).toBe(1);
});

test("a line is shown as it reads", () => {
  const [told] = findings("6.6.6.6\tevil\x1b[2J", {});
  expect(told?.summary).toBe('not as the engine declares: line "6.6.6.6 evil\\x1b[2J"');
});

test("a declared host has the address that was declared for it, of either family", () => {
  const extraHosts = ["host.docker.internal:172.17.0.1", "node:127.0.1.1", "six:fd00::1"];
  for (const line of ["172.17.0.1\thost.docker.internal", "127.0.1.1\tnode", "fd00::1\tsix"]) expect(found(line, { extraHosts }), line).toBe(0);
  for (const line of ["172.17.0.9\thost.docker.internal", "127.0.1.1\tregistry.example", "172.17.0.1\tnode"]) expect(found(line, { extraHosts }), line).toBe(1);
});

test("a line of the pod's hostAliases is the kubelet's, another address for the name is not", () => {
  const aliases = ["db:10.0.0.7", "db.shop:10.0.0.7"];
  expect(found("10.0.0.7\tdb\tdb.shop", {}, aliases)).toBe(0);
  expect(found("10.0.0.8\tdb", {}, aliases)).toBe(1);
  expect(found("10.0.0.7\tdb", {}, [])).toBe(1);
});

test("of files whose container the engine has removed nothing can be told, read or not", () => {
  const rules = containerRules(defaultPolicy(), { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
  const content = Buffer.from("6.6.6.6\tevil\n");
  const bindFiles = [
    create(BindFileSchema, { destination: "/etc/hosts", mode: 0o644, content, sha256: createHash("sha256").update(content).digest() }),
    create(BindFileSchema, { destination: "/etc/hostname" }),
  ];
  const found = (...codes: string[]): number => {
    const filesystem = { bindFiles, claims: codes.map((code) => ({ code })) };
    return appraiseBindFiles({ state: { filesystem, configuration: create(ContainerConfigurationSchema, {}) }, rules } as unknown as ContainerInput).length;
  };
  expect(found()).toBe(2);
  expect(found("measuring")).toBe(2);
  expect(found("network-owner-gone")).toBe(0);
});
