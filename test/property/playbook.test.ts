/** The playbook of an incident: the right section, with names that a shell takes as one word each, whatever they hold. */
import { execFileSync } from "node:child_process";
import { create } from "@bufbuild/protobuf";
import { DriftSchema, DriftState } from "@hullmark/proto/v1/query";
import { incidentsOf } from "@hullmark/verifier/core/incident/incident";
import { ALL_KINDS, NODE_KINDS, SILENCE_KINDS, UNPROVEN_KINDS } from "@hullmark/verifier/core/policy/kinds";
import fc from "fast-check";
import { isHeadingOf, playbookPage, sectionOf, shellWord } from "hullmark/playbook/page";
import { PLAYBOOKS } from "hullmark/playbook/text";
import { program } from "hullmark/program";
import { describe, expect, it } from "vitest";
import type { ToldIncident, ToldMember } from "../../cli/incident/fetch.ts";
import { elementsOf } from "../../dashboard/markdown.ts";

interface Where {
  readonly kind?: string;
  readonly container?: string;
  readonly path?: Uint8Array;
  readonly node?: string;
}

function member(number: number, { kind = "content", container = "web", path = Buffer.from("/etc/app.conf"), node = "w-1" }: Where, severity = 3): ToldMember {
  const drift = create(DriftSchema, {
    ...{
      id: `D-${number}`,
      kind,
      path,
      nodeName: node,
      containerName: container,
      containerId: container && "c1",
      imageReference: "r.example/web:1",
      state: DriftState.OPEN,
    },
    summary: "sha256 a → b",
    actor: { executable: "/bin/sh", located: true, pid: 4711 },
  });
  return {
    ...{
      drift,
      actions: [],
      exceptions: [],
      driftId: drift.id,
      kind,
      path,
      image: "sha256:1",
      nodeName: node,
      workload: "web",
      severity,
      state: "open",
      contained: false,
    },
    ...{ foundAtMs: number, resolvedAtMs: undefined, acknowledgedBy: "", acknowledgedAtMs: undefined },
  };
}

function incident(...members: readonly ToldMember[]): ToldIncident {
  const [only, ...others] = incidentsOf(members);
  if (!only || others.length > 0) throw new Error("not one incident");
  return only;
}

const commandsIn = (page: string): string[] => [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = ""]) => block.trimEnd().split("\n"));
/** What only a person knows. */
const OF_PEOPLE = ["TEXT", "KEY", "FILE", "TYPE"];

const OF_NODES: readonly string[] = [...NODE_KINDS, ...SILENCE_KINDS, ...UNPROVEN_KINDS];

describe("playbook", () => {
  it("has a page for every kind, and every other kind's part is on none but its own", () => {
    for (const kind of ["many", "breaker"]) expect(sectionOf(PLAYBOOKS, kind), kind).toMatch(/^## /);
    const pages = ALL_KINDS.map((kind) => sectionOf(PLAYBOOKS, kind) ?? "");
    for (const [i, kind] of ALL_KINDS.entries()) {
      expect(pages[i]).toMatch(new RegExp(`^## ${kind}\n\\S.*\n[^]*\n## `));
      expect(pages[i]).not.toContain("\n### ");
    }
    expect(new Set(pages).size).toBe(ALL_KINDS.length);
    expect([...PLAYBOOKS.matchAll(/^### (.*)$/gm)].map(([, kind]) => kind).toSorted()).toEqual([...ALL_KINDS].toSorted());
  });

  it("prints commands that this command takes, each line one of them, for every kind, on a host and in a cluster", async () => {
    const root = await program("hullmark");
    const taken: string[] = [];
    const prepare = (command: Awaited<ReturnType<typeof program>>, path: string): void => {
      command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
      if (command.commands.length === 0) command.action(() => void taken.push(path));
      for (const child of command.commands) prepare(child, `${path} ${child.name()}`.trim());
    };
    prepare(root, "");
    for (const kind of ALL_KINDS)
      for (const container of OF_NODES.includes(kind) ? [""] : ["web", "shop/cart-0/cart"]) {
        const lines = commandsIn(playbookPage(PLAYBOOKS, incident(member(1, { kind, container, path: Buffer.from("/etc/a b") })), "hullmark"));
        expect(lines.length, kind).toBeGreaterThan(0);
        for (const line of lines) {
          // As a shell takes it: quotes are the shell's, what follows # is a remark, and > names a file.
          const words = execFileSync("/bin/sh", ["-c", `printf '%s\\0' ${line.replace(/ > evidence$/, "")}`], { encoding: "utf8" })
            .split("\0")
            .slice(0, -1);
          expect(["hullmark", container.includes("/") ? "kubectl" : "docker", "cat", "cp", "ssh"], `${kind}: ${line}`).toContain(words[0]);
          if (words[0] !== "hullmark") continue;
          taken.length = 0;
          await root.parseAsync(words.slice(1), { from: "user" }).catch((error: Error) => expect.unreachable(`${kind}: ${line}: ${error.message}`));
          expect(taken, `${kind}: ${line}`).toHaveLength(1);
        }
      }
  });

  it("has it in the dashboard too, which shows what it was made for and nothing else", () => {
    const headings = elementsOf(PLAYBOOKS).flatMap((node) => (typeof node !== "string" && node.tag === "h2" ? [node.children.join("")] : []));
    for (const kind of ALL_KINDS)
      expect(
        headings.filter((heading) => isHeadingOf(heading, kind)),
        kind,
      ).toHaveLength(1);
    expect(elementsOf("1. a `b` [c](d.md)\n")).toEqual([
      { tag: "ol", children: [{ tag: "li", children: ["a ", { tag: "code", children: ["b"] }, " ", "c"] }] },
    ]);
    for (const other of ["| a |\n|---|\n| b |\n", "<b>a</b>\n", "![a](b.png)\n", "#### a\n"])
      expect(() => elementsOf(other), other).toThrow("is not made for the dashboard");
  });

  it("fills in the gravest drift, says how many more there are, and shows the engine's commands or the cluster's", () => {
    const docker = incident(member(1, {}), member(2, { node: "w-2", container: "web-2" }, 4));
    const page = playbookPage(PLAYBOOKS, docker, "hullmark");
    expect(page).toContain(
      `The commands are of D-2 on w-2; words in capitals are for you to fill in.\n1 more drift, on 2 nodes in all: hullmark incident show ${docker.id}\n`,
    );
    for (const line of ["## Files", "hullmark drift show D-2", "docker cp web-2:/etc/app.conf .", `hullmark incident ack ${docker.id} -m TEXT`])
      expect(page).toContain(line);
    expect(page).not.toMatch(/^kubectl /m);
    const pod = playbookPage(PLAYBOOKS, incident(member(1, { container: "shop/cart-0/cart" })), "hullmark");
    expect(pod).toContain("kubectl exec -n shop -c cart cart-0 -- cat /etc/app.conf > evidence");
    expect(pod).not.toMatch(/^docker /m);
    const plugins = playbookPage(PLAYBOOKS, docker, "kubectl hullmark");
    for (const line of ["kubectl hullmark drift show D-2", `in all: kubectl hullmark incident show ${docker.id}`]) expect(plugins).toContain(line);
    expect(plugins).not.toMatch(/^hullmark /m);
    const node = playbookPage(PLAYBOOKS, incident(member(1, { kind: "pcr", container: "", path: Buffer.alloc(0) })), "hullmark");
    for (const line of ["## Node", "hullmark node show w-1"]) expect(node).toContain(line);
  });

  it("leaves no placeholder of an incident in a command, but what only a person knows", () => {
    for (const kind of ALL_KINDS)
      for (const container of OF_NODES.includes(kind) ? [""] : ["web", "shop/cart-0/cart"]) {
        const lines = commandsIn(playbookPage(PLAYBOOKS, incident(member(1, { kind, container })), "hullmark")).map((line) => line.replace(/ # .*$/, ""));
        expect(
          lines.flatMap((line) => [...line.matchAll(/\b[A-Z]{3,}\b/g)]).flatMap(([word]) => (OF_PEOPLE.includes(word) ? [] : [word])),
          kind,
        ).toEqual([]);
      }
  });

  it("makes one word of a name, or none", () => {
    for (const bad of ["", "-rf", "a\nb", "a\u202eb", "x".repeat(4097), "\x1b[2J"]) expect(shellWord(bad)).toBeUndefined();
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary", maxLength: 30 }), { minLength: 20, maxLength: 20 }), (names) => {
        const safe = names.map((name) => [name, shellWord(name)] as const).filter(([, word]) => word !== undefined);
        const said = execFileSync("/bin/sh", ["-c", `printf '%s\\n' start ${safe.map(([, word]) => word).join(" ")}`], { encoding: "utf8" });
        expect(said).toBe(["start", ...safe.map(([name]) => name), ""].join("\n"));
      }),
      { numRuns: 30 },
    );
    const evil = playbookPage(PLAYBOOKS, incident(member(1, { container: "web;reboot", path: Buffer.from("/a b'$(id)") })), "hullmark");
    expect(evil).toContain("docker cp 'web;reboot':'/a b'\\''$(id)' .");
    expect(playbookPage(PLAYBOOKS, incident(member(1, { path: Buffer.from([0x2f, 0xff]) })), "hullmark")).toContain("docker cp web:PATH .");
  });
});
