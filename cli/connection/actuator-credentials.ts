/** Credentials of an actuator: key and certificate, the CA, and what intents are signed with. */
import { createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Admin, type IssueActuatorCertificateResponse } from "@hullmark/proto/v1/admin";
import { replaceFile } from "../output/replace-file.ts";

/** Makes a new key, has it certified, and writes all of it (mode 0600). @param directory made with mode 0700 @throws RpcError; the system's error */
export async function makeActuatorCredentials(
  channel: RpcChannel,
  whose: { readonly node: string; readonly cluster: boolean },
  directory: string,
  signal?: AbortSignal,
): Promise<IssueActuatorCertificateResponse> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const request = { ...whose, publicKey: publicKey.export({ type: "spki", format: "der" }) };
  const answer = await channel.client(Admin).issueActuatorCertificate(request, signal ? { signal } : {});
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  replaceFile(join(directory, "client.key"), privateKey.export({ type: "pkcs8", format: "pem" }).toString(), 0o600);
  replaceFile(join(directory, "client.crt"), answer.certificateChain.map((der) => new X509Certificate(der).toString()).join(""), 0o600);
  replaceFile(join(directory, "ca.crt"), answer.caCertificate, 0o600);
  const publicPem = (key: Uint8Array) => createPublicKey({ key: Buffer.from(key), type: "spki", format: "der" }).export({ type: "spki", format: "pem" });
  replaceFile(join(directory, "intent.pub"), answer.intentKeys.map(publicPem).join(""), 0o600);
  return answer;
}
