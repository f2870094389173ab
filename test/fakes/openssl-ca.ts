/** A certificate authority by openssl, with its own web server: certificates that name where their revocation lists lie, and the lists. */
import { execFileSync } from "node:child_process";
import { createPrivateKey } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { NotaryIdentity } from "./notary.ts";

const CONFIG = `
[ca]
default_ca = own
[own]
dir = .
database = index.txt
new_certs_dir = issued
certificate = ca.pem
private_key = ca.key
rand_serial = yes
crlnumber = crlnumber
default_md = sha256
default_days = 30
unique_subject = no
policy = any
crl_extensions = list
[any]
countryName = optional
stateOrProvinceName = optional
organizationName = optional
commonName = supplied
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
`;

/** What is served, by path; a function answers itself. */
export type Served = Buffer | ((request: IncomingMessage, response: ServerResponse) => void);

export class OpensslCa {
  readonly #folder: string;
  readonly #server: Server;
  readonly served = new Map<string, Served>();
  /** Requests so far, by path. */
  readonly asked = new Map<string, number>();

  private constructor(folder: string, server: Server) {
    this.#folder = folder;
    this.#server = server;
  }

  /** @param folder its own, not there yet */
  static async create(folder: string): Promise<OpensslCa> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const ca = new OpensslCa(folder, server);
    server.on("request", (request: IncomingMessage, response: ServerResponse) => ca.#answer(request, response));
    mkdirSync(join(folder, "issued"), { recursive: true });
    writeFileSync(join(folder, "index.txt"), "");
    writeFileSync(join(folder, "crlnumber"), "01\n");
    ca.configure("");
    ca.#key("ca.key");
    ca.#openssl(
      "req",
      "-new",
      "-x509",
      "-config",
      "ca.cnf",
      "-extensions",
      "root",
      "-key",
      "ca.key",
      "-subj",
      "/C=US/ST=WA/O=acme/CN=openssl root",
      "-days",
      "30",
      "-out",
      "ca.pem",
    );
    return ca;
  }

  get rootPem(): string {
    return readFileSync(join(this.#folder, "ca.pem"), "utf8");
  }

  /** Where a list is to be found. */
  url(path = "/ca.crl"): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  /** @param list extensions of the lists to come, as openssl writes them, one a line */
  configure(list: string): void {
    writeFileSync(join(this.#folder, "ca.cnf"), `${CONFIG}[req]\ndistinguished_name = dn\n[dn]\n[list]\nauthorityKeyIdentifier = keyid\n${list}\n`);
  }

  /** @param name of its files @param extensions further ones, as openssl writes them, one a line; the distribution point among them */
  issue(name: string, extensions = `crlDistributionPoints = URI:${this.url()}`): NotaryIdentity {
    const usual =
      "basicConstraints = critical,CA:false\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = codeSigning\nauthorityKeyIdentifier = keyid\n";
    writeFileSync(join(this.#folder, `${name}.ext`), `${usual}${extensions}\n`);
    this.#key(`${name}.key`);
    this.#openssl("req", "-new", "-config", "ca.cnf", "-key", `${name}.key`, "-subj", "/C=US/ST=WA/O=acme/CN=release", "-out", `${name}.csr`);
    // Valid since before whatever moment a test judges by.
    const start = ["-startdate", `${new Date(Date.now() - 3_600_000).toISOString().replaceAll(/[-:T]|\.\d+Z/g, "")}Z`];
    this.#openssl("ca", "-batch", "-notext", ...start, "-config", "ca.cnf", "-in", `${name}.csr`, "-extfile", `${name}.ext`, "-out", `${name}.pem`);
    const der = (file: string) => this.#openssl("x509", "-in", file, "-outform", "DER");
    const privateKey = createPrivateKey(readFileSync(join(this.#folder, `${name}.key`)));
    return { kind: "P-256", privateKey, chain: [der(`${name}.pem`), der("ca.pem")] };
  }

  /** @param how further options: `-crl_reason`, `-crl_compromise` */
  revoke(name: string, ...how: readonly string[]): void {
    this.#openssl("ca", "-config", "ca.cnf", "-revoke", `${name}.pem`, ...how);
  }

  /** Takes a hold back, as lists of changes tell it. */
  release(name: string): void {
    const file = join(this.#folder, "index.txt");
    const serial = this.#openssl("x509", "-in", `${name}.pem`, "-noout", "-serial").toString().trim().replace("serial=", "");
    const lines = readFileSync(file, "utf8").split("\n");
    writeFileSync(file, lines.map((line) => (line.includes(`\t${serial}\t`) ? line.replace(/,[^\t]*/, ",removeFromCRL") : line)).join("\n"));
  }

  /** Of the list that comes next. */
  get nextNumber(): number {
    return Number.parseInt(readFileSync(join(this.#folder, "crlnumber"), "utf8"), 16);
  }

  /** A list as of now. @param options such as `-crl_nextupdate` @returns DER */
  list(...options: readonly string[]): Buffer {
    const dates = options.some((option) => option.startsWith("-crl_next")) ? [] : ["-crlhours", "1"];
    this.#openssl("ca", "-config", "ca.cnf", "-gencrl", ...dates, ...options, "-out", "list.pem");
    return this.#openssl("crl", "-in", "list.pem", "-outform", "DER");
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? "";
    this.asked.set(path, (this.asked.get(path) ?? 0) + 1);
    const served = this.served.get(path);
    if (typeof served === "function") served(request, response);
    else response.writeHead(served ? 200 : 404, { "content-type": "application/pkix-crl" }).end(served);
  }

  #key(name: string): void {
    this.#openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", name);
  }

  #openssl(...args: readonly string[]): Buffer {
    return execFileSync("openssl", args, { cwd: this.#folder, stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 });
  }
}
