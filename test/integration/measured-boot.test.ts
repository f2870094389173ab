/** Measured boot from end to end: an event log extended into a real TPM, quoted by the agent's own client, sent when asked, held against the quote, judged. */
import { createPublicKey, generateKeyPairSync, hash, type JsonWebKey, sign, verify, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBootLog } from "@hullmark/agent/adapters/boot-log/boot-log-file";
import { imaListFile } from "@hullmark/agent/adapters/ima/ima-list-file";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { Tpm } from "@hullmark/native";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { appraiseAgent } from "@hullmark/verifier/core/appraisal/appraise-agent";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { run } from "../../deploy/testbed/run.ts";
import type { Attester } from "../fakes/attester.ts";
import { aggregated, boot, KERNEL_LINE, linuxBoot, sha256, type WrittenEvent, writeLog } from "../fakes/boot-log.ts";
import { extended384, listOf, measured, type WrittenMeasurement } from "../fakes/ima-list.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const hex = (content: string): string => sha256(content).toString("hex");
const policy = (more = ""): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: boot }
spec:
  nodes:
    - name: workers
      select: { nodes: ["w-*"] }
      boot:
        secureBoot: required
        variables: { db: ["${hex("db data")}"] }
        images: ["${hex("shim")}", "${hex("grub")}"]
        commandLines: ["${KERNEL_LINE}"]
${more}`;

let tpm: Swtpm;
let directory: string;
let quoter: Tpm2Quoter;
let verifier: TestVerifier;

beforeAll(async () => {
  tpm = await Swtpm.start({ withoutEkCertificate: true });
  directory = mkdtempSync(join(tmpdir(), "hullmark-boot-"));
});
afterAll(async () => {
  await tpm.stop();
  rmSync(directory, { recursive: true });
});
beforeEach(async () => {
  verifier = new TestVerifier();
  verifier.policy(policy());
});
afterEach(async () => {
  await verifier.dispose();
  await quoter?.close();
});

/** Reboots the TPM, boots into it what `happened`, and lets a node with it join that tells `told`. */
async function started(
  happened: readonly WrittenEvent[],
  told: Buffer = writeLog(happened),
  name = "w-1",
  agentDigests: Record<string, Buffer> = {},
): Promise<Attester> {
  await tpm.powerOff();
  await tpm.powerOn();
  await boot(tpm.tcti, happened);
  quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir: directory });
  if (!verifier.running) await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
  const attester = verifier.attester({ name, quoter, agentDigests });
  attester.bootLog = told;
  await attester.connect();
  await attester.report();
  return attester;
}

const shown = async (id = "w-1") => await verifier.query.getNode({ id });
const codes = async (): Promise<string[]> => (await shown()).node?.reasons.map(({ code }) => code) ?? [];
const judged = (want: Verdict) => expect.poll(async () => (await shown()).node?.verdict, { timeout: 30_000 }).toBe(want);

describe("measured boot on a TPM", () => {
  test("a boot as policy says: sent once, held against the quote, shown, and remembered over a restart of the verifier", async () => {
    const attester = await started(linuxBoot());
    await judged(Verdict.WARNING);
    expect(await codes()).toEqual(["tpm-tofu"]);
    const { boot: proven, node } = await shown();
    expect(proven).toMatchObject({
      eventLog: "read",
      secureBoot: "on",
      commandLines: [KERNEL_LINE],
      exitBootServices: "logged",
      differingPcrs: [],
      unquotedPcrs: [],
    });
    expect(proven?.images.map(({ name, digest }) => [name, digest])).toEqual([
      ["/EFI/debian/shimx64.efi", hex("shim")],
      ["/EFI/debian/grubx64.efi", hex("grub")],
    ]);
    expect(node?.vector).toMatchObject({ executables: 3, configuration: 2 });

    await verifier.stop();
    await attester.close();
    await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
    const again = verifier.attester({ name: "w-1", quoter, bootId: attester.bootId });
    again.answering = false;
    again.bootLog = attester.bootLog;
    await again.connect();
    again.send({ case: "evidence", value: { body: again.evidence() } });
    again.send({ case: "quote", value: await again.quote(await again.next("challenge")) });
    await expect.poll(async () => (await shown()).node?.reasons.map(({ code }) => code)).toEqual(["tpm-tofu"]);
    expect(again.received.filter(({ message }) => message.case === "bootLog")).toEqual([]);
  });

  test.each<[string, WrittenEvent[], Buffer | undefined, string]>([
    ["Secure Boot off", linuxBoot({ secureBoot: false }), undefined, "secure-boot"],
    ["a kernel command line that policy does not list", linuxBoot({ kernelLine: `${KERNEL_LINE} init=/bin/sh` }), undefined, "boot"],
    ["the log of a better boot", linuxBoot({ secureBoot: false }), writeLog(linuxBoot()), "event-log"],
  ])("%s is a contradiction and a drift of the node", async (_, happened, told, kind) => {
    await started(happened, told);
    await judged(Verdict.CONTRAINDICATED);
    expect(await codes()).toContain(kind);
    // The verdict is shown before what it rests on is written.
    const open = async () => (await verifier.query.listDrift({ states: [DriftState.OPEN] })).drifts;
    await expect
      .poll(async () => (await open()).map((drift) => [drift.kind, drift.origin?.place, drift.nodeName]), { timeout: 30_000 })
      .toContainEqual([kind, "node", "w-1"]);
  });

  test("a log left out, or one that is not what the quote bound, leaves the node unknown; a policy that asks for nothing does not", async () => {
    const silent = await started(linuxBoot(), Buffer.alloc(0));
    await judged(Verdict.UNKNOWN);
    expect(await codes()).toEqual(["no-event-log", "tpm-tofu"]);
    await silent.close();
    await quoter.close();

    const liar = await started(linuxBoot());
    await expect.poll(codes).toEqual(["tpm-tofu"]);
    liar.answering = false;
    liar.bootLog = writeLog(linuxBoot({ kernel: "other" }));
    await verifier.adminClient.requestQuote({ nodeId: liar.credential?.nodeId ?? "" });
    liar.send({ case: "quote", value: await liar.quote(await liar.next("challenge")) });
    const asked = await liar.next("bootLog");
    expect(Buffer.from(asked.sha256)).toEqual(hash("sha256", liar.bootLog, "buffer"));
    liar.send({ case: "bootLog", value: { log: writeLog(linuxBoot()) } });
    await expect.poll(codes).toEqual(["event-log-pending", "tpm-tofu"]);
    await judged(Verdict.UNKNOWN);

    verifier.policy(
      policy()
        .replace("secureBoot: required", "eventLog: optional\n        secureBoot: any")
        .replace(/ {8}(variables|images|commandLines).*\n/g, ""),
    );
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.WARNING);
  });

  test("another policy judges the same boot anew", async () => {
    await started(linuxBoot());
    await judged(Verdict.WARNING);
    verifier.policy(policy(`      pcrs: { "4": ["${"00".repeat(32)}"] }\n`));
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.CONTRAINDICATED);
    expect(await codes()).toContain("pcr");
    verifier.policy(policy());
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.WARNING);
    await expect.poll(async () => (await verifier.query.listDrift({ states: [DriftState.OPEN] })).drifts).toEqual([]);
  });

  test("where policy withholds its certificate, a node that contradicts itself gets one that is nobody's but for reporting, until it is attested again", async () => {
    const node = await started(linuxBoot());
    await judged(Verdict.WARNING);
    const named = async (of: Attester): Promise<string | undefined> => {
      await of.enrol();
      return new X509Certificate(of.credential?.certificateChain ?? "").subjectAltName;
    };
    const nodeId = node.credential?.nodeId;
    const wrong = `      pcrs: { "4": ["${"00".repeat(32)}"] }\n`;
    verifier.policy(policy(wrong));
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.CONTRAINDICATED);
    // Nothing is withheld where policy observes.
    expect(await shown()).toMatchObject({ certificateWithheld: false });
    const enforced = (more: string) => `${policy(more)}  mode: enforce\n  response: { nodes: { rules: [{ name: all }] } }\n`;
    verifier.policy(enforced(wrong));
    await verifier.adminClient.reloadPolicy({});
    await expect.poll(async () => (await shown()).certificateWithheld, { timeout: 30_000 }).toBe(true);
    await node.close();
    const again = verifier.attester({ name: "w-1", quoter, bootId: node.bootId });
    again.bootLog = node.bootLog;
    expect(await named(again)).toBe(`URI:spiffe://hullmark/eu-1/untrusted/${nodeId}`);
    // What it says is heard as before: its quotes, and what it booted.
    await again.connect();
    await again.report();
    await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    await judged(Verdict.CONTRAINDICATED);
    expect((await shown()).node).toMatchObject({ connected: true });
    verifier.policy(enforced(""));
    await verifier.adminClient.reloadPolicy({});
    await expect.poll(async () => (await shown()).certificateWithheld, { timeout: 30_000 }).toBe(false);
    expect(await named(again)).toBe(`URI:spiffe://hullmark/eu-1/node/${nodeId}`);
  });

  test("after a new boot the node is unknown until that one has quoted, and a kernel that another one started is told until the machine is reset", async () => {
    const first = await started(linuxBoot());
    await judged(Verdict.WARNING);
    await first.close();
    /** The same machine with another kernel: silent at first. */
    const next = async (): Promise<Attester> => {
      const attester = verifier.attester({ name: "w-1", quoter });
      attester.bootLog = first.bootLog;
      attester.answering = false;
      await attester.connect();
      await attester.report();
      expect(await codes()).toContain("no-quote");
      await judged(Verdict.UNKNOWN);
      attester.answering = true;
      attester.send({ case: "quote", value: await attester.quote(await attester.next("challenge")) });
      return attester;
    };
    // Neither reset nor restarted: kexec. It stays so, also for a verifier that was started anew.
    const second = await next();
    await expect.poll(codes, { timeout: 30_000 }).toEqual(["kexec", "tpm-tofu"]);
    expect((await shown()).node).toMatchObject({ verdict: Verdict.UNKNOWN, vector: { executables: 0, configuration: 0 } });
    expect((await verifier.query.listDrift({ states: [DriftState.OPEN] })).drifts).toEqual([]);
    await second.close();
    await verifier.stop();
    await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
    const again = verifier.attester({ name: "w-1", quoter, bootId: second.bootId });
    again.bootLog = first.bootLog;
    await again.connect();
    await again.report();
    await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    await expect.poll(codes, { timeout: 30_000 }).toEqual(["kexec", "tpm-tofu"]);
    // Who asks for nothing of the log is warned.
    const asking = policy();
    verifier.policy(
      asking.replace("secureBoot: required", "eventLog: optional\n        secureBoot: any").replace(/ {8}(variables|images|commandLines).*\n/g, ""),
    );
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.WARNING);
    expect(await codes()).toEqual(["kexec", "tpm-tofu"]);
    verifier.policy(asking);
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.UNKNOWN);
    await again.close();

    // A reboot through the firmware.
    await quoter.close();
    await tpm.powerOff();
    await tpm.powerOn();
    await boot(tpm.tcti, linuxBoot());
    const last = await next();
    await expect.poll(codes, { timeout: 30_000 }).toEqual(["tpm-tofu"]);
    await judged(Verdict.WARNING);
    await last.close();

    // The chip alone is reset, and told what the machine had booted.
    await quoter.close();
    await tpm.powerOff();
    await tpm.powerOn();
    await boot(tpm.tcti, linuxBoot());
    const running = verifier.attester({ name: "w-1", quoter, bootId: last.bootId });
    running.bootLog = first.bootLog;
    await running.connect();
    await running.report();
    await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    await expect.poll(codes, { timeout: 30_000 }).toEqual(["tpm-reset", "tpm-tofu"]);
    await judged(Verdict.UNKNOWN);
  });
});

describe("another attestation key of the same TPM", () => {
  test("hides neither a kernel that another one started, nor that the chip alone was reset", async () => {
    let last = await started(linuxBoot());
    await judged(Verdict.WARNING);
    const again = async (keys: string, bootId?: string): Promise<void> => {
      await last.close();
      await quoter.close();
      if (bootId !== undefined) {
        await tpm.powerOff();
        await tpm.powerOn();
        await boot(tpm.tcti, linuxBoot());
      }
      mkdirSync(join(directory, keys));
      quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir: join(directory, keys) });
      const { bootLog } = last;
      last = verifier.attester({ name: "w-1", quoter, ...(bootId !== undefined && { bootId }) });
      last.bootLog = bootLog;
      await last.connect();
      await last.report();
      await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    };
    const told = async (wanted: string[]): Promise<void> => await expect.poll(async () => (await codes()).sort(), { timeout: 30_000 }).toEqual(wanted);
    // However long a busy machine takes for a quote: by this much the TPM's clock is not late.
    verifier.clock.shiftMs -= 30_000;
    await again("second");
    await told(["ak-replaced", "kexec", "tpm-tofu"]);
    await again("third", last.bootId);
    await told(["ak-replaced", "kexec", "tpm-reset", "tpm-tofu"]);
    await last.close();
  });
});

describe("the agent's own files", () => {
  const RELEASE = "agent: { releases: [{ sums: SHA256SUMS, signature: SHA256SUMS.sig, authority: release }] }";
  const AUTHORITY = "  authorities: [{ name: release, keyFile: release.pub }]\n";
  const filesOf = (agent: string) => ({ node: sha256("node"), agent: sha256(agent), addon: sha256("addon") });
  /** @returns publishes other files as a release of the same key */
  const released = (...contents: string[]): ((...contents: string[]) => void) => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    writeFileSync(join(verifier.directory, "release.pub"), publicKey.export({ type: "spki", format: "pem" }));
    const publish = (...files: string[]): void => {
      const sums = files.map((content) => `${hex(content)}  ${content}\n`).join("");
      writeFileSync(join(verifier.directory, "SHA256SUMS"), sums);
      writeFileSync(join(verifier.directory, "SHA256SUMS.sig"), sign("sha256", Buffer.from(sums), privateKey).toString("base64"));
    };
    publish(...contents);
    return publish;
  };

  test("count from the Evidence that tells them, whether a quote follows or not", async () => {
    released("node", "agent 1", "addon");
    const nodes = `[{ name: all, boot: { eventLog: optional }, ${RELEASE} }]`;
    const file = verifier.policy(`apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  nodes: ${nodes}\n${AUTHORITY}`);
    await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true, acceptJoinTokens: true }\npolicyFile: ${file}`);
    const { token } = await verifier.adminClient.createJoinToken({ nodeName: "w-1", ttlSeconds: 600 });
    const agent = verifier.attester({ name: "w-1", joinToken: token, agentDigests: filesOf("agent 1") });
    await agent.connect();
    expect(await codes()).toContain("no-agent-digests");
    await agent.report();
    expect(await codes()).toEqual(["no-tpm"]);

    // Another agent goes on with the chain.
    await agent.close();
    const other = verifier.attester({ name: "w-1", bootId: agent.bootId, agentDigests: filesOf("agent 2") });
    Object.assign(other, { credential: agent.credential, chainId: agent.chainId, seq: agent.seq, digest: agent.digest });
    await other.connect();
    await other.report();
    expect(await codes()).toContain("agent");
    expect((await shown()).node?.verdict).toBe(Verdict.CONTRAINDICATED);
  });

  test("must be of a release that policy names", async () => {
    const publish = released("node", "agent 1", "addon");
    verifier.policy(`${policy(`      ${RELEASE}\n`)}${AUTHORITY}`);
    await started(linuxBoot(), undefined, "w-1", filesOf("agent 1"));
    await judged(Verdict.WARNING);
    publish("node", "agent 2", "addon");
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.CONTRAINDICATED);
    expect((await shown()).node?.reasons).toContainEqual(expect.objectContaining({ code: "agent", detail: expect.stringContaining(hex("agent 1")) }));
    publish("node", "agent 1", "agent 2", "addon");
    await verifier.adminClient.reloadPolicy({});
    await judged(Verdict.WARNING);
  });

  test("that are not told leave the node unknown", () => {
    expect(appraiseAgent(undefined, () => true)).toMatchObject({ findings: [], unknown: [{ code: "no-agent-digests" }] });
    expect(appraiseAgent(undefined, undefined)).toEqual({ findings: [], unknown: [] });
  });
});

describe("the Attestation Result of a node", () => {
  test("is a JWT by a published key, says what is shown, and echoes the caller's nonce", async () => {
    await started(linuxBoot());
    await judged(Verdict.WARNING);
    const nonce = Buffer.from("a nonce of the caller");
    const { jwt } = await verifier.query.issueEar({ node: "w-1", nonce });
    const jwks = await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/.well-known/jwks.json`)).json();
    const { payload } = await jwtVerify(jwt, createLocalJWKSet(jwks as JSONWebKeySet), { issuer: "hullmark/eu-1/v1", typ: "eat+jwt" });
    expect(payload).toMatchObject({
      ear_status: "warning",
      eat_nonce: nonce.toString("base64url"),
      submods: {
        node: {
          ear_status: "warning",
          ear_trustworthiness_vector: { "instance-identity": 2, executables: 3, configuration: 2, hardware: 32 },
          ear_verifier_claims: { name: "w-1", reasons: ["tpm-tofu"] },
        },
      },
    });
    // The same check without the library that signed it.
    const [head = "", body = "", signature = ""] = jwt.split(".");
    const [jwk] = (jwks as JSONWebKeySet).keys;
    const key = { key: createPublicKey({ key: jwk as JsonWebKey, format: "jwk" }), dsaEncoding: "ieee-p1363" as const };
    expect(verify("sha256", Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url"))).toBe(true);
    await expect(verifier.query.issueEar({ node: "w-1", nonce: Buffer.alloc(7) })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(verifier.query.issueEar({ node: "nobody" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(verifier.query.issueEar({})).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("the kernel's measurement list on a TPM", () => {
  const list = (): string => join(directory, "binary_runtime_measurements");
  const file = (path: string, content: string | Buffer): WrittenMeasurement => measured({ path, content });
  const good = [file("boot_aggregate", aggregated(linuxBoot())), file("/usr/bin/a", "a"), file("/usr/bin/b", "b")];
  const ima = `      ima:\n        baselines: [known.sha256]\n`;

  /** What the kernel does when it measures: the list first, then PCR 10. The agent's own connection rests meanwhile. */
  async function measure(entries: readonly WrittenMeasurement[], extended = entries): Promise<void> {
    writeFileSync(list(), listOf(entries), { flag: "a" });
    await quoter?.close();
    const chip = new Tpm();
    await chip.open(tpm.tcti);
    for (const { hashed } of extended) await chip.extendPcr(10, "sha256", hashed);
    await chip.close();
  }

  async function measuring(): Promise<Attester> {
    writeFileSync(
      join(verifier.directory, "known.sha256"),
      `# known\n${["a", "b", "c"].map((content) => `${hex(content)}  /usr/bin/${content}`).join("\n")}\n`,
    );
    verifier.policy(policy(ima));
    writeFileSync(list(), "");
    const attester = await started(linuxBoot());
    attester.imaList = imaListFile(list());
    return attester;
  }
  const ask = () => verifier.adminClient.requestQuote({ nodeId: "w-1" });
  const told = async (want: object): Promise<void> => {
    await ask();
    await expect.poll(async () => (await shown()).ima, { timeout: 30_000 }).toMatchObject(want);
  };

  test("is proven as it grows, names what nothing vouches for, and survives agents and verifiers that start anew", async () => {
    const attester = await measuring();
    await measure(good);
    await told({ standing: "proven", entries: 3n, unvouched: [] });
    await judged(Verdict.WARNING);
    // Read before it is extended: the list is ahead of the quote.
    await measure([file("/usr/bin/c", "c"), file("/usr/bin/d", "d")], [file("/usr/bin/c", "c")]);
    await told({ standing: "proven", entries: 4n, unvouched: [] });
    await measure([], [file("/usr/bin/d", "d")]);
    attester.imaList = imaListFile(list());
    await told({ standing: "proven", entries: 5n, unvouched: [{ position: 4n, path: Buffer.from("/usr/bin/d"), digest: `sha256:${hex("d")}` }] });
    await judged(Verdict.CONTRAINDICATED);
    expect(await codes()).toContain("ima");
    writeFileSync(join(verifier.directory, "known.sha256"), ["a", "b", "c", "d"].map((content) => `${hex(content)}\n`).join(""));
    await verifier.adminClient.reloadPolicy({});
    await told({ standing: "proven", entries: 5n, unvouched: [] });
    await judged(Verdict.WARNING);
  });

  test("knows the files of a distribution's package by the digests of the package, and none that was altered", async () => {
    const fetched = join(directory, "package.deb.d");
    const unpacked = join(directory, "package");
    mkdirSync(fetched);
    // As set-up fetches its own. Others may be fetching too, and bring the index up to date meanwhile.
    const download = () => run(["sh", "-c", 'cd "$1" && apt-get download -q -o APT::Sandbox::User=root libgcc-s1', "sh", fetched]);
    await vi.waitFor(download, { timeout: 120_000, interval: 3000 });
    const deb = join(fetched, readdirSync(fetched).find((name) => name.endsWith(".deb")) ?? "");
    await run(["dpkg-deb", "-x", deb, unpacked]);
    // As docs/policy.md says.
    const sums = await run(["sh", "-c", 'cd "$1" && find . -type f -exec sha256sum {} +', "sh", unpacked]);
    const attester = await measuring();
    writeFileSync(join(verifier.directory, "known.sha256"), sums);
    await verifier.adminClient.reloadPolicy({});
    const paths = sums
      .trim()
      .split("\n")
      .map((line) => line.slice(line.indexOf("  .") + 3));
    const library = paths.find((path) => path.endsWith("/libgcc_s.so.1")) ?? "";
    // What lies on this machine, where the package of this version is installed, and else what is installed from it.
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own form
    const installed = (await run(["dpkg-query", "-W", "-f", "${Version}", "libgcc-s1"])) === (await run(["dpkg-deb", "-f", deb, "Version"])).trim();
    const content = readFileSync(join(installed ? "/" : unpacked, library));
    await measure([good[0] as WrittenMeasurement, file(library, content)]);
    await told({ standing: "proven", entries: 2n, unvouched: [] });
    await judged(Verdict.WARNING);
    const altered = Buffer.from(content);
    altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
    await measure([file(library, altered)]);
    attester.imaList = imaListFile(list());
    const digest = `sha256:${hash("sha256", altered)}`;
    await told({ standing: "proven", entries: 3n, unvouched: [{ position: 2n, path: Buffer.from(library), digest }] });
    await judged(Verdict.CONTRAINDICATED);
    expect(await codes()).toContain("ima");
  }, 240_000);

  test("that its PCR contradicts is refused, and believed again when it is true", async () => {
    const attester = await measuring();
    await measure(good);
    await told({ standing: "proven", entries: 3n });
    writeFileSync(list(), listOf([good[0] as WrittenMeasurement, file("/usr/bin/a", "b"), good[2] as WrittenMeasurement]));
    await measure([file("/usr/bin/c", "c")]);
    await told({ standing: "proven", entries: 4n });
    // What was proven is not told again: only a list that is shorter, or another continuation, can be noticed now.
    writeFileSync(list(), listOf([...good, file("/usr/bin/c", "c"), file("/usr/bin/a", "a")]));
    await measure([], [file("/usr/bin/evil", "evil")]);
    attester.imaList = imaListFile(list());
    await told({ standing: "contradicted" });
    await judged(Verdict.CONTRAINDICATED);
    expect(await codes()).toContain("ima");
    writeFileSync(list(), listOf([...good, file("/usr/bin/c", "c"), file("/usr/bin/evil", "evil")]));
    await told({ standing: "proven", entries: 5n, unvouched: [{ path: Buffer.from("/usr/bin/evil") }] });
  });

  test("of another boot is found by its first entry, which the quoted PCRs do not lead to", async () => {
    await measuring();
    const first = file("boot_aggregate", aggregated(linuxBoot({ secureBoot: false })));
    await measure([first, ...good.slice(1)]);
    await told({ standing: "proven", entries: 3n, unvouched: [{ position: 0n, path: Buffer.from("boot_aggregate") }] });
    await judged(Verdict.CONTRAINDICATED);
  });

  test("left out where policy requires it leaves the node unknown, and what was found in it found", async () => {
    const attester = await measuring();
    await measure([...good, file("/usr/bin/evil", "evil")]);
    await told({ standing: "proven", entries: 4n });
    await judged(Verdict.CONTRAINDICATED);
    attester.imaList = imaListFile(undefined);
    await told({ standing: "absent" });
    await judged(Verdict.UNKNOWN);
    expect(await codes()).toContain("no-ima-list");
    const { drifts } = await verifier.query.listDrift({ states: [DriftState.OPEN] });
    expect(drifts.map(({ kind }) => kind)).toEqual(["ima"]);
  });
});

describe("a TPM whose bank is sha384", () => {
  test("is quoted, replayed and judged by it, the measurement list too, and one that quotes another bank is refused", async () => {
    const own = await Swtpm.start({ withoutEkCertificate: true, pcrBanks: "sha384" });
    const stateDir = mkdtempSync(join(tmpdir(), "hullmark-boot-"));
    try {
      const files = [measured({ path: "/usr/bin/a", content: "a" }), measured({ path: "/usr/bin/evil", content: "evil" })];
      await boot(own.tcti, linuxBoot(), "sha384");
      const chip = new Tpm();
      await chip.open(own.tcti);
      for (const file of files) await chip.extendPcr(10, "sha384", extended384(file));
      await chip.close();
      writeFileSync(join(stateDir, "list"), listOf(files));
      writeFileSync(join(verifier.directory, "known.sha256"), `${hex("a")}\n`);
      const hex384 = (content: string): string => hash("sha384", content);
      const rules = policy("      ima: { baselines: [known.sha256] }\n").replace(hex("shim"), hex384("shim")).replace(hex("grub"), hex384("other"));
      await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true, pcrBanks: [sha384] }\npolicyFile: ${verifier.policy(rules)}`);
      quoter = new Tpm2Quoter({ tcti: own.tcti, stateDir, banks: ["sha384"] });
      const attester = verifier.attester({ name: "w-1", quoter });
      attester.bootLog = writeLog(linuxBoot(), "sha384");
      attester.imaList = imaListFile(join(stateDir, "list"));
      await attester.connect();
      await attester.report();
      await judged(Verdict.CONTRAINDICATED);
      await expect
        .poll(() => shown(), { timeout: 30_000 })
        .toMatchObject({
          boot: { eventLog: "read", secureBoot: "on", differingPcrs: [], images: [{ digest: hex384("shim") }, { digest: hex384("grub") }] },
          ima: { standing: "proven", entries: 2n, unvouched: [{ path: Buffer.from("/usr/bin/evil") }] },
        });
      // The boot loader that policy does not list, and the file that nothing vouches for.
      expect((await codes()).filter((code) => ["boot", "ima", "pcr-not-quoted", "secure-boot"].includes(code)).sort()).toEqual(["boot", "ima"]);
      await attester.close();

      const other = verifier.attester({ name: "w-2", quoter: new FakeQuoter() });
      await expect(other.connect()).rejects.toThrow(/wrong-pcr-selection/);
    } finally {
      await quoter.close();
      await own.stop();
      rmSync(stateDir, { recursive: true });
    }
  });
});

describe("the agent's reading of the log", () => {
  test("takes a whole file, tells of one too large, and gives nothing of one that has changed", async () => {
    const path = join(directory, "binary_bios_measurements");
    const bytes = writeLog(linuxBoot());
    writeFileSync(path, bytes);
    const log = await openBootLog(path);
    expect(log).toMatchObject({ sha256: hash("sha256", bytes, "buffer"), problem: undefined });
    expect(await log.read()).toEqual(bytes);
    writeFileSync(path, "x");
    expect(await log.read()).toEqual(Buffer.alloc(0));
    writeFileSync(path, Buffer.alloc((1 << 20) + 1));
    expect(await openBootLog(path)).toMatchObject({ sha256: Buffer.alloc(0), problem: expect.stringContaining("larger than") });
    expect(await openBootLog(join(directory, "none"))).toMatchObject({ sha256: Buffer.alloc(0), problem: undefined });
    expect(await openBootLog(undefined)).toMatchObject({ sha256: Buffer.alloc(0), problem: undefined });
  });
});
