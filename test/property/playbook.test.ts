/** The playbook of an incident: the right section, with names that a shell takes as one word each, whatever they hold. */
import { execFileSync } from "node:child_process";
import { create } from "@bufbuild/protobuf";
import { DriftSchema, DriftState } from "@hullmark/proto/v1/query";
import { incidentsOf } from "@hullmark/verifier/core/incident/incident";
import { ALL_KINDS, FILE_KINDS, NODE_KINDS } from "@hullmark/verifier/core/policy/kinds";
import fc from "fast-check";
import { isHeadingOf, playbookPage, sectionOf, shellWord } from "hullmark/playbook/page";
import { PLAYBOOKS } from "hullmark/playbook/text";
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
    ...{ id: `D-${number}`, kind, path, nodeName: node, containerName: container, imageReference: "r.example/web:1", state: DriftState.OPEN },
    summary: "sha256 a → b",
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

describe("playbook", () => {
  it("has a section for every kind", () => {
    for (const kind of [...ALL_KINDS, "many", "breaker"]) expect(sectionOf(PLAYBOOKS, kind), kind).toMatch(/^## /);
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
    for (const other of ["| a |\n|---|\n| b |\n", "<b>a</b>\n", "![a](b.png)\n", "### a\n"])
      expect(() => elementsOf(other), other).toThrow("is not made for the dashboard");
  });

  it("fills in the gravest drift, says how many more there are, and shows the engine's commands or the cluster's", () => {
    const docker = incident(member(1, {}), member(2, { node: "w-2", container: "web-2" }, 4));
    const page = playbookPage(PLAYBOOKS, docker);
    expect(page).toContain(`The commands are of D-2 on w-2.\n1 more drifts, on 2 nodes in all: hullmark incident show ${docker.id}\n`);
    for (const line of ["## Files", "hullmark drift show D-2", "docker cp web-2:/etc/app.conf .", `hullmark incident ack ${docker.id} -m TEXT`])
      expect(page).toContain(line);
    expect(page).not.toMatch(/^kubectl /m);
    const pod = playbookPage(PLAYBOOKS, incident(member(1, { container: "shop/cart-0/cart" })));
    expect(pod).toContain("kubectl cp -n shop -c cart cart-0:/etc/app.conf ./evidence");
    expect(pod).not.toMatch(/^docker /m);
    const node = playbookPage(PLAYBOOKS, incident(member(1, { kind: "pcr", container: "", path: Buffer.alloc(0) })));
    for (const line of ["## Node", "hullmark node show w-1"]) expect(node).toContain(line);
  });

  it("leaves no placeholder of an incident in a command, but what only a person knows", () => {
    for (const kind of [...FILE_KINDS, ...NODE_KINDS]) {
      const container = (FILE_KINDS as readonly string[]).includes(kind) ? "web" : "";
      const page = playbookPage(PLAYBOOKS, incident(member(1, { kind, container })));
      const blocks = [...page.matchAll(/^```[a-z]*\n([\s\S]*?)^```/gm)].map(([, block = ""]) => block.replaceAll(/#.*$/gm, "")).join("");
      expect(
        [...blocks.matchAll(/\b[A-Z]{3,}\b/g)].map(([word]) => word).filter((word) => word !== "TEXT"),
        kind,
      ).toEqual([]);
    }
  });

  it("makes one word of a name, or none", () => {
    for (const bad of ["", "-rf", "a\nb", "a\u202eb", "x".repeat(1025), "\x1b[2J"]) expect(shellWord(bad)).toBeUndefined();
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary", maxLength: 30 }), { minLength: 20, maxLength: 20 }), (names) => {
        const safe = names.map((name) => [name, shellWord(name)] as const).filter(([, word]) => word !== undefined);
        const said = execFileSync("/bin/sh", ["-c", `printf '%s\\n' start ${safe.map(([, word]) => word).join(" ")}`], { encoding: "utf8" });
        expect(said).toBe(["start", ...safe.map(([name]) => name), ""].join("\n"));
      }),
      { numRuns: 30 },
    );
    const evil = playbookPage(PLAYBOOKS, incident(member(1, { container: "web;reboot", path: Buffer.from("/a b'$(id)") })));
    expect(evil).toContain("docker cp 'web;reboot':'/a b'\\''$(id)' .");
    expect(playbookPage(PLAYBOOKS, incident(member(1, { path: Buffer.from([0x2f, 0xff]) })))).toContain("docker cp web:PATH .");
  });
});
