/** Thrown inside the tar reader where Go's reader returns an error; replay turns it into `unextractable`. */
export class TarError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TarError";
  }
}
