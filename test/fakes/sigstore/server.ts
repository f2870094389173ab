/** The deployment over HTTP, as signing tools speak to one: Fulcio's and Rekor's v1 and v2 APIs, RFC 3161. */
import { createPublicKey } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Person, TestSigstore } from "./index.ts";
import { pem, sha256 } from "./keys.ts";
import { dsseEntry, type LogEntryJson, type ProposedEntry } from "./rekor.ts";

export interface SigstoreServer {
  readonly url: string;
  /** Files for cosign: keys and roots of the deployment, and where to find its services. */
  readonly files: {
    readonly trustedRoot: string;
    readonly signingConfig: string;
    readonly ctLogKey: string;
    readonly rekorKey: string;
    readonly fulcioRoot: string;
  };
  /** An identity token that this deployment takes for the person. */
  token(person: Person): string;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  readonly etag?: string;
}

interface DsseContent {
  readonly envelope: string;
  readonly verifiers: readonly string[];
}

export async function serveSigstore(sigstore: TestSigstore, folder: string): Promise<SigstoreServer> {
  const people = new Map<string, Person>();
  const chain = async (spki: Buffer, token: string): Promise<string[]> => {
    const person = people.get(token);
    if (!person) throw new Error("an unknown token");
    return [await sigstore.fulcio.issue(spki, person), sigstore.fulcio.intermediate, sigstore.fulcio.root].map((der) => pem("CERTIFICATE", der));
  };
  const answer = async (request: IncomingMessage): Promise<Answer> => {
    const bytes = await bodyOf(request);
    const json = () => JSON.parse(bytes.toString());
    const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
    switch (new URL(request.url ?? "/", "http://localhost").pathname) {
      case "/api/v1/signingCert": {
        const spki = Buffer.from(json().publicKey.content, "base64");
        const certificates = await chain(spki, token);
        return { status: 201, type: "application/pem-certificate-chain", body: certificates.join("") };
      }
      case "/api/v2/signingCert": {
        const { publicKeyRequest, credentials } = json();
        const spki = createPublicKey(publicKeyRequest.publicKey.content).export({ type: "spki", format: "der" });
        const certificates = await chain(spki, credentials?.oidcIdentityToken ?? token);
        return { status: 200, type: "application/json", body: JSON.stringify({ signedCertificateEmbeddedSct: { chain: { certificates } } }) };
      }
      case "/api/v1/log/entries":
        return logged(sigstore.logs[1].add(canonical(json()), Date.now()));
      case "/api/v2/log/entries": {
        const { envelope, verifiers } = json().dsseRequestV002;
        const [signature, certificate] = [envelope.signatures[0].sig, verifiers[0].x509Certificate.rawBytes].map((text) => Buffer.from(text, "base64"));
        if (!signature || !certificate) throw new Error("an entry without signature or certificate");
        const proposed = dsseEntry(2, Buffer.from(envelope.payload, "base64"), signature, pem("CERTIFICATE", certificate));
        return { status: 201, type: "application/json", body: JSON.stringify(sigstore.logs[2].add(proposed, Date.now())) };
      }
      case "/api/v1/timestamp":
        return { status: 201, type: "application/timestamp-reply", body: stamped(request, bytes) };
      case "/api/v1/timestamp-refused":
        return { status: 201, type: "application/timestamp-reply", body: sigstore.tsa.answer(Buffer.from("no query")) };
      default:
        return { status: 404, type: "text/plain", body: "" };
    }
  };
  /** As sigstore's own authority, which takes JSON beside RFC 3161. */
  const stamped = ({ headers }: IncomingMessage, bytes: Buffer) => {
    if (headers["content-type"] !== "application/json") return sigstore.tsa.answer(bytes);
    return sigstore.tsa.stampDigest(Buffer.from(JSON.parse(bytes.toString()).artifactHash, "base64").toString("hex"));
  };
  const server = createServer((request, response) => {
    answer(request).then(
      ({ status, type, body, etag }) => response.writeHead(status, { "content-type": type, ...(etag !== undefined && { etag }) }).end(body),
      (error: unknown) => response.writeHead(400, { "content-type": "text/plain" }).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    files: writeFiles(sigstore, folder, url),
    token(person) {
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
      const claims = {
        iss: person.issuer,
        sub: person.subject,
        aud: "sigstore",
        email: person.subject,
        email_verified: true,
        exp: 4_102_444_800,
        iat: 1_700_000_000,
      };
      const token = `${part({ alg: "RS256", typ: "JWT" })}.${part(claims)}.${Buffer.from("unsigned").toString("base64url")}`;
      people.set(token, person);
      return token;
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function writeFiles(sigstore: TestSigstore, folder: string, url: string): SigstoreServer["files"] {
  const file = (name: string, content: string) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const service = { url, majorApiVersion: 1, validFor: { start: "2020-01-01T00:00:00Z" }, operator: "sigstore.test" };
  const config = {
    mediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
    ...{ caUrls: [service], oidcUrls: [], rekorTlogUrls: [service], tsaUrls: [{ ...service, url: `${url}/api/v1/timestamp` }] },
    ...{ rekorTlogConfig: { selector: "ANY" }, tsaConfig: { selector: "ANY" } },
  };
  return {
    trustedRoot: file("trusted_root.json", sigstore.trustedRoot()),
    signingConfig: file("signing_config.json", JSON.stringify(config)),
    ctLogKey: file("ctlog.pub", pem("PUBLIC KEY", sigstore.fulcio.ctLog.spki)),
    rekorKey: file("rekor.pub", pem("PUBLIC KEY", sigstore.logs[1].key.spki)),
    fulcioRoot: file("fulcio.pem", pem("CERTIFICATE", sigstore.fulcio.intermediate) + pem("CERTIFICATE", sigstore.fulcio.root)),
  };
}

/** What Rekor makes of a proposal before it is logged: an envelope is stored by its hashes. */
function canonical({ apiVersion, kind, spec }: ProposedEntry): ProposedEntry {
  if (kind !== "dsse") return { apiVersion, kind, spec };
  const { envelope, verifiers } = (spec as { proposedContent: DsseContent }).proposedContent;
  const { payload, signatures } = JSON.parse(envelope) as { payload: string; signatures: { sig: string }[] };
  const hash = (bytes: Buffer) => ({ algorithm: "sha256", value: sha256(bytes).toString("hex") });
  return {
    ...{ apiVersion, kind },
    spec: {
      ...{ envelopeHash: hash(Buffer.from(envelope)), payloadHash: hash(Buffer.from(payload, "base64")) },
      signatures: signatures.map(({ sig }, i) => ({ signature: sig, verifier: verifiers[i] })),
    },
  };
}

/** LogEntry of Rekor's OpenAPI: hashes in hex, by the leaf's hash, which the ETag repeats. */
function logged({ canonicalizedBody, integratedTime, logId, logIndex, inclusionPromise, inclusionProof }: LogEntryJson): Answer {
  const uuid = sha256(Buffer.of(0), Buffer.from(canonicalizedBody, "base64")).toString("hex");
  const hex = (base64: string) => Buffer.from(base64, "base64").toString("hex");
  const { hashes, rootHash, treeSize, checkpoint } = inclusionProof;
  const entry = {
    [uuid]: {
      ...{ body: canonicalizedBody, integratedTime: Number(integratedTime), logID: hex(logId.keyId), logIndex: Number(logIndex) },
      verification: {
        inclusionProof: {
          logIndex: Number(inclusionProof.logIndex),
          treeSize: Number(treeSize),
          rootHash: hex(rootHash),
          hashes: hashes.map(hex),
          checkpoint: checkpoint.envelope,
        },
        signedEntryTimestamp: inclusionPromise?.signedEntryTimestamp,
      },
    },
  };
  return { status: 201, type: "application/json", body: JSON.stringify(entry), etag: uuid };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
