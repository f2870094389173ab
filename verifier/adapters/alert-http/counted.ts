/** Names, and how many more there are: "a, b and 298 more". @param count of all of which `names` are the first */
export function counted(names: readonly string[], count: number): string {
  return `${names.join(", ")}${count > names.length ? ` and ${count - names.length} more` : ""}`;
}
