/** Services as systemd units: restarted on failure and after a reboot, their output in the journal. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HostError } from "./error.ts";
import type { Layout, ServiceName } from "./layout.ts";
import { runCommand } from "./program.ts";
import type { ServiceDefinition, ServiceKeeper } from "./services.ts";
import { quoted } from "./unit-argument.ts";

const UNITS = "/etc/systemd/system";

/** As sd_booted(3). */
export function hostRunsSystemd(): boolean {
  return existsSync("/run/systemd/system");
}

const unitName = (name: ServiceName): string => `hullmark-${name}.service`;

export function systemdServices(layout: Layout, unitDirectory = UNITS): ServiceKeeper {
  const systemctl = async (...args: string[]): Promise<void> => {
    const { ok, stderr } = await runCommand("systemctl", args);
    if (!ok) throw new HostError("COMMAND_FAILED", `systemctl ${args.join(" ")}: ${stderr}`);
  };
  const path = (name: ServiceName): string => join(unitDirectory, unitName(name));
  return {
    description: "systemd units",
    async start(service) {
      const text = unitText(service, layout);
      const before = existsSync(path(service.name)) ? readFileSync(path(service.name), "utf8") : undefined;
      mkdirSync(unitDirectory, { recursive: true });
      if (text !== before) writeFileSync(path(service.name), text, { mode: 0o644 });
      await systemctl("daemon-reload");
      await systemctl("enable", unitName(service.name));
      await systemctl("restart", unitName(service.name));
    },
    async stop(name) {
      if (existsSync(path(name))) await systemctl("stop", unitName(name));
    },
    isRunning: async (name) => (await runCommand("systemctl", ["is-active", "--quiet", unitName(name)])).ok,
    logTail: async (name) => (await runCommand("journalctl", ["-u", unitName(name), "-n", "12", "-o", "cat", "--no-pager"])).stdout.trimEnd(),
    async remove(name) {
      if (!existsSync(path(name))) return;
      await systemctl("disable", unitName(name));
      rmSync(path(name), { force: true });
      await systemctl("daemon-reload");
      // A unit that had failed stays listed otherwise.
      await runCommand("systemctl", ["reset-failed", unitName(name)]);
    },
  };
}

/** The verifier needs nothing of the host but its state. The agent and, to capture, the actuator must see the host's mounts and files as they are: no sandbox of their own. */
export function unitText({ name, description, argv, before }: ServiceDefinition, layout: Layout): string {
  const confined = ["NoNewPrivileges=yes", "PrivateTmp=yes", "PrivateDevices=yes", "ProtectSystem=strict", `ReadWritePaths=${quoted(layout.state)}`];
  const own =
    name === "verifier"
      ? [...confined, "ProtectKernelModules=yes", "ProtectKernelTunables=yes", "CapabilityBoundingSet=CAP_DAC_READ_SEARCH"]
      : ["NoNewPrivileges=yes"];
  const lines = [
    "# Written by hullmark up; hullmark down removes it.",
    "[Unit]",
    `Description=${description}`,
    name === "verifier" ? "After=network-online.target" : "After=docker.service hullmark-verifier.service",
    ...(name !== "verifier" ? ["Wants=hullmark-verifier.service"] : []),
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    ...(before ? [`ExecStartPre=-${before.map(quoted).join(" ")}`] : []),
    `ExecStart=${argv.map(quoted).join(" ")}`,
    // The verifier looks for registry credentials in the home directory of root.
    "Environment=HOME=/root",
    // Also after exit code 2, a configuration that is wrong or cannot be read: it may be put right, or readable, in the meantime, and nobody starts the service then.
    "Restart=always",
    "RestartSec=2",
    "TimeoutStopSec=30",
    "LimitNOFILE=65536",
    ...own,
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ];
  return `${lines.join("\n")}\n`;
}
