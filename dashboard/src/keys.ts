/** Keys, as people know them from a mailer: what takes text keeps its own. */
import { useLayoutEffect } from "preact/hooks";

export const KEYS: readonly (readonly [keys: string, does: string])[] = [
  ["j  k", "next and previous line of the list"],
  ["Enter", "open the line"],
  ["/", "filter the list"],
  ["g then o i d w m a x r l", "go to Overview, Incidents, Drift, Images, Machines (nodes), Actions, Exceptions, Rehearsals (drills), Log"],
  ["t", "dark, light, or as the system has it"],
  ["?", "this list"],
  ["Esc", "close, or leave the filter"],
];

const PLACES: Readonly<Record<string, string>> = {
  o: "/",
  i: "/incidents",
  d: "/drift",
  w: "/images",
  m: "/nodes",
  a: "/actions",
  x: "/exceptions",
  r: "/drills",
  l: "/log",
};
const TOGETHER_MS = 1500;

export interface KeyActions {
  readonly go: (path: string) => void;
  readonly help: () => void;
  readonly theme: () => void;
}

export function useKeys({ go, help, theme }: KeyActions): void {
  // Once the page is shown they are taken, not a moment later.
  useLayoutEffect(() => {
    // By when they were pressed: a page that is busy comes to them late.
    let goingUntilMs = 0;
    const onKey = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      const types = target.matches("input, textarea, select") || target.isContentEditable;
      if (event.key === "Escape" && types) target.blur();
      if (types || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const place = event.timeStamp < goingUntilMs ? PLACES[event.key] : undefined;
      goingUntilMs = 0;
      if (place) done(event, () => go(place));
      else if (event.key === "g") goingUntilMs = event.timeStamp + TOGETHER_MS;
      else if (event.key === "j") done(event, () => move(1));
      else if (event.key === "k") done(event, () => move(-1));
      else if (event.key === "/") done(event, () => document.querySelector<HTMLElement>("[data-filter]")?.focus());
      else if (event.key === "?") done(event, help);
      else if (event.key === "t") done(event, theme);
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [go, help, theme]);
}

function done(event: KeyboardEvent, run: () => void): void {
  event.preventDefault();
  run();
}

/** Lines are what their first link leads to: the link has the focus, so that Enter is the browser's own. */
function move(by: 1 | -1): void {
  const links = [...document.querySelectorAll<HTMLElement>("[data-line] a[href]:first-of-type")].filter(
    (link, index, all) => all.findIndex((other) => other.closest("[data-line]") === link.closest("[data-line]")) === index,
  );
  const at = links.findIndex((link) => link.closest("[data-line]")?.contains(document.activeElement));
  const next = links[at < 0 ? (by === 1 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
