/** The command cannot start its work: wrong file, missing context. Exit code 2. */
export class ContextError extends Error {
  override name = "ContextError";
}
