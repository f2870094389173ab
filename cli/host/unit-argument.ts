/** One argument of a unit file (systemd.syntax(7)): quoted, `%` and `$` taken literally. */
export function quoted(argument: string): string {
  const literal = argument.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(literal) ? literal : `"${literal.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
