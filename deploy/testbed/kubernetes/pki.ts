import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program } from "../paths.ts";
import { run } from "../run.ts";

/** Certificates and kubeconfig files of one cluster, all below one folder; valid for 30 days. */
export interface ClusterPki {
  readonly directory: string;
  /** Path of a file there. */
  path(file: string): string;
}

interface Identity {
  readonly file: string;
  readonly commonName: string;
  /** Kubernetes takes it for the group. */
  readonly organisation: string;
  readonly names?: string;
}

/** Who gets a kubeconfig file, `FILE.kubeconfig`: the rights come from Kubernetes' own bootstrap roles for these names. */
function clients(node: string): readonly Identity[] {
  return [
    { file: "admin", commonName: "kubernetes-admin", organisation: "system:masters" },
    { file: "controller-manager", commonName: "system:kube-controller-manager", organisation: "system:kube-controller-manager" },
    { file: "scheduler", commonName: "system:kube-scheduler", organisation: "system:kube-scheduler" },
    { file: "proxy", commonName: "system:kube-proxy", organisation: "system:node-proxier" },
    { file: "dns", commonName: "hullmark-testbed-dns", organisation: "system:masters" },
    { file: "kubelet", commonName: `system:node:${node}`, organisation: "system:nodes" },
  ];
}

/** Makes a CA and everything that the cluster's parts show each other. @throws TestbedError `start_failed` */
export async function makePki(directory: string, server: string, node: { readonly name: string; readonly address: string }): Promise<ClusterPki> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = (file: string): string => join(directory, file);
  const openssl = (...args: string[]) => run([program("openssl"), ...args]);
  const selfSigned = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
  const authority = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign,cRLSign"];
  await openssl(...selfSigned, "-subj", "/CN=hullmark-testbed", "-keyout", path("ca.key"), "-out", path("ca.crt"), ...authority);
  const services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];
  const apiNames = [...services.map((name) => `DNS:${name}`), "IP:10.96.0.1", "IP:127.0.0.1", `IP:${node.address}`].join(",");
  const withKubeconfig = clients(node.name);
  const identities: readonly Identity[] = [
    ...withKubeconfig,
    { file: "apiserver", commonName: "kube-apiserver", organisation: "testbed", names: apiNames },
    { file: "apiserver-kubelet", commonName: "kube-apiserver-kubelet-client", organisation: "system:masters" },
    { file: "front-proxy", commonName: "front-proxy-client", organisation: "front-proxy" },
    { file: "kubelet-server", commonName: node.name, organisation: "testbed", names: `DNS:${node.name},IP:127.0.0.1,IP:${node.address}` },
  ];
  await Promise.all(identities.map((identity) => issue(identity, path, openssl)));
  await openssl("genrsa", "-out", path("service-account.key"), "2048");
  await openssl("rsa", "-in", path("service-account.key"), "-pubout", "-out", path("service-account.pub"));
  for (const { file } of withKubeconfig) {
    writeFileSync(path(`${file}.kubeconfig`), kubeconfig(server, path("ca.crt"), path(`${file}.crt`), path(`${file}.key`)), { mode: 0o600 });
  }
  return { directory, path };
}

async function issue(identity: Identity, path: (file: string) => string, openssl: (...args: string[]) => Promise<string>): Promise<void> {
  const { file, commonName, organisation, names } = identity;
  const extensions = ["keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth", ...(names ? [`subjectAltName=${names}`] : [])];
  writeFileSync(path(`${file}.ext`), `${extensions.join("\n")}\n`);
  const subject = `/O=${organisation}/CN=${commonName}`;
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path(`${file}.key`)];
  await openssl("req", ...key, "-subj", subject, "-out", path(`${file}.csr`));
  // A serial number from the name, so that certificates can be made side by side.
  const serial = `0x${Buffer.from(file).toString("hex").slice(0, 36)}`;
  const signing = ["-CA", path("ca.crt"), "-CAkey", path("ca.key"), "-set_serial", serial, "-days", "30", "-sha256"];
  await openssl("x509", "-req", "-in", path(`${file}.csr`), ...signing, "-extfile", path(`${file}.ext`), "-out", path(`${file}.crt`));
}

// JSON is YAML. The files' contents, so that the kubeconfig can be taken elsewhere.
function kubeconfig(server: string, authority: string, certificate: string, key: string): string {
  const data = (file: string): string => readFileSync(file).toString("base64");
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "testbed", cluster: { server, "certificate-authority-data": data(authority) } }],
    users: [{ name: "testbed", user: { "client-certificate-data": data(certificate), "client-key-data": data(key) } }],
    contexts: [{ name: "testbed", context: { cluster: "testbed", user: "testbed" } }],
    "current-context": "testbed",
  });
}
