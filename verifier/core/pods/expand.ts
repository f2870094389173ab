/** References in a specification (`$(NAME)`) as the kubelet puts them in (kubernetes `third_party/forked/golang/expansion`). */

/** Text in which `undefined` stands for something that is not known. */
export type Pattern = readonly (string | undefined)[];

/**
 * @param lookup a variable's value; undefined where it is set and its value is not known; null where it is not set: the reference then stays as it is
 */
export function expand(text: string, lookup: (name: string) => Pattern | null): Pattern {
  const parts: (string | undefined)[] = [];
  let from = 0;
  let literal = "";
  const flush = (): void => {
    if (literal !== "") parts.push(literal);
    literal = "";
  };
  for (let at = text.indexOf("$"); at >= 0 && at + 1 < text.length; at = text.indexOf("$", from)) {
    literal += text.slice(from, at);
    const next = text[at + 1];
    const end = next === "(" ? text.indexOf(")", at) : -1;
    if (next === "$") {
      literal += "$";
      from = at + 2;
    } else if (end > 0) {
      const value = lookup(text.slice(at + 2, end));
      from = end + 1;
      if (value === null) literal += text.slice(at, from);
      else {
        flush();
        parts.push(...value);
      }
    } else {
      // Neither a reference nor an escaped sign.
      literal += text.slice(at, at + 2);
      from = at + 2;
    }
  }
  literal += text.slice(from);
  flush();
  return parts;
}

/** The text, where all of it is known. */
export function known(pattern: Pattern): string | undefined {
  return pattern.includes(undefined) ? undefined : pattern.join("");
}

/** Whether `text` is of that form, from its beginning to its end. Takes time of the order of their lengths' product at most. */
export function matches(pattern: Pattern, text: string): boolean {
  const whole = known(pattern);
  if (whole !== undefined) return text === whole;
  const pieces: string[] = [""];
  for (const part of pattern) {
    if (part === undefined) pieces.push("");
    else pieces.push(`${pieces.pop()}${part}`);
  }
  const first = pieces.shift() ?? "";
  const last = pieces.pop() ?? "";
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const piece of pieces) {
    const found = text.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}

/** For people: what is not known shows as an ellipsis. */
export function shown(pattern: Pattern): string {
  return pattern.map((part) => part ?? "…").join("");
}
