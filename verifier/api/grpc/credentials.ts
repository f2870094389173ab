/** Credentials of a listener that can be changed while it listens: connections that are there go on, new ones meet the new ones. */
import { ServerCredentials } from "@grpc/grpc-js";

/** All PEM. */
export interface TlsMaterial {
  /** Roots whose client certificates count. */
  readonly trusted: Buffer;
  readonly certificateChain: Buffer;
  readonly privateKey: Buffer;
}

export class ChangingCredentials extends ServerCredentials {
  readonly #clients: boolean;

  /** @param clients whether who connects must show a certificate */
  constructor(material: TlsMaterial, clients: boolean) {
    super({ requestCert: clients, rejectUnauthorized: clients }, contextOf(material, clients));
    this.#clients = clients;
  }

  change(material: TlsMaterial): void {
    this.updateSecureContextOptions(contextOf(material, this.#clients));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function contextOf({ trusted, certificateChain, privateKey }: TlsMaterial, clients: boolean) {
  return { ...(clients && { ca: trusted }), cert: [certificateChain], key: [privateKey] };
}
