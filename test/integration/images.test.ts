import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { ACCEPTANCE, acceptanceImage, loaderPath } from "../e2e/images/acceptance.ts";
import { loadPrograms, type Programs } from "../e2e/images/programs.ts";
import { type PushedImage, pushImage } from "../e2e/images/push.ts";
import { SERVICES, serviceBase, serviceImage } from "../e2e/images/services.ts";

let bed: Testbed;
let programs: Programs;
const docker = (...args: string[]): Promise<string> => run([program("docker"), "--host", bed.engine?.dockerHost ?? "", ...args]);

beforeAll(async () => {
  bed = await startTestbed({ name: "images", parts: { engine: true, registry: true } });
  programs = await loadPrograms();
});
afterAll(async () => bed?.down());

async function until(check: () => Promise<unknown>): Promise<void> {
  for (let i = 0; ; i++) {
    try {
      await check();
      return;
    } catch (error) {
      if (i === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

describe("the acceptance image on the real engine", () => {
  let image: PushedImage;
  const sh = (script: string): Promise<string> => docker("exec", "web", "/bin/sh", "-c", script);

  beforeAll(async () => {
    image = await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(programs));
    await docker("run", "-d", "--name", "web", image.reference);
  });

  test("the same definition has the same digests, another edition others", async () => {
    expect(await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(programs))).toEqual(image);
    expect((await pushImage(bed.registry?.host ?? "", "acme/web", "2", acceptanceImage(programs, "2"))).digest).not.toBe(image.digest);
  });

  test("the engine knows it by its config digest and reads the history and labels", async () => {
    const [inspected] = JSON.parse(await docker("image", "inspect", image.reference)) as {
      Id: string;
      RootFS: { Layers: string[] };
      Config: { Labels: Record<string, string> };
    }[];
    expect(inspected?.Id).toBe(image.configDigest);
    expect(inspected?.RootFS.Layers).toEqual(image.diffIds);
    expect(inspected?.Config.Labels["org.opencontainers.image.revision"]).toBe(ACCEPTANCE.revision);
    expect(await docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image.reference)).toContain("RUN /bin/sh -c apt-get install -y curl");
  });

  test("it holds what makes images hard to measure", async () => {
    const [first] = ACCEPTANCE.hardLinks;
    expect((await sh(`stat -c '%h %a' ${first}`)).trim()).toBe("3 755");
    expect((await sh(`stat -c %a ${ACCEPTANCE.setuid}`)).trim()).toBe("4755");
    expect((await sh(`ls ${ACCEPTANCE.opaque}; test -e ${ACCEPTANCE.removed} || echo gone`)).trim()).toBe("new\ngone");
    expect(await sh(`test -e "$(printf '/srv/caf\\351.txt')" && echo there`)).toBe("there\n");
    expect((await sh(`stat -c '%a %u' ${ACCEPTANCE.implied} ${ACCEPTANCE.implied}/counter`)).trim()).toBe("755 0\n644 33");
    const pid = (await docker("inspect", "-f", "{{.State.Pid}}", "web")).trim();
    expect(await run(["getcap", `/proc/${pid}/root${ACCEPTANCE.capability}`])).toContain("cap_net_raw");
  });

  test("its tool and its dynamic program run", async () => {
    expect(await sh(ACCEPTANCE.hello)).toBe("hello\n");
    expect(await sh(`${loaderPath(programs)} ${ACCEPTANCE.hello}`)).toBe("hello\n");
    expect(await sh(`${ACCEPTANCE.tool} memfd ${ACCEPTANCE.hello}`)).toBe("hello\n");
    expect((await sh(`${ACCEPTANCE.tool} writes /app/data.bin 3 1000`)).trim().split("\n")).toHaveLength(3);
    expect(await sh(`${ACCEPTANCE.tool} store /app/data.bin 9 MAPPED & sleep 1; dd if=/app/data.bin bs=1 skip=9 count=6 2>/dev/null; kill %1`)).toContain(
      "MAPPED",
    );
    await sh(`${ACCEPTANCE.tool} deep /tmp 60 ${"d".repeat(200)} leaf; ${ACCEPTANCE.tool} setcap /app/config.yml`);
  });
});

test("the five services start, serve and stand their load", async () => {
  const base = await serviceBase();
  for (const service of SERVICES) {
    const image = await pushImage(bed.registry?.host ?? "", `acme/${service.name}`, "1", serviceImage(base, service));
    await docker("run", "-d", "--name", service.name, image.reference);
  }
  for (const service of SERVICES) {
    await until(() => docker("exec", "--user", "root", service.name, ...service.ready));
    await docker("exec", "--user", "root", service.name, ...service.load);
  }
  expect((await docker("ps", "-q")).trim().split("\n").length).toBeGreaterThanOrEqual(SERVICES.length);
}, 300_000);
