import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { layoutOf } from "../../cli/host/layout.ts";
import { definitions } from "../../cli/host/services.ts";
import { unitText } from "../../cli/host/systemd.ts";

// The units that `hullmark up` writes, judged by systemd itself; no systemd need be running for that.

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-units-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const of = (withTpm: boolean) => ({ nodeName: "node-1", tcti: withTpm ? "device:/dev/tpmrm0" : "none", act: true });

/** Every line that systemd has to say about the units made for a state directory. */
function complaints(stateName: string, withTpm: boolean): string {
  const layout = layoutOf(join(directory, stateName));
  mkdirSync(layout.state);
  const files = definitions(layout, of(withTpm)).map((service) => {
    const file = join(directory, `hullmark-${service.name}.service`);
    writeFileSync(file, unitText(service, layout));
    return file;
  });
  const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", ...files], { encoding: "utf8" });
  return `${stdout}${stderr}${status === 0 ? "" : `exit ${status}`}`
    .split("\n")
    .filter((line) => line.includes("hullmark") || line.startsWith("exit"))
    .join("\n");
}

test.each([
  ["state", true],
  ["state", false],
  ['a state % with $HOME and "quotes"', false],
])("state directory %j, with TPM %s", (stateName, withTpm) => {
  expect(complaints(stateName, withTpm)).toBe("");
});

test("systemd's judgement would tell", () => {
  const file = join(directory, "hullmark-bad.service");
  writeFileSync(file, "[Service]\nExecStart=not-there\nRestartt=always\n");
  const { stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
  expect(stderr).toContain("hullmark-bad.service");
});

test("only an agent without TPM asks for a token before it starts, and its sandbox hides nothing of the host", () => {
  const layout = layoutOf("/var/lib/hullmark");
  const [verifier, agent, actuator] = definitions(layout, of(false)).map((service) => unitText(service, layout));
  expect(agent).toMatch(
    /^ExecStartPre=-\S+ \/var\/lib\/hullmark\/program\/hullmark\.js --config \S+ node token node-1 --wait 60 --output \/var\/lib\/hullmark\/join-token$/m,
  );
  expect(agent).not.toMatch(/^(Protect|Private|ReadWrite|Capability)/m);
  for (const text of [verifier, actuator]) expect(text).not.toContain("ExecStartPre");
  expect(actuator).toMatch(/^After=docker\.service hullmark-verifier\.service$/m);
  expect(definitions(layout, { ...of(true), act: false }).map(({ name }) => name)).toEqual(["verifier", "agent"]);
  expect(verifier).toMatch(/^ProtectSystem=strict$/m);
  expect(definitions(layout, of(true)).every(({ before }) => before === undefined)).toBe(true);
});
