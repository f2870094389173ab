/** Certificates that their authority has taken back: lists that openssl made, fetched over HTTP from a server of the test. What notation-go says is in test/integration/provenance-notation.test.ts. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HttpRevocationAnswers, NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { SigstoreVerifier } from "@hullmark/verifier/adapters/sigstore/index";
import type { Authority, TrustStore } from "@hullmark/verifier/core/policy/types";
import { type Artefact, consulting, type ProvenanceQuestion, type ProvenanceVerdict, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { never, question } from "../fakes/judging.ts";
import { type NotaryIdentity, notaryPayload, signNotary } from "../fakes/notary.ts";
import { OpensslCa } from "../fakes/openssl-ca.ts";
import { pem } from "../fakes/sigstore/keys.ts";
import { FakeTsa } from "../fakes/sigstore/tsa.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const HOUR_MS = 3_600_000;
let folder: string;
let ca: OpensslCa;
let tsa: FakeTsa;
/** Never revoked. */
let identity: NotaryIdentity;
let good: Buffer;
let stranger: OpensslCa;

beforeAll(async () => {
  tsa = await FakeTsa.create();
  folder = mkdtempSync(join(tmpdir(), "hullmark-crl-"));
  ca = await OpensslCa.create(join(folder, "ca"));
  stranger = await OpensslCa.create(join(folder, "stranger"));
  identity = ca.issue("good");
  good = ca.list();
});
afterAll(async () => {
  tsa?.close();
  await ca?.close();
  await stranger?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  ca.configure("");
  ca.served.clear();
  ca.asked.clear();
  ca.served.set("/ca.crl", good);
});

const store = (overrides: Partial<TrustStore> = {}): TrustStore => ({
  ...{ name: "acme", scheme: "ca", certificates: [ca.rootPem], timestampAuthorities: [pem("CERTIFICATE", tsa.chain[1] ?? Buffer.alloc(0))] },
  ...{ requireTimestamp: false, revocation: "enforce", revocationLists: [] },
  ...overrides,
});
const release: Authority = {
  name: "release",
  signers: [{ kind: "notary", trustStore: "acme", subject: { CN: "release" }, notBeforeMs: undefined, notAfterMs: undefined }],
};

/** As the verifier does: judged by what is there, asked for what is lacking, judged anew. */
class Judge {
  nowMs = Date.now();
  readonly answers: HttpRevocationAnswers;
  readonly #notary: NotaryProjectVerifier;

  constructor(options: Partial<ConstructorParameters<typeof HttpRevocationAnswers>[0]> = {}) {
    this.answers = new HttpRevocationAnswers({ nowMs: () => this.nowMs, ...options });
    this.#notary = new NotaryProjectVerifier(this.answers);
  }

  async verdict(by: NotaryIdentity = identity, of: Partial<TrustStore> = {}, stamped = false): Promise<ProvenanceVerdict> {
    const { bytes, mediaType } = signNotary(by, notaryPayload(DIGEST), stamped ? { token: (signature) => tsa.token(signature) } : {});
    const artefact: Artefact = {
      ...{ repository: "registry.example/app", manifestDigest: `sha256:${"11".repeat(32)}`, foundUnder: DIGEST, layout: "referrer" },
      ...{ format: "notary", envelope: bytes, mediaType },
    };
    const asked: Partial<ProvenanceQuestion> = { subjects: [DIGEST], artefacts: [artefact], authorities: [release], trustStores: [store(of)] };
    const verifiers = { sigstore: new SigstoreVerifier(), notary: this.#notary };
    return await consulting(() => verifyProvenance(question({ ...asked, atMs: this.nowMs }), verifiers), this.answers, never);
  }
}

const code = ({ artefacts: [first] }: ProvenanceVerdict) => first?.code;

describe("by the list that a certificate names", () => {
  test("it counts until its authority takes it back, and then with the reason", async () => {
    const judge = new Judge();
    const by = ca.issue("stolen");
    expect(await judge.verdict(by)).toMatchObject({ status: "signed", answers: [ca.url()] });
    ca.revoke("stolen", "-crl_reason", "keyCompromise");
    ca.served.set("/ca.crl", ca.list());
    expect(await judge.verdict(by), "the list is good for an hour").toMatchObject({ status: "signed" });
    expect(ca.asked.get("/ca.crl")).toBe(1);
    judge.nowMs += 11 * 60_000;
    const verdict = await judge.verdict(by);
    expect(verdict).toMatchObject({ status: "revoked", satisfied: false, artefacts: [{ code: "revoked" }] });
    expect(verdict.text).toMatch(/CN=release \(serial [0-9A-F]+\) was revoked on .* by its authority: key compromise/);
    expect(ca.asked.get("/ca.crl")).toBe(2);
  });

  test("what is listed for another certificate is nothing to it; on hold it does not count", async () => {
    const by = ca.issue("held");
    ca.revoke("held", "-crl_hold", "holdInstructionReject");
    ca.served.set("/ca.crl", ca.list());
    expect(await new Judge().verdict(by)).toMatchObject({ status: "revoked", text: expect.stringContaining("certificate hold") });
    expect(await new Judge().verdict()).toMatchObject({ status: "signed" });
  });

  test("signed provably before the key was stolen it counts; without a proven time, or since, it does not", async () => {
    const stolen = new Date(Date.now() + HOUR_MS).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
    const by = ca.issue("later");
    ca.revoke("later", "-crl_compromise", stolen);
    ca.served.set("/ca.crl", ca.list());
    const judge = new Judge();
    expect(await judge.verdict(by, {}, true)).toMatchObject({ status: "signed" });
    expect(await judge.verdict(by, { timestampAuthorities: [] }, true)).toMatchObject({ status: "revoked" });
    expect(await judge.verdict(by)).toMatchObject({ status: "revoked" });
  });

  test("a certificate that names nobody to ask counts, one with several lists only by all of them", async () => {
    expect(await new Judge().verdict(ca.issue("plain", ""))).toMatchObject({ status: "signed", answers: [] });
    const two = ca.issue("two", `crlDistributionPoints = URI:${ca.url()},URI:${ca.url("/two.crl")}`);
    expect(await new Judge().verdict(two)).toMatchObject({ status: "unknown" });
    ca.served.set("/two.crl", ca.list());
    expect(await new Judge().verdict(two)).toMatchObject({ status: "signed" });
    ca.revoke("two");
    ca.served.set("/two.crl", ca.list());
    expect(await new Judge().verdict(two)).toMatchObject({ status: "revoked" });
  });

  test("what policy makes of it: enforce, log, skip", async () => {
    const by = ca.issue("modes");
    ca.revoke("modes");
    ca.served.set("/ca.crl", ca.list());
    const ask = async (revocation: TrustStore["revocation"]) => await new Judge().verdict(by, { revocation });
    expect((await ask("skip")).status).toBe("signed");
    expect(ca.asked.size).toBe(0);
    const logged = await ask("log");
    expect(logged.status).toBe("signed");
    expect(logged.artefacts[0]?.text).toMatch(/counts all the same: the certificate .* was revoked on/);
    expect((await ask("enforce")).status).toBe("revoked");
  });
});

describe("by a list of changes", () => {
  const NAMES_CHANGES = () => `freshestCRL = URI:${ca.url("/delta.crl")}`;
  const changes = (from: number, extensions = "") => {
    ca.configure(`2.5.29.27 = critical,ASN1:INTEGER:${from}\n${extensions}`);
    return ca.list();
  };

  test("what was revoked since counts no more, what was released counts again", async () => {
    const [late, held] = [ca.issue("late"), ca.issue("released")];
    ca.revoke("released", "-crl_hold", "holdInstructionReject");
    ca.configure(NAMES_CHANGES());
    const number = ca.nextNumber;
    const base = ca.list();
    ca.served.set("/ca.crl", base);
    expect(await new Judge().verdict(late), "the list of changes is not to be had").toMatchObject({
      status: "unknown",
      answers: [ca.url(), ca.url("/delta.crl")],
    });
    expect(await new Judge().verdict(held), "held, as far as is known").toMatchObject({ status: "revoked" });
    ca.served.set("/delta.crl", changes(number));
    expect(await new Judge().verdict(late)).toMatchObject({ status: "signed" });
    ca.revoke("late");
    ca.release("released");
    ca.served.set("/delta.crl", changes(number));
    expect(await new Judge().verdict(late)).toMatchObject({ status: "revoked" });
    expect(await new Judge().verdict(held)).toMatchObject({ status: "signed" });
  });

  test("where it lies is believed of nobody but the list's own authority", async () => {
    stranger.configure(`freshestCRL = URI:${ca.url("/inside")}`);
    ca.served.set("/ca.crl", stranger.list());
    stranger.configure("");
    expect(await new Judge().verdict()).toMatchObject({ status: "unknown", answers: [ca.url()], text: expect.stringContaining("did not sign") });
    expect(ca.asked.has("/inside")).toBe(false);
  });

  test("one that goes with another list, or that is none, tells nothing", async () => {
    ca.configure(NAMES_CHANGES());
    const base = ca.list();
    ca.served.set("/ca.crl", base);
    ca.served.set("/delta.crl", changes(ca.nextNumber + 1));
    expect((await new Judge().verdict()).text).toContain("does not go with its list");
    ca.served.set("/delta.crl", good);
    expect((await new Judge().verdict()).text).toContain("a list of changes that is none");
    ca.served.set("/delta.crl", stranger.list());
    expect((await new Judge().verdict()).text).toContain("did not sign");
    const both = ca.issue("freshest", `crlDistributionPoints = URI:${ca.url()}\nfreshestCRL = URI:${ca.url("/delta.crl")}`);
    ca.served.set("/ca.crl", good);
    expect((await new Judge().verdict(both)).text).toContain("that its list does not name");
  });
});

describe("nobody can tell, and it does not count", () => {
  /** Each its own words; none of them a list that would do. */
  const cases: readonly (readonly [string, () => void, string])[] = [
    ["nothing is there", () => ca.served.delete("/ca.crl"), "could not be fetched: HTTP 404"],
    ["what is there is no list", () => ca.served.set("/ca.crl", Buffer.from("<html>")), "could not be fetched"],
    ["a list with bytes after its end", () => ca.served.set("/ca.crl", Buffer.concat([ca.list(), Buffer.of(0)])), "bytes after its end"],
    ["a list that is altered", () => ca.served.set("/ca.crl", flipped(ca.list())), "did not sign"],
    ["a list that is out of date", () => ca.served.set("/ca.crl", dated(ca, -2 * HOUR_MS, -HOUR_MS)), "the list was good until"],
    ["a list that is to come", () => ca.served.set("/ca.crl", dated(ca, HOUR_MS, 2 * HOUR_MS)), "which is to come"],
    ["a list for authorities only", () => scoped("onlyCA"), "for certificates of authorities"],
    ["a list for some reasons only", () => scoped("onlysomereasons = keyCompromise"), "for some reasons"],
    ["a list of another distribution point", () => scoped(`fullname = URI:${ca.url("/other.crl")}`), "another distribution point"],
    ["a list with a critical extension that is unknown", () => extended("1.2.3.4 = critical,ASN1:NULL"), "critical extension 1.2.3.4"],
    ["a list of changes alone", () => extended("2.5.29.27 = critical,ASN1:INTEGER:1"), "list of changes"],
    [
      "somewhere else to ask",
      () => ca.served.set("/ca.crl", (_, response) => void response.writeHead(302, { location: ca.url("/moved.crl") }).end()),
      "HTTP 302",
    ],
  ];
  const flipped = (der: Buffer): Buffer => {
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    return der;
  };
  const dated = (of: OpensslCa, fromMs: number, untilMs: number): Buffer => {
    const at = (ms: number) => `${new Date(Date.now() + ms).toISOString().replaceAll(/[-:T]|\.\d+Z/g, "")}Z`;
    return of.list("-crl_lastupdate", at(fromMs), "-crl_nextupdate", at(untilMs));
  };
  const extended = (extensions: string): void => {
    ca.configure(extensions);
    ca.served.set("/ca.crl", ca.list());
  };
  const scoped = (scope: string): void => extended(`issuingDistributionPoint = critical,@scope\n[scope]\n${scope === "onlyCA" ? "onlyCA = TRUE" : scope}`);

  test.each(cases)("%s", async (_, arrange, words) => {
    arrange();
    const judge = new Judge();
    const verdict = await judge.verdict();
    expect(verdict).toMatchObject({ status: "unknown", satisfied: false, artefacts: [{ code: "revocation-unknown" }] });
    expect(verdict.text).toContain(words);
    expect(verdict.refusals[0]?.remedy).toContain("revocationListFiles");
    const logged = await judge.verdict(identity, { revocation: "log" });
    expect(logged).toMatchObject({ status: "signed" });
    expect(logged.artefacts[0]?.text).toContain(words);
  });

  test("of another authority of the same name", async () => {
    ca.served.set("/ca.crl", stranger.list());
    expect((await new Judge().verdict()).text).toContain("did not sign");
  });

  test("longer than a list may be, or slower", async () => {
    ca.served.set("/ca.crl", (_, response) => {
      response.writeHead(200);
      const more = (): void => {
        while (response.writable && response.write(Buffer.alloc(65_536)));
      };
      response.on("drain", more);
      more();
    });
    expect((await new Judge().verdict()).text).toContain("more than 4194304 bytes");
    ca.served.set("/ca.crl", (_, response) => void response.writeHead(200).write("0"));
    expect((await new Judge({ timeoutMs: 200 }).verdict()).text).toContain("no answer within 200 ms");
  });

  test("an https address, an address of the inside that is not listed", async () => {
    expect((await new Judge().verdict(ca.issue("tls", "crlDistributionPoints = URI:https://127.0.0.1/ca.crl"))).text).toContain("no http URL");
    const reach = {
      check: (host: string): void => {
        throw new Error(`${host} is inside`);
      },
      lookup: () => undefined,
    };
    expect((await new Judge({ reach }).verdict()).text).toContain("is inside");
    expect(ca.asked.size).toBe(0);
  });

  test("only OCSP to ask by", async () => {
    expect((await new Judge().verdict(ca.issue("ocsp", `authorityInfoAccess = OCSP;URI:${ca.url("/ocsp")}`))).text).toContain("OCSP");
  });

  test("what is not signed under the trust store has nothing fetched for it", async () => {
    const by = stranger.issue("leaf", `crlDistributionPoints = URI:${ca.url()}`);
    expect(code(await new Judge().verdict(by))).toBe("untrusted");
    expect(ca.asked.size).toBe(0);
  });
});

describe("kept", () => {
  test("a list that somebody forged, and a genuine one of before, take the place of none that is newer", async () => {
    const judge = new Judge();
    const by = ca.issue("replayed");
    const before = ca.list();
    ca.revoke("replayed");
    const genuine = ca.list();
    ca.served.set("/ca.crl", genuine);
    expect(await judge.verdict(by)).toMatchObject({ status: "revoked" });
    expect(await judge.verdict()).toMatchObject({ status: "signed" });
    for (const [what, list] of [
      ["forged", stranger.list("-crlhours", "1000")],
      ["altered", altered(genuine, "z")],
      ["of before", before],
    ] as const) {
      ca.served.set("/ca.crl", list);
      judge.nowMs += 11 * 60_000;
      expect(await judge.verdict(by), what).toMatchObject({ status: "revoked" });
      expect(await judge.verdict(), what).toMatchObject({ status: "signed" });
    }
    expect(ca.asked.get("/ca.crl")).toBe(4);
  });

  test("a list whose end is the time of no day is none, and the next one is asked for", async () => {
    const judge = new Judge();
    const endless = altered(good, "month");
    expect(endless.equals(good)).toBe(false);
    ca.served.set("/ca.crl", endless);
    expect((await judge.verdict()).text).toContain("a date that is none");
    ca.served.set("/ca.crl", good);
    judge.nowMs += 60_000;
    expect(await judge.verdict()).toMatchObject({ status: "signed" });
    ca.served.set("/ca.crl", endless);
    judge.nowMs += 11 * 60_000;
    expect(await judge.verdict(), "what is at hand is good still").toMatchObject({ status: "signed" });
  });

  test("while the authority is away the last list counts until its end, and no longer", async () => {
    const judge = new Judge();
    expect(await judge.verdict()).toMatchObject({ status: "signed" });
    ca.served.delete("/ca.crl");
    judge.nowMs += 50 * 60_000;
    expect(await judge.verdict()).toMatchObject({ status: "signed" });
    judge.nowMs += 20 * 60_000;
    expect(await judge.verdict()).toMatchObject({ status: "unknown" });
    ca.served.set("/ca.crl", ca.list("-crlhours", "48"));
    judge.nowMs += 60_000;
    expect(await judge.verdict()).toMatchObject({ status: "signed" });
  });

  test("by those who wait together one question is asked, and a failure is not repeated at once", async () => {
    const judge = new Judge();
    await Promise.all(Array.from({ length: 20 }, () => judge.verdict()));
    expect(ca.asked.get("/ca.crl")).toBe(1);
    ca.served.delete("/ca.crl");
    const other = new Judge();
    await other.verdict();
    await other.verdict();
    expect(ca.asked.get("/ca.crl")).toBe(2);
  });

  test("given by hand, nothing is fetched", async () => {
    const judge = new Judge();
    const by = ca.issue("offline");
    const [old, other] = [pemList(good), pemList(stranger.list())];
    expect(await judge.verdict(by, { revocationLists: [other, old] })).toMatchObject({ status: "unknown", answers: [] });
    expect(await judge.verdict(by, { revocationLists: [old] })).toMatchObject({ status: "signed", answers: [] });
    ca.revoke("offline");
    const bad = pemList(ca.list());
    expect(await judge.verdict(by, { revocationLists: [bad] })).toMatchObject({ status: "revoked" });
    expect(await judge.verdict(by, { revocationLists: [old, bad] }), "in any of them").toMatchObject({ status: "revoked" });
    judge.nowMs += 2 * HOUR_MS;
    expect(await judge.verdict(identity, { revocationLists: [old] })).toMatchObject({ status: "unknown" });
    expect(ca.asked.size).toBe(0);
  });

  test("given by hand for a part of an authority's certificates, it says nothing of the others", async () => {
    const judge = new Judge();
    const part = (path: string): string => {
      ca.configure(`issuingDistributionPoint = critical,@scope\n[scope]\nfullname = URI:${ca.url(path)}`);
      return pemList(ca.list());
    };
    const by = ca.issue("sharded", `crlDistributionPoints = URI:${ca.url("/own.crl")}`);
    const [own, other] = [part("/own.crl"), part("/other.crl")];
    const unsaid = await judge.verdict(by, { revocationLists: [other] });
    expect(unsaid).toMatchObject({ status: "unknown", text: expect.stringContaining("another distribution point") });
    expect(await judge.verdict(by, { revocationLists: [other, own] })).toMatchObject({ status: "signed" });
    ca.revoke("sharded");
    expect(await judge.verdict(by, { revocationLists: [other, part("/own.crl")] })).toMatchObject({ status: "revoked" });
    expect(ca.asked.size).toBe(0);
  });
});

/** @param where a month that is none in the list's end, or only the last byte of its signature */
function altered(der: Buffer, where: "month" | "z"): Buffer {
  const other = Buffer.from(der);
  if (where === "z") other[other.length - 1] = (other.at(-1) ?? 0) ^ 1;
  // thisUpdate and nextUpdate: UTCTime of 13 characters each.
  else other.write("99", other.indexOf(Buffer.of(0x17, 13), other.indexOf(Buffer.of(0x17, 13)) + 15) + 4, "latin1");
  return other;
}

function pemList(der: Buffer): string {
  return `-----BEGIN X509 CRL-----\n${der.toString("base64").replaceAll(/(.{64})/g, "$1\n")}\n-----END X509 CRL-----\n`;
}
