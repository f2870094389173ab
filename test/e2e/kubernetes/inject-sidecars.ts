/** A mutating webhook that puts a container into pods which are labelled for it, as service meshes do. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";

const NAME = "sidecars.acme.example";

/** @param home where its files go @param sidecar goes into every pod with the label `acme.example/inject` */
export async function injectSidecars(
  cluster: Kubernetes,
  home: string,
  sidecar: { readonly name: string; readonly image: string },
): Promise<{ stop(): Promise<void> }> {
  const address = cluster.network.hostAddress;
  const [key, certificate] = [join(home, "webhook.key"), join(home, "webhook.crt")];
  const self = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=webhook"];
  execFileSync("openssl", [...self, "-addext", `subjectAltName=IP:${address}`, "-keyout", key, "-out", certificate], { stdio: "ignore" });
  const patch = Buffer.from(JSON.stringify([{ op: "add", path: "/spec/containers/-", value: sidecar }])).toString("base64");
  const server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, async (request, response) => {
    const { request: asked } = JSON.parse(await text(request)) as { request: { uid: string } };
    const answer = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", response: { uid: asked.uid, allowed: true, patchType: "JSONPatch", patch } };
    response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  const webhook = {
    ...{ name: NAME, sideEffects: "None", admissionReviewVersions: ["v1"], failurePolicy: "Fail" },
    clientConfig: { url: `https://${address}:${(server.address() as AddressInfo).port}/`, caBundle: readFileSync(certificate).toString("base64") },
    rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"] }],
    objectSelector: { matchLabels: { "acme.example/inject": "true" } },
  };
  const configuration = { apiVersion: "admissionregistration.k8s.io/v1", kind: "MutatingWebhookConfiguration", metadata: { name: NAME }, webhooks: [webhook] };
  await cluster.kubectl(["apply", "--filename=-"], JSON.stringify(configuration));
  // The API server takes it up within seconds.
  const probe = JSON.stringify({
    ...{ apiVersion: "v1", kind: "Pod", metadata: { name: "probe", labels: { "acme.example/inject": "true" } } },
    spec: { containers: [{ name: "own", image: "none" }] },
  });
  for (
    let attempt = 0;
    !(await cluster.kubectl(["create", "--dry-run=server", "--output=json", "--filename=-"], probe)).includes(`"${sidecar.name}"`);
    attempt++
  ) {
    if (attempt > 60) throw new Error("the webhook is not asked");
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  return {
    async stop() {
      await cluster.kubectl(["delete", "mutatingwebhookconfiguration", NAME]);
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
