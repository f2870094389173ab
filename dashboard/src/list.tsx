/** Lists: one question whose page grows as it is asked for, so that what is shown stays of now; a filter; a table whose first cell is the line's link. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

export const PAGE_ROWS = 100;
/** The verifier's own bound, less one that it reads to know whether there are more. */
const MAX_ROWS = 900;

export function useRows(): { readonly rows: number; readonly more: () => void; readonly most: boolean } {
  const [rows, setRows] = useState(PAGE_ROWS);
  return { rows, more: () => setRows(Math.min(MAX_ROWS, rows + 200)), most: rows >= MAX_ROWS };
}

export function Filter({
  value,
  onInput,
  hint,
  children,
}: {
  readonly value: string;
  readonly onInput: (text: string) => void;
  readonly hint: string;
  readonly children?: ComponentChildren;
}) {
  return (
    <form class="filters" onSubmit={(event) => event.preventDefault()}>
      <label>
        Filter <input data-filter type="search" maxLength={253} value={value} placeholder={hint} onInput={(event) => onInput(event.currentTarget.value)} />
      </label>
      {children}
    </form>
  );
}

export function Check({ label, checked, onChange }: { readonly label: string; readonly checked: boolean; readonly onChange: (on: boolean) => void }) {
  return (
    <label>
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} /> {label}
    </label>
  );
}

interface MoreProps {
  /** Whether the verifier has more than was asked for. */
  readonly next: boolean;
  /** Whether it gave up before it had found as many: for a role in namespaces it looks through so much of what there is, and asking for more rows finds no more. */
  readonly short?: boolean;
  readonly most: boolean;
  readonly more: () => void;
  readonly command: string;
}

export function More({ next, short = false, most, more, command }: MoreProps) {
  if (!next) return null;
  if (short) return <p class="notice warn">Only the newest were looked through for what you may see. All of it: {command}</p>;
  if (most) return <p class="quiet">There are more: filter, or {command}</p>;
  return (
    <button type="button" onClick={more}>
      Show more
    </button>
  );
}

export interface Column {
  readonly name: string;
  readonly number?: boolean;
}

export function Table({ caption, columns, children }: { readonly caption: string; readonly columns: readonly Column[]; readonly children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what is wider than the screen is scrolled by keys too
    <div class="scroll" tabIndex={0}>
      <table>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ name, number }) => (
              <th key={name} scope="col" class={number ? "number" : undefined}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
