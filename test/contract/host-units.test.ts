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

/** Every line that systemd has to say about the units made for a state directory. */
function complaints(stateName: string, withTpm: boolean): string {
  const layout = layoutOf(join(directory, stateName));
  mkdirSync(layout.state);
  const files = definitions(layout, "node-1", withTpm).map((service) => {
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
  const [verifier, agent] = definitions(layout, "node-1", false).map((service) => unitText(service, layout));
  expect(agent).toMatch(
    /^ExecStartPre=-\S+ \/var\/lib\/hullmark\/program\/hullmark\.js --config \S+ node token node-1 --wait 60 --output \/var\/lib\/hullmark\/join-token$/m,
  );
  expect(agent).not.toMatch(/^(Protect|Private|ReadWrite|Capability)/m);
  expect(verifier).not.toContain("ExecStartPre");
  expect(verifier).toMatch(/^ProtectSystem=strict$/m);
  expect(definitions(layout, "node-1", true).every(({ before }) => before === undefined)).toBe(true);
});
