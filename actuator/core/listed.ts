/** Names for people, within so many characters: those that fit, and how many more there are. Nobody is to take a list that is cut for all of it. */
export function listed(names: readonly string[], maxChars: number): string {
  const whole = names.join(", ");
  if (whole.length <= maxChars) return whole;
  let shown = "";
  for (const [i, name] of names.entries()) {
    const next = `${shown}${shown && ", "}${name}`;
    if (`${next} and ${names.length - i - 1} more`.length > maxChars)
      return shown === "" ? `${names.length} with long names` : `${shown} and ${names.length - i} more`;
    shown = next;
  }
  return shown;
}
