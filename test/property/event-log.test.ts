import { createHash } from "node:crypto";
import { CodecError } from "@hullmark/proto/codec";
import { EV } from "@hullmark/verifier/core/measured-boot/event-types";
import {
  appraiseBoot,
  type BootAppraisal,
  type BootEvent,
  type BootRules,
  bootClaims,
  type EventLog,
  examineLog,
  holdAgainst,
  MAX_EVENT_LOG_BYTES,
  parseEventLog,
  type QuotedPcr,
  replay,
} from "@hullmark/verifier/core/measured-boot/index";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  DB_CERTIFICATE,
  event,
  grub,
  image,
  KERNEL_LINE,
  linuxBoot,
  SHIM_CERTIFICATE,
  separator,
  setting,
  sha256,
  u32,
  type WrittenEvent,
  writeLog,
} from "../fakes/boot-log.ts";
import { brokenBytes } from "../fakes/broken-bytes.ts";

/** What a TPM holds after these events, by the definition of extend. */
function pcrsAfter(events: readonly WrittenEvent[], pcrs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14]): QuotedPcr[] {
  const values = new Map(pcrs.map((pcr) => [pcr, Buffer.alloc(32)]));
  for (const { pcr, type, digest } of events) {
    const value = values.get(pcr);
    if (value && type !== EV.NO_ACTION) values.set(pcr, createHash("sha256").update(value).update(digest).digest());
  }
  return [...values].map(([index, value]) => ({ bank: "sha256", index, value }));
}

const RULES: BootRules = {
  rule: "workers",
  eventLog: "required",
  secureBoot: "required",
  variables: { PK: [], KEK: [], db: [sha256("db data").toString("hex")], dbx: [] },
  authorities: [DB_CERTIFICATE, SHIM_CERTIFICATE].map((der) => sha256(der).toString("hex")),
  images: ["shim", "grub"].map((content) => sha256(content).toString("hex")),
  drivers: [sha256("rom").toString("hex")],
  files: ["set timeout=1", "kernel", "initrd"].map((content) => sha256(content).toString("hex")),
  initrds: [],
  commandLine: (text) => text === KERNEL_LINE,
  pcrs: new Map(),
};

/** @param told the log as the node tells it; @param happened what was extended */
function judge(told: readonly WrittenEvent[], happened: readonly WrittenEvent[] = told, rules: BootRules | undefined = RULES): BootAppraisal {
  const pcrs = pcrsAfter(happened);
  return appraiseBoot({ pcrs, log: examineLog(writeLog(told), pcrs) }, rules);
}
const kinds = ({ findings }: BootAppraisal): string[] => findings.map(({ kind, what }) => `${kind} ${what}`);

const anyEvent = fc.record({
  pcr: fc.nat(23),
  type: fc.oneof(fc.constantFrom(...Object.values(EV)), fc.nat(0xffffffff)),
  digest: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
  data: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
});

describe("event logs from hostile bytes", () => {
  it("reads back what was written, and replays as extend is defined", () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 40 }), (events) => {
        const log = parseEventLog(writeLog(events));
        expect(log.events.map(({ pcr, type, digests, data }) => ({ pcr, type, digest: digests.get("sha256"), data }))).toEqual(events);
        const naive = new Map(
          pcrsAfter(
            events,
            Array.from({ length: 17 }, (_, pcr) => pcr),
          ).map(({ index, value }) => [index, value]),
        );
        for (const [pcr, value] of replay(log, "sha256")) if (pcr < 17) expect(value).toEqual(naive.get(pcr));
      }),
    );
  });

  it("refuses every cut within an event, and every byte too many", () => {
    const events = linuxBoot();
    const whole = writeLog(events);
    const ends = new Set(events.map((_, count) => writeLog(events.slice(0, count)).length).concat(whole.length));
    for (let length = 0; length < whole.length; length++) {
      if (ends.has(length)) expect(parseEventLog(whole.subarray(0, length)).events.length).toBeLessThan(events.length);
      else expect(() => parseEventLog(whole.subarray(0, length)), `${length} bytes`).toThrow(CodecError);
    }
    expect(() => parseEventLog(Buffer.concat([whole, Buffer.alloc(1)]))).toThrow(CodecError);
  });

  it("has a bound for the log, the events, the digests and the hashes", () => {
    expect(() => parseEventLog(Buffer.alloc(MAX_EVENT_LOG_BYTES + 1))).toThrow("TOO_LONG");
    expect(() => parseEventLog(writeLog(Array.from({ length: 8193 }, () => event(0, 1, ""))))).toThrow("more than 8192 events");
    const log = writeLog([separator(0)]);
    const specIdEnd = log.length - (4 + 4 + 4 + 2 + 32 + 4 + 4);
    const many = Buffer.from(log);
    many.writeUInt32LE(2, specIdEnd + 8);
    expect(() => parseEventLog(many)).toThrow("OUT_OF_RANGE");
    const huge = Buffer.from(log);
    huge.writeUInt32LE(0xffffffff, log.length - 8);
    expect(() => parseEventLog(huge)).toThrow("TOO_LONG");
    const strange = Buffer.from(log);
    strange.writeUInt16LE(0x99, specIdEnd + 12);
    expect(() => parseEventLog(strange)).toThrow("not announced");
    const wide = Buffer.from(log);
    wide.writeUInt16LE(64, specIdEnd - 3);
    expect(() => parseEventLog(wide)).toThrow("WRONG_LENGTH");
    const far = Buffer.from(log);
    far.writeUInt32LE(24, specIdEnd);
    expect(() => parseEventLog(far)).toThrow("PCR 24");
  });

  it("never fails otherwise, whatever the bytes", () => {
    const whole = writeLog(linuxBoot());
    const pcrs = pcrsAfter(linuxBoot());
    fc.assert(
      fc.property(brokenBytes(whole, 600), (bytes) => {
        const examined = examineLog(bytes, pcrs);
        const appraisal = appraiseBoot({ pcrs, log: examined }, RULES);
        // One changed byte is found, unless it is in what nothing covers and no rule looks at.
        if (!examined.ok) expect(appraisal.unknown.map(({ code }) => code)).toEqual(["event-log-malformed"]);
      }),
      { numRuns: 2000 },
    );
  });

  it("finds every changed bit of a digest", () => {
    const events = linuxBoot();
    const pcrs = pcrsAfter(events);
    fc.assert(
      fc.property(fc.nat(events.length - 1), fc.nat(255), (at, bit) => {
        const digest = Buffer.from((events[at] as WrittenEvent).digest);
        digest[bit >> 3] = (digest[bit >> 3] as number) ^ (1 << (bit & 7));
        const told = events.with(at, { ...(events[at] as WrittenEvent), digest });
        expect(holdAgainst(parseEventLog(writeLog(told)), pcrs).differing.map(({ pcr }) => pcr)).toEqual([(events[at] as WrittenEvent).pcr]);
      }),
    );
  });
});

describe("appraising a boot", () => {
  it("affirms one that is as policy says", () => {
    expect(judge(linuxBoot())).toEqual({ findings: [], unknown: [], warnings: [], judged: true });
  });

  it("tells what was booted, whatever policy says", () => {
    const pcrs = pcrsAfter(linuxBoot());
    const examined = examineLog(writeLog(linuxBoot()), pcrs);
    expect(examined).toMatchObject({
      ok: true,
      claims: {
        secureBoot: { state: "on", variables: { db: sha256("db data").toString("hex") } },
        images: [{ name: "/EFI/debian/shimx64.efi" }, { name: "/EFI/debian/grubx64.efi" }],
        commandLines: [KERNEL_LINE],
        exitBootServices: "logged",
      },
    });
    expect(appraiseBoot({ pcrs, log: examined }, undefined)).toEqual({ findings: [], unknown: [], warnings: [], judged: false });
  });

  it.each<[string, Parameters<typeof linuxBoot>[0], string[]]>([
    ["Secure Boot off", { secureBoot: false }, ["secure-boot state", "boot authorities"]],
    ["another kernel", { kernel: "evil" }, [`boot file ${sha256("evil").toString("hex")}`]],
    ["another command line", { kernelLine: `${KERNEL_LINE} init=/bin/sh` }, [`boot command line ${KERNEL_LINE} init=/bin/sh`]],
  ])("%s is a finding", (_, change, want) => {
    expect(kinds(judge(linuxBoot(change)))).toEqual(want);
  });

  it.each<[string, (events: WrittenEvent[]) => WrittenEvent[], string[]]>([
    ["an event left out", (events) => events.filter(({ data }) => !data.includes("kernel_cmdline")), []],
    ["an event added to the log alone", (events) => [...events, image("\\x.efi", "x")], ["event-log 4"]],
    [
      "events of one PCR exchanged",
      (events) => events.map((each, i) => (i === 1 ? (events[2] as WrittenEvent) : i === 2 ? (events[1] as WrittenEvent) : each)),
      ["event-log 7", "secure-boot state", "boot db", "boot authorities"],
    ],
    ["the log of another boot", () => linuxBoot({ secureBoot: false }), ["event-log 7", "secure-boot state", "boot db", "boot authorities"]],
  ])("a log with %s does not pass", (_, alter, want) => {
    const appraisal = judge(alter(linuxBoot()), linuxBoot());
    expect(kinds(appraisal)).toEqual(expect.arrayContaining(want));
    expect(appraisal.findings).not.toEqual([]);
  });

  it("believes no relabelled configuration that root appends after boot", () => {
    const real = linuxBoot({ secureBoot: false });
    const forged = linuxBoot({ secureBoot: true }).filter(({ pcr }) => pcr === 7);
    const happened = [...real, ...forged];
    // EV_POST_CODE claims nothing, EV_EFI_ACTION needs no reading, EV_NO_ACTION is not extended.
    for (const type of [EV.POST_CODE, EV.EFI_ACTION, EV.NO_ACTION, EV.EFI_VARIABLE_AUTHORITY, 0x2]) {
      const told = [...real.map((each) => (each.pcr === 7 ? { ...each, type } : each)), ...forged];
      expect(kinds(judge(told, happened)), `type 0x${type.toString(16)}`).toContain("secure-boot state");
    }
    expect(kinds(judge(happened))).toContain("secure-boot state");
  });

  it("lists code by digest, whatever the log calls it", () => {
    const real = [...linuxBoot(), image("\\evil.efi", "evil")];
    for (const type of [EV.POST_CODE, EV.EFI_ACTION, EV.SEPARATOR, 0x80000008, 0xabcdef]) {
      const told = real.map((each) => (each.digest.equals(sha256("evil")) ? { ...each, type, data: Buffer.alloc(4) } : each));
      expect(kinds(judge(told, real)), `type 0x${type.toString(16)}`).toContain(`boot image ${sha256("evil").toString("hex")}`);
    }
  });

  it("takes a kernel's command line for one under any prefix, and a text that is not what was measured for hidden", () => {
    const evil = `${KERNEL_LINE} init=/bin/sh`;
    const real = linuxBoot({ kernelLine: evil });
    const happened = [...real, grub("kernel_cmdline", KERNEL_LINE)];
    const relabelled = happened.map((each) => (each.data.includes(`kernel_cmdline: ${evil}`) ? grub("grub_cmd", evil) : each));
    expect(kinds(judge(relabelled, happened))).toContain(`boot command line ${evil}`);
    const hidden = happened.map((each) => (each.data.includes(`kernel_cmdline: ${evil}`) ? { ...each, data: Buffer.from("grub_cmd: true\0") } : each));
    expect(kinds(judge(hidden, happened))).toContain("boot command line");
  });

  it("takes no program for an action because the log holds its very bytes", () => {
    const program = Buffer.concat([Buffer.from("MZ"), Buffer.alloc(62), Buffer.from("evil")]);
    const evil = { ...image("\\evil.efi", ""), digest: sha256(program) };
    const happened = [...linuxBoot(), evil];
    for (const data of [program, Buffer.from("x".repeat(257))]) {
      const told = [...linuxBoot(), event(4, EV.EFI_ACTION, data)];
      const real = data === program ? happened : told;
      expect(kinds(judge(told, real))).toEqual([`boot image ${sha256(data).toString("hex")}`]);
    }
  });

  it.each(["PK", "KEK", "db", "dbx"] as const)("holds %s against policy by the digest of its data", (name) => {
    const rules = (allowed: string): BootRules => ({ ...RULES, variables: { [name]: [allowed] } });
    const digest = sha256(`${name} data`).toString("hex");
    expect(judge(linuxBoot(), undefined, rules(digest)).findings).toEqual([]);
    const { findings, judged } = judge(linuxBoot(), undefined, rules("00".repeat(32)));
    expect(findings).toEqual([{ kind: "boot", what: name, detail: `${name} is ${digest}, which policy does not list` }]);
    expect(judged).toBe(true);
    // Left out of the log it is not proven, and what PCR 7 leads to is another value.
    const without = linuxBoot().filter(({ data }) => !data.includes(Buffer.from(`${name} data`)));
    expect(kinds(judge(without, undefined, rules(digest)))).toContain(`boot ${name}`);
    expect(kinds(judge(without, linuxBoot(), rules(digest)))).toEqual(expect.arrayContaining(["event-log 7", `boot ${name}`]));
  });

  it.each<[string, keyof BootRules, string, string]>([
    ["shim", "images", "image", "shim"],
    ["boot loader", "images", "image", "grub"],
    ["kernel", "files", "file", "kernel"],
    ["initial RAM disk", "files", "file", "initrd"],
    ["configuration of the boot loader", "files", "file", "set timeout=1"],
    ["driver of an option ROM", "drivers", "driver", "rom"],
  ])("refuses a %s that policy does not list, by its digest", (_, rule, what, content) => {
    const digest = sha256(content).toString("hex");
    const allowed = (RULES[rule] as readonly string[]).filter((each) => each !== digest);
    // An empty list asks for nothing.
    const rules = { ...RULES, [rule]: allowed.length > 0 ? allowed : ["00".repeat(32)] };
    expect(kinds(judge(linuxBoot(), undefined, rules))).toEqual([`boot ${what} ${digest}`]);
  });

  it("tells of the firmware's hand-over to the system: as logged, failed, missing, or not proven", () => {
    const [invoked, returned] = ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"];
    const failed = [...linuxBoot().filter(({ data }) => !data.includes(returned)), event(5, EV.EFI_ACTION, "Exit Boot Services Returned with Failure")];
    const missing = linuxBoot().filter(({ data }) => !data.includes(invoked) && !data.includes(returned));
    for (const [told, state] of [
      [linuxBoot(), undefined],
      [failed, "failed"],
      [missing, "missing"],
    ] as const)
      expect(judge(told)).toMatchObject({
        findings: [],
        warnings: state === undefined ? [] : [{ code: "exit-boot-services", detail: `the firmware's hand-over to the system is ${state}` }],
      });
    const pcrs = pcrsAfter(linuxBoot()).filter(({ index }) => index !== 5);
    expect(examineLog(writeLog(linuxBoot()), pcrs)).toMatchObject({ claims: { exitBootServices: "unproven" } });
  });

  it("finds a file of PCR 9 under any type and tag, also where policy lists one kind alone", () => {
    const tagged = (tag: number): Buffer => Buffer.concat([u32(tag), u32(4), Buffer.from("name")]);
    const evil = sha256("evil").toString("hex");
    const initrd = sha256("initrd").toString("hex");
    for (const rules of [RULES, { ...RULES, files: [], initrds: RULES.files }])
      for (const tag of [0x8f3b22ec, 0x8f3b22ed, 1]) {
        const told = [...linuxBoot(), event(9, EV.EVENT_TAG, tagged(tag), "evil")];
        expect(kinds(judge(told, told, rules)), tag.toString(16)).toEqual([`boot file ${evil}`]);
      }
    expect(kinds(judge(linuxBoot(), undefined, { ...RULES, initrds: [initrd] }))).toEqual([]);
    expect(kinds(judge(linuxBoot(), undefined, { ...RULES, initrds: ["00".repeat(32)] }))).toEqual(["boot initrd"]);
  });

  it("passes no command line after as many good ones as are kept, and no file after as many", () => {
    const evil = `${KERNEL_LINE} init=/bin/sh`;
    const lines = [...linuxBoot(), ...Array.from({ length: 70 }, () => grub("kernel_cmdline", KERNEL_LINE)), grub("kernel_cmdline", evil)];
    expect(kinds(judge(lines))).toEqual(["boot too many commandLines"]);
    const files = [...linuxBoot(), ...Array.from({ length: 520 }, () => event(9, EV.IPL, "/k\0", "kernel")), event(9, EV.IPL, "/k\0", "evil")];
    expect(kinds(judge(files))).toEqual(["boot too many files"]);
    expect(judge(files, files, { ...RULES, files: [] }).findings).toEqual([]);
  });

  it("takes a kernel in a list of blocks or with a space in its name for one under any prefix", () => {
    for (const evil of ["2048+9000 init=/bin/sh", "+9 init=/bin/sh", '"/boot/vm linuz" init=/bin/sh']) {
      const told = [...linuxBoot(), grub("grub_cmd", evil)];
      expect(kinds(judge(told))).toEqual([`boot command line ${evil}`]);
    }
  });

  it("believes no good line in one PCR where the other is not explained any more", () => {
    const real = linuxBoot({ kernelLine: `${KERNEL_LINE} init=/bin/sh` });
    const stub = event(12, EV.IPL, Buffer.from(`${KERNEL_LINE}\0`, "utf16le"));
    const happened = [...real, grub("grub_cmd", "true"), stub];
    const told = [...linuxBoot().filter(({ pcr }) => pcr !== 8), stub];
    expect(kinds(judge(told, happened))).toContain("boot command line");
    const pcrs = pcrsAfter(happened).filter(({ index }) => index !== 8);
    expect(kinds(appraiseBoot({ pcrs, log: examineLog(writeLog(happened), pcrs) }, RULES))).toContain("boot command line");
  });

  it("needs SecureBoot once, before one separator, and of the right vendor", () => {
    const events = linuxBoot();
    const on = setting("SecureBoot", Buffer.from([1]));
    const detail = (told: readonly WrittenEvent[]): string | undefined => judge(told).findings.find(({ kind }) => kind === "secure-boot")?.detail;
    expect(detail([...events, on])).toMatch("after the separator");
    expect(detail([on, ...events])).toMatch("measured twice");
    expect(detail([...events, separator(7)])).toMatch("two separators");
    expect(detail(events.filter(({ pcr, type }) => pcr !== 7 || type !== EV.SEPARATOR))).toMatch("no separator");
    expect(detail(events.filter(({ data }) => !data.includes(Buffer.from("SecureBoot", "utf16le"))))).toMatch("not measured");
    expect(detail(events.map((each) => (each.data.equals(on.data) ? setting("SecureBoot", Buffer.from([1]), "00".repeat(16)) : each)))).toMatch(
      "another vendor",
    );
    expect(detail(events.map((each) => (each.data.equals(on.data) ? setting("SecureBoot", Buffer.from([2])) : each)))).toMatch("unproven");
    expect(detail([...events, event(7, EV.EFI_ACTION, "UEFI Debug Mode")])).toMatch("debugger");
    expect(detail(events.map((each) => (each.data.equals(on.data) ? { ...each, digest: sha256("other") } : each)))).toMatch("not what its digest says");
  });

  it("judges what is missing as unknown where policy asks, and never affirms it", () => {
    const pcrs = pcrsAfter(linuxBoot());
    expect(appraiseBoot({ pcrs, log: "none" }, RULES)).toMatchObject({ findings: [], unknown: [{ code: "no-event-log" }], judged: false });
    expect(appraiseBoot({ pcrs, log: "pending" }, RULES)).toMatchObject({ unknown: [{ code: "event-log-pending" }], judged: false });
    expect(appraiseBoot({ pcrs, log: examineLog(Buffer.from("x"), pcrs) }, RULES)).toMatchObject({ unknown: [{ code: "event-log-malformed" }], judged: false });
    expect(appraiseBoot({ pcrs, log: "none" }, undefined)).toMatchObject({ unknown: [], warnings: [], judged: false });
  });

  it("holds PCR values against policy, and cannot where they are not quoted", () => {
    const value = (pcr: number): string => Buffer.from(pcrsAfter(linuxBoot()).find(({ index }) => index === pcr)?.value ?? []).toString("hex");
    const rules = (pcrs: [number, string[]][]): BootRules => ({ ...RULES, pcrs: new Map(pcrs) });
    expect(judge(linuxBoot(), undefined, rules([[0, ["aa", value(0)]]])).findings).toEqual([]);
    expect(kinds(judge(linuxBoot(), undefined, rules([[0, ["00".repeat(32)]]])))).toEqual(["pcr 0"]);
    expect(judge(linuxBoot(), undefined, rules([[16, ["00".repeat(32)]]]))).toMatchObject({
      findings: [],
      unknown: [{ code: "pcr-not-quoted" }],
      judged: false,
    });
  });

  it("takes no drivers for none where their PCR is not quoted", () => {
    const evil = [...linuxBoot(), event(2, EV.EFI_BOOT_SERVICES_DRIVER, Buffer.alloc(32), "evil")];
    expect(kinds(judge(evil))).toEqual([`boot driver ${sha256("evil").toString("hex")}`]);
    const pcrs = pcrsAfter(evil).filter(({ index }) => index !== 2);
    for (const told of [evil, linuxBoot()]) {
      const appraisal = appraiseBoot({ pcrs, log: examineLog(writeLog(told), pcrs) }, RULES);
      expect(appraisal).toMatchObject({ unknown: [{ code: "pcr-not-quoted" }], judged: false });
    }
    expect(appraiseBoot({ pcrs, log: examineLog(writeLog(evil), pcrs) }, { ...RULES, drivers: [] })).toMatchObject({ unknown: [], judged: true });
  });

  it("warns of what the system extended after boot, and takes nothing of it from the log", () => {
    const happened = [...linuxBoot(), event(9, EV.IPL, "later")];
    const appraisal = judge(linuxBoot(), happened);
    expect(appraisal.warnings.map(({ code }) => code)).toEqual(["pcr-unexplained"]);
    expect(kinds(appraisal)).toEqual(["boot file"]);
  });

  it("tells events that nobody knows and errors of the firmware", () => {
    const odd = [...linuxBoot(), event(1, 0x7777, "?"), event(3, EV.SEPARATOR, u32(1), "an error")];
    expect(judge(odd).warnings.map(({ code }) => code)).toEqual(["boot-events-unknown", "boot-errors"]);
    // Where no rule selects the node, they are told all the same, and say nothing of its verdict.
    const pcrs = pcrsAfter(odd);
    const unruled = appraiseBoot({ pcrs, log: examineLog(writeLog(odd), pcrs) }, undefined);
    expect(unruled).toMatchObject({ warnings: [], notes: [{ code: "boot-events-unknown" }, { code: "boot-errors" }], judged: false });
  });
});

describe("two banks", () => {
  const logs = (["sha256", "sha384"] as const).map((bank) => parseEventLog(writeLog(linuxBoot(), bank)));
  const [one, other] = logs as [EventLog, EventLog];
  const events = one.events.map((each, i) => ({ ...each, digests: new Map([...each.digests, ...(other.events[i] as BootEvent).digests]) }));
  const log: EventLog = { ...one, hashes: ["sha256", "sha384"], events };
  const quoted = (["sha384", "sha256"] as const).flatMap((bank) => [...replay(log, bank)].map(([index, value]) => ({ bank, index, value: value as Buffer })));

  it("prove a PCR together: what is listed is listed by SHA-256, in whatever order a node tells them, and one that differs is enough", () => {
    for (const pcrs of [quoted, [...quoted].reverse()]) {
      const comparison = holdAgainst(log, pcrs);
      expect(comparison.differing).toEqual([]);
      expect(new Set(comparison.proven.values())).toEqual(new Set(["sha256"]));
      expect(bootClaims(log, comparison).images.map(({ digest }) => digest)).toEqual(
        bootClaims(one, holdAgainst(one, pcrsAfter(linuxBoot()))).images.map(({ digest }) => digest),
      );
      for (const bank of ["sha256", "sha384"]) {
        const changed = pcrs.map((each) => (each.bank === bank && each.index === 4 ? { ...each, value: Buffer.alloc(each.value.length, 1) } : each));
        const differs = holdAgainst(log, changed);
        expect(differs.proven.has(4)).toBe(false);
        const { differing, unquoted } = differs;
        const examined = { ok: true, claims: bootClaims(log, differs), comparison: { differing, unquoted } } as const;
        expect(kinds(appraiseBoot({ pcrs: changed, log: examined }, { ...RULES, images: [] }))).toContain("event-log 4");
      }
    }
  });

  it("are each held against the values that policy lists of them", () => {
    const value = (bank: string): string => Buffer.from(quoted.find((each) => each.bank === bank && each.index === 4)?.value as Buffer).toString("hex");
    const judged = (allowed: string[], pcrs = quoted) => appraiseBoot({ pcrs, log: "none" }, { ...RULES, eventLog: "optional", pcrs: new Map([[4, allowed]]) });
    expect(judged([value("sha256")]).findings).toEqual([]);
    expect(judged([value("sha384")]).findings).toEqual([]);
    expect(judged([value("sha256"), value("sha384")]).findings).toEqual([]);
    expect(judged(["a".repeat(64), value("sha384")]).findings).toMatchObject([{ kind: "pcr", what: "4" }]);
    expect(judged([value("sha256"), "a".repeat(96)]).findings).toMatchObject([{ kind: "pcr", what: "4" }]);
    const only = quoted.filter(({ bank }) => bank === "sha256");
    expect(judged([value("sha384")], only).unknown.map(({ code }) => code)).toContain("pcr-not-quoted");
  });
});

describe("sections of a unified kernel image", () => {
  it("are named by the events before them, and the command line of the stub is read", () => {
    const name = (text: string): Buffer => Buffer.from(`${text}\0`, "utf16le");
    const line = name("root=/dev/vda2 ro");
    const events = [
      ...[".linux", ".initrd"].flatMap((section) => [
        event(11, EV.IPL, name(section), `${section}\0`),
        event(11, EV.IPL, name(section), `content of ${section}`),
      ]),
      event(12, EV.IPL, line),
    ];
    const log = parseEventLog(writeLog(events));
    const claims = bootClaims(log, holdAgainst(log, pcrsAfter(events)));
    expect(claims.sections).toEqual(
      [".linux", ".initrd"].map((section) => ({ pcr: 11, name: section, digest: sha256(`content of ${section}`).toString("hex") })),
    );
    expect(claims).toMatchObject({ commandLines: ["root=/dev/vda2 ro"], unknown: [] });
  });
});
