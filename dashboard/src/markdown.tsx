/** What Markdown of ours was made into when the page was bundled. */
import { createElement } from "preact";
import type { Node } from "../markdown.ts";
import { Command } from "./parts.tsx";

/** @param commands what a block of commands becomes: a line each; none left: nothing is shown of it */
export function Markdown({ elements, commands }: { readonly elements: readonly Node[]; readonly commands: (block: string) => readonly string[] }) {
  return (
    <>
      {elements.map((element, index) => {
        if (typeof element === "string") return element;
        const { tag, children } = element;
        if (tag === "commands") return <Commands key={index} lines={commands(children.join(""))} />;
        return createElement(tag, { key: index }, <Markdown elements={children} commands={commands} />);
      })}
    </>
  );
}

/** Each line by itself, for they are typed one after the other. What is remarked at its end is not copied: not every shell takes it for a remark. */
function Commands({ lines }: { readonly lines: readonly string[] }) {
  return (
    <ul class="commands">
      {lines.map((line, index) => {
        // A quoted name may hold what looks like a remark, and ends in a quote.
        const [, command = line, remark = ""] = /^(.*?\S) +# ([^']*)$/.exec(line) ?? [];
        return (
          <li key={index}>
            <Command text={command} /> {remark && <span class="quiet">{remark}</span>}
          </li>
        );
      })}
    </ul>
  );
}
