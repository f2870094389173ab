import { generateKeyPairSync, X509Certificate } from "node:crypto";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Actuation } from "@hullmark/proto/v1/response";

/** A verifier that runs, in whichever process. */
export interface ReachedVerifier {
  /** As the admin whom it made at its first start. */
  admin(): RpcChannel;
  channel(key: Buffer, certificate: Buffer): RpcChannel;
}

/** An actuator's way in, with a certificate of its own. @param of the node, or the cluster, that it is for @returns also what intents are signed by (SubjectPublicKeyInfo) */
export async function admitActuator(verifier: ReachedVerifier, of: { readonly node: string } | { readonly cluster: true }) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const request = { ...of, publicKey: publicKey.export({ type: "spki", format: "der" }) };
  const { certificateChain, intentKeys } = await verifier.admin().client(Admin).issueActuatorCertificate(request);
  const pem = certificateChain.map((der) => new X509Certificate(der).toString()).join("");
  const channel = verifier.channel(Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })), Buffer.from(pem));
  return { client: channel.client(Actuation), intentKeys };
}
