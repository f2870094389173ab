/** People of single namespaces, by tokens that `kubectl create token` makes for Hullmark alone and the API server vouches for; and what a pod writes, learned by one and approved by another. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Stack } from "../../../deploy/stack/stack.ts";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { eventually, type ToldDrift } from "../fault-support.ts";
import { podSpec } from "./workloads.ts";

const WITHIN_MS = 240_000;
const NAMESPACES = ["shop", "pay"] as const;
type Namespace = (typeof NAMESPACES)[number];

/** Service accounts stand for people: any user whom the API server knows would do. */
const known = (namespace: Namespace, name: string): string => `kubernetes:system:serviceaccount:${namespace}:${name}`;
const HERE = ["viewer", "responder", "approver"] as const;
/** The responder of shop once more, under another name of the API server's: an approver, and nobody else than who asks. */
const TWIN = known("shop", "twin");

/** `people` of the verifier's configuration. */
export const PEOPLE = {
  kubernetes: { audience: "hullmark", issuers: ["https://kubernetes.default.svc"] },
  aliases: { sam: [known("shop", "responder"), TWIN] },
  roles: [
    ...NAMESPACES.flatMap((namespace) => HERE.map((role) => ({ role, users: [known(namespace, role)], namespaces: [namespace] }))),
    { role: "approver", users: [TWIN], namespaces: ["shop"] },
    { role: "approver", users: [known("shop", "learner"), known("shop", "teacher")] },
  ],
};

interface PeopleBed {
  readonly cluster: Kubernetes;
  readonly stack: Stack;
  /** Reference of a signed image. */
  readonly image: string;
  readonly home: string;
}

/** Its own process does what it finds there: what it writes is the workload's doing, and nobody's who came in by an exec. */
const OBEYING = "while sleep 1; do [ -e /tmp/todo ] && . /tmp/todo && rm /tmp/todo; done";

/** Declares the tests. @param of the bed, once it is up */
export function namespacedPeople(of: () => PeopleBed): void {
  const kubectl = (...args: string[]): Promise<string> => of().cluster.kubectl(args);
  let config: string;

  beforeAll(async () => {
    const { cluster, stack, image, home } = of();
    const token = (namespace: Namespace, name: string) => [
      ...[cluster.kubectlPath, `--kubeconfig=${cluster.kubeconfig}`, `--namespace=${namespace}`, "create", "token", name, "--audience=hullmark"],
    ];
    const people = [
      ...NAMESPACES.flatMap((namespace) => HERE.map((name) => [namespace, name] as const)),
      ["shop", "learner"],
      ["shop", "teacher"],
      ["shop", "twin"],
    ] as const;
    const caFile = join(stack.directory, "verifier", "admin", "ca.crt");
    const contexts = people.map(([namespace, name]) => [
      `${namespace}-${name}`,
      { address: stack.peopleAddress, caFile, tokenCommand: token(namespace, name) },
    ]);
    config = join(home, "people.json");
    writeFileSync(config, JSON.stringify({ currentContext: "shop-viewer", contexts: Object.fromEntries(contexts) }));
    const template = { metadata: { labels: { app: "web" } }, spec: podSpec(image, { container: { command: ["/bin/sh", "-c", OBEYING] } }) };
    await cluster.kubectl(
      ["apply", "--filename=-"],
      JSON.stringify({
        ...{ apiVersion: "v1", kind: "List" },
        items: [
          ...NAMESPACES.map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } })),
          ...people.map(([namespace, name]) => ({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace } })),
          ...NAMESPACES.map((namespace) => ({
            ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web", namespace } },
            spec: { replicas: 1, selector: { matchLabels: { app: "web" } }, template },
          })),
        ],
      }),
    );
    for (const namespace of NAMESPACES) await kubectl(`--namespace=${namespace}`, "rollout", "status", "deployment/web", "--timeout=240s");
    await eventually(
      "both are judged",
      () => stack.json<{ workload: string; verdict: string }[]>("workloads"),
      (all) => NAMESPACES.every((namespace) => all.some(({ workload, verdict }) => workload === `${namespace}/web` && verdict === "affirming")),
      WITHIN_MS,
    );
  });

  afterAll(() => kubectl("delete", "namespace", ...NAMESPACES, "--ignore-not-found", "--wait=false"));

  interface Answer {
    readonly code: number;
    /** Both streams. */
    readonly out: string;
    readonly stdout: string;
  }

  function hullmark(who: string, ...args: string[]): Promise<Answer> {
    const argv = [join(REPOSITORY, "dist/hullmark.js"), "--config", config, "--context", who, ...args];
    return new Promise((resolve) => {
      execFile(process.execPath, argv, { maxBuffer: 64 << 20 }, (error, stdout, stderr) =>
        resolve({ code: error ? (typeof error.code === "number" ? error.code : 3) : 0, out: `${stdout}${stderr}`, stdout }),
      );
    });
  }

  async function json<T>(who: string, ...args: string[]): Promise<T> {
    const { stdout, out } = await hullmark(who, ...args, "-o", "json");
    if (stdout === "") throw new Error(out);
    return JSON.parse(stdout) as T;
  }

  const exec = (namespace: Namespace, script: string): Promise<string> =>
    kubectl(`--namespace=${namespace}`, "exec", "deployment/web", "--container=web", "--", "/bin/sh", "-c", script);
  const openDrifts = async (who: string): Promise<readonly (ToldDrift & { readonly workload: string })[]> =>
    (await json<{ drifts: (ToldDrift & { readonly workload: string })[] }>(who, "drift", "ls", "--all")).drifts.filter(({ state }) => state === "open");

  test("see what is of their namespace and nothing else, and decide on nothing else", { timeout: 900_000 }, async () => {
    for (const namespace of NAMESPACES) await exec(namespace, "echo x > /srv/by-hand");
    const own = async (namespace: Namespace) => {
      const found = await eventually(
        `the drift in ${namespace}`,
        () => openDrifts(`${namespace}-viewer`),
        (all) => all.some(({ path }) => path === "/srv/by-hand"),
        WITHIN_MS,
      );
      expect(new Set(found.map(({ workload }) => workload))).toEqual(new Set([`${namespace}/web`]));
      return found.find(({ path }) => path === "/srv/by-hand")?.id ?? "";
    };
    const [shops, pays] = [await own("shop"), await own("pay")];
    // To the whole cluster it is one incident, of the same image and path; to each namespace one of its own.
    for (const namespace of NAMESPACES) {
      const { incidents } = await json<{ incidents: { path: string; workloads: string[] }[] }>(`${namespace}-viewer`, "incident", "ls");
      expect(incidents.find(({ path }) => path === "/srv/by-hand")?.workloads).toEqual([`${namespace}/web`]);
      expect(JSON.stringify(incidents)).not.toContain(`${namespace === "shop" ? "pay" : "shop"}/web`);
    }
    const absent = { code: 2, out: expect.stringMatching(/no (such )?drift|not found|unknown/i) };
    expect(await hullmark("shop-viewer", "drift", "show", pays)).toMatchObject(absent);
    expect(await hullmark("shop-responder", "drift", "ack", pays, "-m", "mine")).toMatchObject(absent);
    expect(await hullmark("shop-approver", "exception", "request", pays, "-m", "mine")).toMatchObject(absent);
    expect((await hullmark("shop-viewer", "nodes")).out).toContain("in the whole cluster");
    expect((await hullmark("shop-viewer", "drift", "ack", shops, "-m", "mine")).out).toContain("needs the role responder");

    const asked = async (namespace: Namespace, drift: string) => {
      const { code, out } = await hullmark(`${namespace}-responder`, "exception", "request", drift, "-m", "seed data", "--until", "1d");
      expect({ code, out }).toMatchObject({ code: 0 });
      return /exception approve (X-\S+)/.exec(out)?.[1] ?? "";
    };
    const [shopsWish, paysWish] = [await asked("shop", shops), await asked("pay", pays)];
    expect((await hullmark("shop-approver", "exception", "ls")).out).not.toContain(paysWish);
    for (const verb of ["approve", "deny", "revoke"]) {
      const refused = await hullmark("shop-approver", "exception", verb, paysWish, ...(verb === "approve" ? [] : ["-m", "mine"]));
      expect(refused, verb).toMatchObject({ code: 2 });
    }
    expect(await hullmark("pay-responder", "exception", "approve", paysWish)).toMatchObject({
      code: 2,
      out: expect.stringContaining("needs the role approver"),
    });
    // Two tokens of two accounts, and one person.
    expect(await hullmark("shop-twin", "exception", "approve", shopsWish)).toMatchObject({
      code: 2,
      out: expect.stringContaining("whoever asked for an exception cannot approve it"),
    });
    expect((await hullmark("shop-twin", "exception", "show", shopsWish)).out).toMatch(/^Asked +by sam /m);
    expect(await hullmark("shop-approver", "exception", "approve", shopsWish)).toMatchObject({ code: 0 });
    await eventually(
      "shop's is excused",
      () => openDrifts("shop-viewer"),
      (all) => !all.some(({ id }) => id === shops),
      WITHIN_MS,
    );
    expect((await openDrifts("pay-viewer")).map(({ id }) => id)).toContain(pays);
    expect(await hullmark("pay-responder", "drift", "ack", pays, "-m", "ours")).toMatchObject({ code: 0 });
  });

  test("what a pod writes is learned by one and approved by another: its log is quiet then, and a program beside it is not", { timeout: 900_000 }, async () => {
    const todo = (script: string) => exec("shop", `echo '${script}' > /tmp/todo.new; mv /tmp/todo.new /tmp/todo`);
    const [log, program] = ["/var/log/app/app.log", "/var/log/app/update"];
    await todo(`mkdir -p /var/log/app; echo 1 >> ${log}; cp /bin/true ${program}`);
    const open = async (name: string, ...paths: readonly string[]) =>
      await eventually(
        name,
        () => openDrifts("shop-viewer"),
        (all) => paths.every((path) => all.some((drift) => drift.path === path)),
        WITHIN_MS,
      );
    await open("log and program are drift", log, program);

    const propose = ["baseline", "propose", "--workload", "shop/web", "--since", "1h", "--owner", "team-shop", "--reason", "as in staging"];
    expect(await hullmark("shop-approver", ...propose)).toMatchObject({ code: 2, out: expect.stringContaining("in the whole cluster") });
    const { code, out } = await hullmark("shop-learner", ...propose);
    expect({ code, out }).toMatchObject({ code: 0 });
    expect(out).toMatch(/^log +\/?var\/log\/app\/app\.log /m);
    expect(out).toMatch(/not proposed: \/?var\/log\/app\/update: it can be executed/);
    expect(out).toMatch(/not proposed: \/?srv\/by-hand: /);
    const approve = (who: string) => hullmark(who, "baseline", "approve", "shop/web@1", "--review-days", "30");
    expect(await approve("shop-learner")).toMatchObject({ code: 2, out: expect.stringContaining("whoever proposed a baseline cannot approve it") });
    expect((await openDrifts("shop-viewer")).map(({ path }) => path)).toContain(log);
    expect(await approve("shop-teacher")).toMatchObject({ code: 0 });
    await eventually(
      "the log is quiet",
      () => openDrifts("shop-viewer"),
      (all) => !all.some(({ path }) => path === log) && all.some(({ path }) => path === program),
      WITHIN_MS,
    );
    // What comes later, too: the program that is written after the log's next line is found, and the log is not.
    await todo(`echo 2 >> ${log}; cp /bin/true ${program}-2`);
    expect((await open("the second program is drift", program, `${program}-2`)).map(({ path }) => path)).not.toContain(log);
  });
}
