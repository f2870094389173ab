/** What the agent asks a certificate with, held against an independent writer and the verifier's own reader. */
import { generateKeyPairSync, randomUUID, webcrypto } from "node:crypto";
import "reflect-metadata";
import { certificateRequest } from "@hullmark/agent/adapters/grpc/certificate-request";
import { readRequestKey } from "@hullmark/verifier/core/enrolment/index";
import { Pkcs10CertificateRequest, Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import { describe, expect, it } from "vitest";

const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
const spki = keys.publicKey.export({ type: "spki", format: "der" });
/** What follows the signed part: the algorithm (12 bytes) and the signature. */
const ALGORITHM = Buffer.from("300a06082a8648ce3d040302", "hex");

/** The outer tag and length. */
const HEADER_BYTES = 4;

function signedPart(request: Buffer): Buffer {
  return request.subarray(0, request.lastIndexOf(ALGORITHM) + ALGORITHM.length);
}

describe("a certificate request", () => {
  it("is accepted by the verifier, for the key that signed it", async () => {
    expect(await readRequestKey(certificateRequest(randomUUID(), keys))).toEqual(spki);
  });

  it("is refused with any byte of the signed part changed", async () => {
    const request = certificateRequest(randomUUID(), keys);
    for (let i = HEADER_BYTES; i < signedPart(request).length - ALGORITHM.length; i++) {
      const changed = Buffer.from(request);
      changed.writeUInt8(changed.readUInt8(i) ^ 1, i);
      expect(await readRequestKey(changed), `byte ${i}`).toBeUndefined();
    }
  });

  it.each([1, 36, 64])("has the bytes of another writer but for the signature, for a name of %i characters", async (length) => {
    // Characters that only a UTF8String holds: the other writer takes a PrintableString where it can.
    const name = "_".repeat(length);
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const pair = {
      publicKey: await webcrypto.subtle.importKey("spki", spki, algorithm, true, ["verify"]),
      privateKey: await webcrypto.subtle.importKey("pkcs8", keys.privateKey.export({ type: "pkcs8", format: "der" }), algorithm, true, ["sign"]),
    };
    const theirs = Buffer.from((await Pkcs10CertificateRequestGenerator.create({ name: `CN=${name}`, keys: pair, signingAlgorithm: algorithm })).rawData);
    const ours = certificateRequest(name, keys);
    // The outer length depends on that of the signature, which varies by a few bytes.
    expect(signedPart(ours).subarray(HEADER_BYTES).toString("hex")).toBe(signedPart(theirs).subarray(HEADER_BYTES).toString("hex"));
    expect(new Pkcs10CertificateRequest(ours).subject).toBe(`CN=${name}`);
  });

  it("is not made for another kind of key, nor without a name", () => {
    expect(() => certificateRequest("node", generateKeyPairSync("ec", { namedCurve: "P-384" }))).toThrow(TypeError);
    expect(() => certificateRequest("node", generateKeyPairSync("ed25519"))).toThrow(TypeError);
    for (const name of ["", "n".repeat(65)]) expect(() => certificateRequest(name, keys)).toThrow(RangeError);
  });
});
