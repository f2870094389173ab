import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { readPeerIdentity } from "@hullmark/verifier/core/enrolment/index";
import "reflect-metadata";
import type { KeyToken } from "@hullmark/verifier/ports/signing-key";
import { ExtendedKeyUsage, ExtendedKeyUsageExtension, type JsonGeneralName, SubjectAlternativeNameExtension, X509CertificateGenerator } from "@peculiar/x509";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { SoftHsm } from "../fakes/softhsm.ts";

const NODE = "0123456789abcdef";
const clock = { nowMs: () => Date.now() };

function keys(curve = "P-256") {
  const pair = generateKeyPairSync("ec", { namedCurve: curve });
  return { spki: pair.publicKey.export({ format: "der", type: "spki" }), pem: pair.privateKey.export({ format: "pem", type: "pkcs8" }).toString() };
}
const pem = (chain: readonly Buffer[]): string => chain.map((der) => new X509Certificate(der).toString()).join("");

let stateDir: string;
let ca: X509Ca;
beforeAll(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "hullmark-ca-"));
  ca = await X509Ca.open({ stateDir, region: "eu-1", clock });
});
afterAll(() => rm(stateDir, { recursive: true }));

describe("CertificateAuthority", () => {
  it("keeps its root and its key, which nobody else reads", async () => {
    const again = await X509Ca.open({ stateDir, region: "eu-1", clock });
    expect(again.rootPem).toBe(ca.rootPem);
    expect((await stat(join(stateDir, "ca-key.pem"))).mode & 0o777).toBe(0o600);
    const root = new X509Certificate(ca.rootPem);
    expect(root.ca && root.verify(root.publicKey)).toBe(true);
  });

  it("refuses to open on a key that others read, that is damaged, or that is another's", async () => {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-ca-"));
    const open = () => X509Ca.open({ stateDir: directory, region: "eu-1", clock });
    try {
      await open();
      const key = join(directory, "ca-key.pem");
      await chmod(key, 0o644);
      await expect(open()).rejects.toMatchObject({ code: "STATE" });
      await chmod(key, 0o600);
      await writeFile(key, await readFile(join(stateDir, "ca-key.pem")));
      await expect(open()).rejects.toMatchObject({ code: "STATE" });
      await writeFile(key, "rubbish");
      await expect(open()).rejects.toMatchObject({ code: "STATE" });
      await rm(key);
      await expect(open()).rejects.toMatchObject({ code: "STATE" });
      await expect(X509Ca.open({ stateDir: directory, region: "../x", clock })).rejects.toMatchObject({ code: "BAD_NAME" });
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("gives nodes an hour at most, and names them", async () => {
    const before = Date.now();
    const { spki } = keys();
    const { chain, notAfterMs } = await ca.issueNode(NODE, spki, 86_400_000);
    expect(notAfterMs).toBeGreaterThan(before);
    expect(notAfterMs).toBeLessThanOrEqual(Date.now() + 3_600_000);
    const leaf = new X509Certificate(chain[0] as Buffer);
    expect(leaf.validToDate.getTime()).toBe(notAfterMs);
    // A clock that is hours behind takes what was made just now: root and leaf.
    for (const each of [leaf, new X509Certificate(ca.rootPem)]) expect(each.validFromDate.getTime()).toBeLessThan(before - 23 * 3_600_000);
    expect(leaf.verify(new X509Certificate(ca.rootPem).publicKey)).toBe(true);
    expect(readPeerIdentity(leaf.raw, "eu-1")).toMatchObject({ kind: "node", nodeId: NODE, region: "eu-1" });
    expect(readPeerIdentity(leaf.raw, "us-1")).toBeUndefined();
  });

  it("names operators", async () => {
    const { chain } = await ca.issueOperator("responder", "ada@example.org", keys().spki, 86_400_000);
    expect(readPeerIdentity(chain[0] as Buffer, "eu-1")).toMatchObject({ kind: "operator", role: "responder", name: "ada@example.org", namespaces: undefined });
    const bound = (await ca.issueOperator("responder", "ada@example.org", keys().spki, 86_400_000, ["shop", "till"])).chain[0] as Buffer;
    expect(readPeerIdentity(bound, "eu-1")).toMatchObject({ kind: "operator", role: "responder", name: "ada@example.org", namespaces: ["shop", "till"] });
    // A verifier that knows none of namespaces knows names of the kind `operator` alone.
    expect(new X509Certificate(bound).subjectAltName).toBe("URI:spiffe://hullmark/eu-1/namespaced-operator/responder/ada@example.org/shop/till");
  });

  it("refuses names and keys that it does not certify", async () => {
    const { spki } = keys();
    for (const id of ["", "0123456789ABCDEF", `${NODE}0`, `${NODE}/../x`, `${NODE}\n`])
      await expect(ca.issueNode(id, spki, 1000)).rejects.toMatchObject({ code: "BAD_NAME" });
    for (const name of ["", "a/b", "..", "ada\n", "a".repeat(65)])
      await expect(ca.issueOperator("admin", name, spki, 1000)).rejects.toMatchObject({ code: "BAD_NAME" });
    await expect(ca.issueOperator("root" as "admin", "ada", spki, 1000)).rejects.toMatchObject({ code: "BAD_NAME" });
    for (const namespaces of [[], [""], ["shop-*"], ["Shop"], ["shop", "shop"], ["a/b"], Array.from({ length: 17 }, (_, i) => `n${i}`)])
      await expect(ca.issueOperator("viewer", "ada", spki, 1000, namespaces)).rejects.toMatchObject({ code: "BAD_NAME" });
    for (const names of [[], ["*.example.org"], ["a b"], ["a".repeat(64)]])
      await expect(ca.issueServer(names, spki, 1000)).rejects.toMatchObject({ code: "BAD_NAME" });
    for (const key of [keys("P-384").spki, Buffer.from("rubbish"), Buffer.alloc(0)])
      await expect(ca.issueNode(NODE, key, 1000)).rejects.toMatchObject({ code: "BAD_KEY" });
  });

  it("makes mutual TLS work, and only the right way round", async () => {
    const [server, node] = [keys(), keys()];
    const serverChain = pem((await ca.issueServer(["verifier.test", "127.0.0.1"], server.spki, 3_600_000)).chain);
    const nodeChain = pem((await ca.issueNode(NODE, node.spki, 3_600_000)).chain);
    const handshake = async (
      serverIdentity: { key: string; cert: string },
      clientIdentity: { key: string; cert: string },
      servername: string,
    ): Promise<string> => {
      const listener = createServer({ ...serverIdentity, ca: ca.rootPem, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" }, (socket) => {
        const peer = readPeerIdentity(socket.getPeerCertificate(true).raw, "eu-1");
        socket.end(`accepted ${peer?.kind === "node" ? peer.nodeId : "nobody"}`);
      });
      listener.on("tlsClientError", () => undefined);
      await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
      try {
        return await new Promise((resolve) => {
          const socket = connect({ port: (listener.address() as AddressInfo).port, host: "127.0.0.1", servername, ca: ca.rootPem, ...clientIdentity });
          let text = "";
          socket.on("data", (data) => {
            text += data;
          });
          socket.on("error", (error: NodeJS.ErrnoException) => resolve(`error ${error.code}`));
          socket.on("end", () => resolve(text));
        });
      } finally {
        listener.close();
      }
    };
    const asServer = { key: server.pem, cert: serverChain };
    const asNode = { key: node.pem, cert: nodeChain };
    expect(await handshake(asServer, asNode, "verifier.test")).toBe(`accepted ${NODE}`);
    expect(await handshake(asServer, asNode, "other.test")).not.toContain("accepted");
    expect(await handshake(asNode, asNode, "verifier.test")).not.toContain("accepted");
    expect(await handshake(asServer, asServer, "verifier.test")).not.toContain("accepted");
  });
});

let hsm: SoftHsm;
beforeAll(() => {
  hsm = new SoftHsm();
  hsm.makeToken("ca");
});
afterAll(() => hsm?.dispose());
/** A token whose keys stay when they gave way, as where it was cut short before they went. */
const keeping = (token: KeyToken): KeyToken => ({
  ...{ make: (kind, name, after) => token.make(kind, name, after), open: (uri) => token.open(uri), hmac: (uri, message) => token.hmac(uri, message) },
  drop: async () => {},
});

describe.each(["files", "a token"])("rotation of the CA in %s", (where) => {
  const files = ["ca-key.pem", "previous.pem", "cross.pem", "ca.pem"] as const;
  let directory: string;
  let token: KeyToken | undefined;
  const open = () => X509Ca.open({ stateDir: directory, region: "eu-1", clock, token });
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "hullmark-ca-"));
    token = where === "files" ? undefined : keeping(hsm.open("ca"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("a listener with the new one's certificate is known by whoever pins any root since the first, through four rotations", async () => {
    const authority = await open();
    const pinned = [authority.rootPem];
    for (let rotation = 0; rotation < 4; rotation++) {
      await authority.rotate();
      await authority.retire();
      pinned.push(authority.rootPem);
      const { spki, pem: key } = keys();
      const { chain } = await authority.issueServer(["verifier.test"], spki, 3_600_000);
      const listener = createServer({ key, cert: pem(chain) + authority.serverChainPem, minVersion: "TLSv1.3" }, (socket) => socket.end("known"));
      listener.on("tlsClientError", () => undefined);
      await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
      const { port } = listener.address() as AddressInfo;
      const hello = (roots: string) =>
        new Promise<string>((resolve) => {
          const socket = connect({ port, host: "127.0.0.1", servername: "verifier.test", ca: roots });
          socket.on("data", (data) => resolve(data.toString()));
          socket.on("error", (error: NodeJS.ErrnoException) => resolve(`error ${error.code}`));
        });
      try {
        for (const root of pinned) expect(await hello(root)).toBe("known");
        expect(await hello(pinned.join(""))).toBe("known");
        expect(await hello(ca.rootPem)).toMatch(/^error /);
      } finally {
        listener.close();
      }
    }
  });

  it("is whole or not begun, wherever it is cut short", async () => {
    const authority = await open();
    const read = () => Promise.all(files.map((name) => readFile(join(directory, name))));
    const before = await read();
    const oldRoot = authority.rootPem;
    await authority.rotate();
    const after = await read();
    const lay = async (below: string, contents: readonly Buffer[], from: number, to: number): Promise<void> => {
      await mkdir(join(directory, below), { recursive: true, mode: 0o700 });
      for (const [i, name] of files.entries()) if (i >= from && i < to) await writeFile(join(directory, below, name), contents[i] as Buffer, { mode: 0o600 });
    };
    for (let cut = 0; cut <= files.length; cut++) {
      await lay(".", before, 0, files.length);
      // Being put together: the certificate, which stands for the whole, is not there before the last.
      await lay("next", after, 0, cut);
      expect((await open()).rootPem, `written ${cut}`).toBe(cut < files.length ? oldRoot : authority.rootPem);
      await rm(join(directory, "next"), { recursive: true, force: true });
      // Taking its place, of which the last step is the certificate's.
      await lay(".", before, cut, files.length);
      await lay(".", after, 0, cut);
      await lay("next", after, cut, files.length);
      const opened = await open();
      expect(opened.trustedPem, `moved ${cut}`).toBe(authority.trustedPem);
      expect(opened.serverChainPem).toBe(authority.serverChainPem);
      await rm(join(directory, "next"), { recursive: true, force: true });
    }
  });

  it("tells whether what it signed counts still, asked before or not, and of nobody else's", async () => {
    const authority = await open();
    const issue = async () => (await authority.issueOperator("viewer", "ada", keys().spki, 3_600_000)).chain[0] as Buffer;
    const [asked, unasked] = [await issue(), await issue()];
    expect(authority.hasIssued(asked)).toBe(true);
    await authority.rotate();
    const later = await issue();
    expect([asked, later].map((each) => authority.hasIssued(each))).toEqual([true, true]);
    await authority.retire();
    expect([asked, unasked, later].map((each) => authority.hasIssued(each))).toEqual([false, false, true]);
    const foreign = (await ca.issueOperator("viewer", "ada", keys().spki, 3_600_000)).chain[0] as Buffer;
    for (const bytes of [foreign, Buffer.alloc(0), Buffer.from("rubbish")]) expect(authority.hasIssued(bytes)).toBe(false);
  });

  it("keeps no second root that gave way, and no key of one", async () => {
    const authority = await open();
    const [first] = files;
    const oldKey = await readFile(join(directory, first), "utf8");
    await authority.rotate();
    await expect(authority.rotate()).rejects.toMatchObject({ code: "STATE" });
    for (const name of files) expect(await readFile(join(directory, name), "utf8")).not.toContain(oldKey);
    expect(authority.trusted).toHaveLength(2);
    await authority.retire();
    expect((await open()).trusted).toEqual(authority.trusted);
    expect(authority.trusted).toHaveLength(1);
  });
});

it("a CA's key in a file gives way to one in a token, and that to the next: no key stays that gave way, and every root is known", async () => {
  const directory = await mkdtemp(join(tmpdir(), "hullmark-ca-"));
  try {
    const inFile = await X509Ca.open({ stateDir: directory, region: "eu-1", clock });
    const oldKey = await readFile(join(directory, "ca-key.pem"), "utf8");
    const token = hsm.open("ca", "moving");
    const authority = await X509Ca.open({ stateDir: directory, region: "eu-1", clock, token });
    expect(authority.rootPem).toBe(inFile.rootPem);
    await authority.rotate();
    for (const name of await readdir(directory)) expect(await readFile(join(directory, name), "utf8")).not.toContain(oldKey);
    expect(await readFile(join(directory, "ca-key.pem"), "utf8")).toMatch(/^pkcs11:object=moving%2Fca%2F1;id=[%0-9a-f]+;type=private$/);
    expect(authority.trusted).toHaveLength(2);
    await authority.retire();
    await authority.rotate();
    await authority.retire();
    expect((await hsm.labels("ca")).filter((label) => label.startsWith("moving/"))).toEqual(["moving/ca/2"]);
    const again = await X509Ca.open({ stateDir: directory, region: "eu-1", clock, token });
    expect(again.trustedPem).toBe(authority.trustedPem);
    const { chain } = await again.issueNode(NODE, keys().spki, 3_600_000);
    expect(new X509Certificate(chain[0] as Buffer).verify(new X509Certificate(again.rootPem).publicKey)).toBe(true);
    await expect(X509Ca.open({ stateDir: directory, region: "eu-1", clock })).rejects.toMatchObject({ code: "TOKEN_URI" });
    // Another key's place in the file, as where somebody meant well.
    await writeFile(join(directory, "ca-key.pem"), await token.make("p256", "other", undefined));
    await expect(X509Ca.open({ stateDir: directory, region: "eu-1", clock, token })).rejects.toMatchObject({ code: "STATE" });
  } finally {
    await rm(directory, { recursive: true });
  }
});

describe("readPeerIdentity", () => {
  async function withNames(names: JsonGeneralName[]): Promise<Uint8Array> {
    const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
    const extensions = [
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]),
      ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
    ];
    const certificate = await X509CertificateGenerator.createSelfSigned({ name: `CN=spiffe://hullmark/eu-1/node/${NODE}`, keys: pair, extensions });
    return new Uint8Array(certificate.rawData);
  }
  const url = (value: string): JsonGeneralName => ({ type: "url", value });
  const good = `spiffe://hullmark/eu-1/node/${NODE}`;

  it("accepts exactly one URI of one of the forms", async () => {
    expect(await withNames([url(good)]).then((der) => readPeerIdentity(der, "eu-1"))).toMatchObject({ kind: "node" });
    // The verifier goes on listening to a node whose certificate is withheld.
    expect(await withNames([url(good.replace("/node/", "/untrusted/"))]).then((der) => readPeerIdentity(der, "eu-1"))).toMatchObject({
      kind: "node",
      nodeId: NODE,
    });
    const bad = [
      ...[
        good.toUpperCase(),
        `${good}/`,
        `${good}?x`,
        `${good}#x`,
        ` ${good}`,
        `x${good}`,
        good.replace("hullmark", "hullmark.evil"),
        good.replace("eu-1", "eu-10"),
        good.replace("spiffe", "https"),
        good.replace("/node/", "/untrusted-node/"),
        good.replace("/node/", "/untrusted/node/"),
      ],
      ...[
        `${good}0`,
        good.slice(0, -1),
        "spiffe://hullmark/eu-1/operator/admin",
        "spiffe://hullmark/eu-1/operator/admin/a/b",
        "spiffe://hullmark/eu-1/operator/root/ada",
        "spiffe://hullmark/eu-1/operator/admin/",
        "spiffe://hullmark/eu-1/operator/admin/ada/shop",
        "spiffe://hullmark/eu-1/namespaced-operator/admin/ada",
        "spiffe://hullmark/eu-1/namespaced-operator/admin/ada/",
        "spiffe://hullmark/eu-1/namespaced-operator/admin/ada/*",
        "spiffe://hullmark/eu-1/namespaced-operator/admin/ada/shop/shop",
        "spiffe://hullmark/eu-1/namespaced-operator/root/ada/shop",
      ],
      ...["spiffe://hullmark//node/0123456789abcdef", "spiffe://hullmark/eu-1/node/../operator/admin/ada", "spiffe://hullmark/eu-1/node/0123456789abcde%66"],
    ];
    for (const value of bad) expect(readPeerIdentity(await withNames([url(value)]), "eu-1"), value).toBeUndefined();
    expect(readPeerIdentity(await withNames([url(good), url(good)]), "eu-1")).toBeUndefined();
    expect(readPeerIdentity(await withNames([url(good), { type: "dns", value: "a.test" }]), "eu-1")).toBeUndefined();
    expect(readPeerIdentity(await withNames([{ type: "dns", value: good }]), "eu-1")).toBeUndefined();
    expect(readPeerIdentity(await withNames([]), "eu-1")).toBeUndefined();
    for (const bytes of [Buffer.alloc(0), Buffer.from("rubbish"), Buffer.alloc(5000, 0x30)]) expect(readPeerIdentity(bytes, "eu-1")).toBeUndefined();
  });
});
