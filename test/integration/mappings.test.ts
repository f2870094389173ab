/** Which files a process has mapped, on a real overlay. On kernels before 6.8 this is what tells a container's files at all. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { copyFile, readlink, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { hidesOverlays, readMappings } from "@hullmark/agent/adapters/procfs/mappings";
import { deviceName } from "@hullmark/agent/core/device-name";
import { expect, test } from "vitest";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";

test.each([
  ["4.18.0-553.el8_10.x86_64", true],
  ["5.15.0-122-generic", true],
  ["6.1.0-56-amd64", true],
  ["6.7.12", true],
  ["6.8.0-45-generic", false],
  ["6.18.44", false],
  ["6.12", false],
  ["7.0.0-rc1", false],
])("%s tells mappings of an overlay by what lies below: %s", (version, hides) => {
  expect(hidesOverlays(version)).toBe(hides);
});

test.each([
  ["/bin/sleep", "600", "/libc"],
  // Loaded at a fixed place, of few digits.
  [join(STATE_ROOT, "cache/busybox"), "sleep 600", "/busybox"],
])("%s on an overlay is known by what the overlay says of it, and every other file as it is mapped", async (program, args, last) => {
  mkdirSync(STATE_ROOT, { recursive: true });
  const base = mkdtempSync(join(STATE_ROOT, "mappings-"));
  for (const name of ["lower", "upper", "work", "merged"]) mkdirSync(join(base, name));
  await copyFile(program, join(base, "lower", basename(program)));
  const script = 'mount -t overlay overlay -o "lowerdir=$0/lower,upperdir=$0/upper,workdir=$0/work" "$0/merged" && exec "$0/merged/$2" $1';
  const child = spawn("unshare", ["--mount", "--propagation", "private", "sh", "-c", script, base, args, basename(program)], { stdio: "ignore" });
  try {
    const folder = `/proc/${child.pid}`;
    await expect.poll(() => readlink(`${folder}/exe`).catch(() => "")).toBe(join(base, "merged", basename(program)));
    // Until all of it is there.
    await expect.poll(async () => (await readMappings(folder)).mappings.map(({ path }) => path).join()).toContain(last);
    const { mappings } = await readMappings(folder, true);
    for (const { handle, path, device, inode } of mappings) {
      const file = await stat(`${folder}/${handle}`);
      expect([path, `${device}:${inode}`]).toEqual([path, `${deviceName(file.dev)}:${file.ino}`]);
    }
    expect(mappings.map(({ path }) => path)).toContain(join(base, "merged", basename(program)));
    if (!hidesOverlays()) expect(await readMappings(folder, false)).toEqual(await readMappings(folder, true));
  } finally {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "close");
    rmSync(base, { recursive: true });
  }
});
