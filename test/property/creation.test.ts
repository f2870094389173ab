/** What is asked of an engine for a rollback: what was asked for with the container stays, what its image brought is the other image's. Set against the engine's own rule. */
import { creationOf, unnamedVolumes, withoutImagesOwn } from "@hullmark/actuator/adapters/docker/creation";
import type Docker from "dockerode";
import fc from "fast-check";
import { expect, test } from "vitest";

type Inspected = Docker.ContainerInspectInfo;
type Image = Docker.ImageInspectInfo;

interface Config {
  readonly Entrypoint?: string[] | null;
  readonly Cmd?: string[] | null;
  readonly User?: string;
  readonly Env?: string[];
  readonly Labels?: Record<string, string>;
}

/** As an engine fills in what was not asked for from the image: plainly, from its documentation. */
function filledIn(asked: Config, image: Config): Config {
  const named = (env: readonly string[]) => new Set(env.map((each) => each.split("=")[0]));
  const own = named(asked.Env ?? []);
  return {
    Entrypoint: asked.Entrypoint ?? image.Entrypoint ?? null,
    Cmd: asked.Cmd ?? (asked.Entrypoint ? null : (image.Cmd ?? null)),
    User: asked.User || image.User || "",
    Env: [...(asked.Env ?? []), ...(image.Env ?? []).filter((each) => !own.has(each.split("=")[0] ?? ""))].sort(),
    Labels: { ...image.Labels, ...asked.Labels },
  };
}

/** @param side no value of one side is one of another's: where they are the same, the engine does not tell whose it is */
function configs(side: string): fc.Arbitrary<Config> {
  const words = fc.option(fc.array(fc.constantFrom(`${side}1`, `${side}2`), { minLength: 1, maxLength: 2 }), { nil: null });
  const names = fc.uniqueArray(fc.constantFrom("A", "B", "C"), { maxLength: 3 });
  return fc.record(
    {
      Entrypoint: words,
      Cmd: words,
      User: fc.constantFrom("", side),
      Env: names.map((all) => all.map((name) => `${name}=${side}`)),
      Labels: names.map((all) => Object.fromEntries(all.map((name) => [name, side]))),
    },
    { requiredKeys: [] },
  );
}

const container = (config: Config, more: Partial<Inspected> = {}): Inspected =>
  ({
    ...{ Id: "0".repeat(64), Config: { Hostname: "web", ...config }, HostConfig: {}, Mounts: [], NetworkSettings: { Networks: {} } },
    ...more,
  }) as unknown as Inspected;
const image = (config: object): Image => ({ Config: config }) as unknown as Image;

test("any container and images: rolled back, it is as if it had been started of the other image", () => {
  fc.assert(
    fc.property(configs("asked"), configs("bad"), configs("good"), (asked, bad, good) => {
      const back = withoutImagesOwn(container(filledIn(asked, bad)), image(bad), image(good));
      expect(filledIn(back.Config as Config, good)).toEqual(filledIn(asked, good));
    }),
    { numRuns: 1000 },
  );
});

test("volumes stay with the service, except where the bad image alone declares them", () => {
  const mount = (Name: string, Destination: string) => ({ Type: "volume", Name, Destination, RW: true });
  const Mounts = [mount("data", "/data"), mount("a1", "/both"), mount("a2", "/usr/lib"), mount("a3", "/asked"), mount("named", "/named")];
  const Volumes = Object.fromEntries(["/both", "/usr/lib", "/asked", "/named"].map((path) => [path, {}]));
  const old = container({ Volumes } as Config, { Mounts, HostConfig: { Binds: ["data:/data", "named:/named"] } } as unknown as Partial<Inspected>);
  const declares = (...paths: string[]) => image({ Volumes: Object.fromEntries(paths.map((path) => [path, {}])) });
  const back = withoutImagesOwn(old, declares("/both", "/usr/lib", "/named"), declares("/both"));
  const made = creationOf(back, { name: "web", image: "r/web@sha256:1", intentId: "i" });
  expect(made.HostConfig.Binds).toEqual(["data:/data", "named:/named", "a1:/both", "a3:/asked"]);
  expect(made).toMatchObject({ Volumes: { "/asked": {} } });
});

test("a volume without a name stays with the service also where a mount asked for it, as those of Compose do", () => {
  const Mounts = [
    { Type: "volume", Name: "9".repeat(64), Destination: "/data", RW: true },
    { Type: "volume", Name: "cache", Destination: "/cache", RW: true },
    { Type: "bind", Source: "/srv", Destination: "/srv", RW: true },
  ];
  const asked = [
    { Type: "volume", Target: "/data/", VolumeOptions: { NoCopy: true } },
    { Type: "volume", Source: "cache", Target: "/cache" },
    { Type: "bind", Source: "/srv", Target: "/srv" },
    { Type: "tmpfs", Target: "/run" },
  ];
  const old = container({}, { Mounts, HostConfig: { Mounts: asked } } as unknown as Partial<Inspected>);
  const { HostConfig } = creationOf(old, { name: "web", image: "r/web@sha256:1", intentId: "i" });
  expect(HostConfig.Mounts).toEqual([{ ...asked[0], Source: "9".repeat(64) }, ...asked.slice(1)]);
  expect(HostConfig.Binds).toEqual([]);
  expect(unnamedVolumes(old)).toEqual(["9".repeat(64)]);
});

test("in another container's network it asks for no name and no ports of its own, which an engine refuses beside that", () => {
  const asked = { Domainname: "example", ExposedPorts: { "80/tcp": {} }, User: "web" } as Config;
  const made = (NetworkMode: string) =>
    creationOf(container(asked, { HostConfig: { NetworkMode } } as unknown as Partial<Inspected>), { name: "web", image: "r/web@sha256:1", intentId: "i" });
  expect(made("bridge")).toMatchObject({ Hostname: "web", ...asked });
  const { HostConfig, ...rest } = made(`container:${"2".repeat(64)}`);
  expect(HostConfig).toMatchObject({ NetworkMode: `container:${"2".repeat(64)}` });
  expect(rest).toEqual({ name: "web", Image: "r/web@sha256:1", User: "web", Labels: expect.anything() });
});

test("with the host's name it asks for none, which an engine refuses beside that: in the host's network it tells of it as if it had been asked for", () => {
  const asked = { Domainname: "example", ExposedPorts: { "80/tcp": {} } } as Config;
  const made = (UTSMode: string, NetworkMode = "host") =>
    creationOf(container(asked, { HostConfig: { NetworkMode, UTSMode } } as unknown as Partial<Inspected>), { name: "web", image: "r/web", intentId: "i" });
  expect(made("")).toMatchObject({ Hostname: "web", ...asked });
  for (const network of ["host", "bridge"]) expect(Object.keys(made("host", network))).toEqual(["ExposedPorts", "name", "Image", "Labels", "HostConfig"]);
  expect(made("host", `container:${"2".repeat(64)}`)).not.toHaveProperty("ExposedPorts");
});
