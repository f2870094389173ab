/** `node walk-overlay.ts LOWERDIR MOUNTPOINT`, in a mount namespace of its own: mounts layers read-only and prints what a container would see. */
import { execFileSync } from "node:child_process";
import { naiveWalk } from "./naive-walk.ts";

const [lowerdir = "", mountPoint = ""] = process.argv.slice(2);
execFileSync("mount", ["-n", "-t", "overlay", "overlay", "-o", `ro,lowerdir=${lowerdir}`, mountPoint]);
console.log(JSON.stringify(naiveWalk(mountPoint).map(({ path, encoded }) => [path.toString("hex"), encoded.toString("hex")])));
