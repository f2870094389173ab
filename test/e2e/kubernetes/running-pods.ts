/** What the kernel says of the chart's processes: as whom they run and what they may. A specification only asks for it. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseMountInfo } from "../../../agent/core/mountinfo.ts";
import { taskPid } from "./pod-victim.ts";
import { idOf, onlyPod, type ReleaseBed } from "./release-bed.ts";

const NOBODY = 65532;
/** capabilities(7) */
const BITS = { DAC_OVERRIDE: 1n, DAC_READ_SEARCH: 2n, SYS_PTRACE: 19n, SYS_ADMIN: 21n };
const OF_AGENT = Object.values(BITS).reduce((mask, bit) => mask | (1n << bit), 0n);
/** SECCOMP_MODE_FILTER of prctl(2). */
const FILTERED = "2";

/** Fields of proc_pid_status(5) of every thread, those that are alike once. */
function threadsOf(pid: number): readonly Readonly<Record<string, string>>[] {
  const texts = readdirSync(`/proc/${pid}/task`).map((thread) => {
    const lines = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8").split("\n");
    return JSON.stringify(Object.fromEntries(lines.filter((line) => /^(Uid|Gid|Cap\w+|NoNewPrivs|Seccomp):/.test(line)).map((line) => line.split(":\t"))));
  });
  return [...new Set(texts)].map((text) => JSON.parse(text) as Record<string, string>);
}

const four = (id: number): string => Array.from({ length: 4 }, () => id).join("\t");
const capabilities = (mask: bigint): object => {
  const text = mask.toString(16).padStart(16, "0");
  return { CapPrm: text, CapEff: text, CapBnd: text, CapAmb: "0".repeat(16) };
};

/** Declares the tests. @param of the bed, once the release is there as its values are by default */
export function runningPods(of: () => ReleaseBed): void {
  const pidOf = async (component: string): Promise<number> => await taskPid(of().cluster, async () => idOf(await onlyPod(of(), component)));

  test.each<[string, number, bigint]>([
    ["verifier", NOBODY, 0n],
    ["agent", 0, OF_AGENT],
  ])(
    "the %s's threads run as the user that is meant, with these capabilities and no others, no new ones, and a filter of system calls",
    async (component, user, mask) => {
      expect(threadsOf(await pidOf(component))).toEqual([
        expect.objectContaining({ Uid: four(user), Gid: four(user), ...capabilities(mask), NoNewPrivs: "1", Seccomp: FILTERED }),
      ]);
    },
  );

  test("neither can write its root filesystem, nor the agent what it has of its node", async () => {
    const { cluster } = of();
    for (const component of ["verifier", "agent"]) {
      const pid = await pidOf(component);
      expect(() => writeFileSync(`/proc/${pid}/root/usr/lib/hullmark/written`, "x"), component).toThrow("EROFS");
    }
    const mounts = parseMountInfo(readFileSync(`/proc/${await pidOf("agent")}/mountinfo`, "latin1"));
    const ofNode = [cluster.containerdRoot, "/run/containerd", "/var/lib/kubelet/pods", "/etc/hosts"];
    const had = mounts.filter(({ destination }) => ofNode.includes(destination));
    expect(had.map(({ destination }) => destination).sort()).toEqual([...ofNode].sort());
    for (const { destination, options } of had) expect(options, destination).toContain("ro");
  });
}
