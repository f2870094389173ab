/** Markdown of ours as elements, when the page is bundled: in a browser nothing parses it, and nothing becomes HTML by being text. */
import { lexer, type MarkedToken, type Token } from "marked";

/** `commands`: a block of them, its text as it stands. */
export type Tag = "h1" | "h2" | "h3" | "p" | "ol" | "ul" | "li" | "strong" | "em" | "code" | "commands";
export interface Element {
  readonly tag: Tag;
  readonly children: readonly Node[];
}
export type Node = string | Element;

/** @throws Error where there is something that no page shows yet */
export function elementsOf(text: string): readonly Node[] {
  return all(lexer(text));
}

const all = (tokens: readonly Token[]): Node[] => tokens.flatMap((token) => parts(token as MarkedToken));

function parts(token: MarkedToken): Node[] {
  switch (token.type) {
    case "space":
      return [];
    case "heading":
      if (token.depth > 3) break;
      return [{ tag: (["h1", "h2", "h3"] as const)[token.depth - 1] ?? "h3", children: all(token.tokens) }];
    case "paragraph":
      return [{ tag: "p", children: all(token.tokens) }];
    case "list":
      return [{ tag: token.ordered ? "ol" : "ul", children: token.items.map(({ tokens }) => ({ tag: "li", children: all(tokens) })) }];
    case "strong":
    case "em":
      return [{ tag: token.type, children: all(token.tokens) }];
    case "codespan":
      return [{ tag: "code", children: [token.text] }];
    case "code":
      return [{ tag: "commands", children: [token.text] }];
    // To other pages of the documentation, which the verifier does not serve.
    case "link":
      return all(token.tokens);
    case "text":
      return token.tokens ? all(token.tokens) : [token.text];
    case "escape":
      return [token.text];
  }
  throw new Error(`Markdown of kind ${token.type} is not made for the dashboard: ${token.raw.slice(0, 80)}`);
}
