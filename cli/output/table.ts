/** Plain columns, two spaces apart, as UX.md shows them. Cells must be printable already. */
import Table from "cli-table3";

const NONE = { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" };
const BARE = { ...NONE, left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "  " };

/** @returns lines without trailing blanks, ending with a newline */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const drawn = new Table({ head: [...headers], chars: BARE, style: { head: [], border: [], "padding-left": 0, "padding-right": 0 } });
  for (const row of rows) drawn.push([...row]);
  return `${drawn
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")}\n`;
}
