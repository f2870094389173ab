/** The units that a drill is scheduled with, as systemd itself reads them. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { drillUnits } from "../../cli/drill/units.ts";

test("systemd takes them, with arguments that have its own special characters", () => {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-units-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const units = drillUnits("canary-exec", 7 * 86_400, ["hullmark", "--config=/etc/my hull/c.yaml", "drill", "run", "canary-exec", "--image", "a%b$c"]);
  expect(units.map(({ name }) => name)).toEqual(["hullmark-drill-canary-exec.service", "hullmark-drill-canary-exec.timer"]);
  const files = units.map(({ name, text }) => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  });
  const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", ...files], { encoding: "utf8" });
  expect(stderr.split("\n").filter((line) => line.includes("hullmark-drill"))).toEqual([]);
  expect(status).toBe(0);
  expect(units[0]?.text).toContain('ExecStart=/usr/bin/env hullmark "--config=/etc/my hull/c.yaml" drill run canary-exec --image "a%%b$$c"\n');
  expect(units[1]?.text).toContain("OnUnitActiveSec=604800s\n");
});
