/** What is around every page: where one is, who one is, and whether what is shown is of now. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { type LocationHook, Route, Router, useLocation } from "preact-iso";
import { type Session, signOut } from "./ask.ts";
import { KEYS, useKeys } from "./keys.ts";
import { startLive, useLive } from "./live.ts";
import { Actions } from "./pages/actions.tsx";
import { DriftList, DriftPage } from "./pages/drift.tsx";
import { Drills } from "./pages/drills.tsx";
import { ExceptionPage } from "./pages/exception.tsx";
import { Exceptions } from "./pages/exceptions.tsx";
import { ImagePage, Images } from "./pages/images.tsx";
import { IncidentPage } from "./pages/incident.tsx";
import { Incidents } from "./pages/incidents.tsx";
import { Log } from "./pages/log.tsx";
import { NodePage, Nodes } from "./pages/nodes.tsx";
import { Overview } from "./pages/overview.tsx";
import { PlaybookPage } from "./pages/playbook.tsx";
import { Name } from "./parts.tsx";
import { applyTheme, currentTheme, nextTheme, type Theme } from "./theme.ts";

const PLACES: readonly (readonly [path: string, name: string])[] = [
  ["/", "Overview"],
  ["/incidents", "Incidents"],
  ["/drift", "Drift"],
  ["/images", "Images"],
  ["/nodes", "Nodes"],
  ["/actions", "Actions"],
  ["/exceptions", "Exceptions"],
  ["/drills", "Drills"],
  ["/log", "Log"],
];

export interface PageProps {
  readonly session: Session;
}

export function Shell({ session, onSignedOut }: PageProps & { readonly onSignedOut: () => void }) {
  const { path, route } = useLocation() as LocationHook;
  const live = useLive();
  const [theme, setTheme] = useState(currentTheme());
  const help = useRef<HTMLDialogElement>(null);
  useEffect(startLive, []);
  const changeTheme = useCallback(() => {
    const next = nextTheme(currentTheme());
    applyTheme(next);
    setTheme(next);
  }, []);
  const showHelp = useCallback(() => help.current?.showModal(), []);
  const go = useCallback((to: string) => route(to), [route]);
  useKeys({ go, help: showHelp, theme: changeTheme });
  return (
    <>
      <a class="skip" href="#main">
        To the content
      </a>
      <header>
        <a class="mark" href="/">
          Hullmark
        </a>
        <nav aria-label="Pages">
          {PLACES.map(([to, name]) => (
            <a key={to} href={to} aria-current={(to === "/" ? path === "/" : path.startsWith(to)) ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <span class={`live ${live ? "good" : "unknown"}`} role="status">
          {live ? "live" : "not live"}
        </span>
        <button type="button" class="small" onClick={changeTheme} aria-label={`${themeWord(theme)} colours: change`}>
          {themeWord(theme)}
        </button>
        <button type="button" class="small" onClick={showHelp} aria-label="? keys">
          ?
        </button>
        <span class="who">
          <Name text={session.name} max={40} />{" "}
          <span class="quiet">{[...(session.shownAs === "" ? [] : [session.shownAs]), session.role, ...session.namespaces].join(" ")}</span>
        </span>
        <button type="button" class="small" onClick={() => void signOut().finally(onSignedOut)}>
          Sign out
        </button>
      </header>
      <main id="main" tabIndex={-1}>
        <Router>
          <Route path="/" component={Overview} />
          <Route path="/incidents" component={Incidents} />
          <Route path="/incidents/:id" component={IncidentPage} session={session} />
          <Route path="/incidents/:id/playbook" component={PlaybookPage} />
          <Route path="/drift" component={DriftList} />
          <Route path="/drift/:id" component={DriftPage} session={session} />
          <Route path="/images" component={Images} />
          <Route path="/images/:id" component={ImagePage} />
          <Route path="/nodes" component={Nodes} />
          <Route path="/nodes/:id" component={NodePage} />
          <Route path="/actions" component={Actions} session={session} />
          <Route path="/exceptions" component={Exceptions} session={session} />
          <Route path="/exceptions/:id" component={ExceptionPage} session={session} />
          <Route path="/drills" component={Drills} />
          <Route path="/log" component={Log} />
          <Route default component={NotHere} />
        </Router>
      </main>
      <dialog ref={help} aria-labelledby="keys-title">
        <h2 id="keys-title">Keys</h2>
        <dl class="keys">
          {KEYS.map(([keys, does]) => (
            <div key={keys}>
              <dt>
                <kbd>{keys}</kbd>
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
        <form method="dialog">
          <button type="submit">Close</button>
        </form>
      </dialog>
    </>
  );
}

const themeWord = (theme: Theme): string => (theme === "system" ? "auto" : theme);

function NotHere() {
  return (
    <>
      <h1>There is no such page</h1>
      <p>
        <a href="/">Overview</a>
      </p>
    </>
  );
}
