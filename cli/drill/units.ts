/** The units of systemd by which a machine drills by itself. */
import type { DrillName } from "@hullmark/verifier/core/drill/names";
import { quoted } from "../host/unit-argument.ts";

export interface UnitFile {
  readonly name: string;
  readonly text: string;
}

/** @param argv the command; it is looked for in PATH. The timer is last */
export function drillUnits(drill: DrillName, everySeconds: number, argv: readonly string[]): readonly UnitFile[] {
  const name = `hullmark-drill-${drill}`;
  const service = [
    ...["[Unit]", `Description=Hullmark drill ${drill}`, "Wants=network-online.target", "After=network-online.target docker.service", ""],
    // That it failed is the verifier's to tell: it has recorded that.
    ...["[Service]", "Type=oneshot", `ExecStart=/usr/bin/env ${argv.map(quoted).join(" ")}`, "TimeoutStartSec=2h30min"],
    "Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  ];
  const timer = [
    ...["[Unit]", `Description=Hullmark drill ${drill}, again and again`, ""],
    // After each start of the machine too: what was switched off when it was due is not forgotten.
    ...["[Timer]", "OnActiveSec=15min", `OnUnitActiveSec=${everySeconds}s`, "RandomizedDelaySec=10min", "", "[Install]", "WantedBy=timers.target"],
  ];
  return [
    { name: `${name}.service`, text: `${service.join("\n")}\n` },
    { name: `${name}.timer`, text: `${timer.join("\n")}\n` },
  ];
}
