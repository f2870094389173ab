/** The page: who is signed in, and what they look at. */
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { LocationProvider } from "preact-iso";
import { AskError, onSignedOut, readSession, type Session, signIn } from "./ask.ts";
import { Failure } from "./parts.tsx";
import { Shell } from "./shell.tsx";
import { SignedOut } from "./signed-out.tsx";
import { applyTheme, currentTheme } from "./theme.ts";

/** Taken out of the address at once: it is good only once, and belongs in no history and on no screen. */
function takeCode(): string {
  const code = location.hash.slice(1);
  if (/^[A-Za-z0-9_-]{43}$/.test(code)) history.replaceState(null, "", location.pathname);
  else return "";
  return code;
}

type State = { readonly asking: true } | { readonly session: Session } | { readonly signedOut: string } | { readonly error: AskError };

function Root({ code }: { readonly code: string }) {
  const [state, setState] = useState<State>({ asking: true });
  useEffect(() => {
    // Whoever is signed in stays so: an address that somebody else has sent changes nobody into them.
    readSession()
      .then(async (session) => session ?? (code === "" ? undefined : await signIn(code)))
      .then(
        (session) => setState(session ? { session } : { signedOut: "" }),
        (error: unknown) => {
          if (!(error instanceof AskError)) throw error;
          setState(error.code === "UNAUTHENTICATED" ? { signedOut: "This address was used already, or is older than a minute." } : { error });
        },
      );
  }, [code]);
  useEffect(() => onSignedOut(() => setState((before) => ("session" in before ? { signedOut: "You are signed out." } : before))), []);
  if ("session" in state)
    return (
      <LocationProvider>
        <Shell session={state.session} onSignedOut={() => setState({ signedOut: "You are signed out." })} />
      </LocationProvider>
    );
  if ("signedOut" in state) return <SignedOut why={state.signedOut} />;
  return (
    <main class="alone">
      <h1>Hullmark</h1>
      {"error" in state ? <Failure error={state.error} /> : <p class="quiet">Asking the verifier…</p>}
    </main>
  );
}

applyTheme(currentTheme());
const code = takeCode();
const page = document.getElementById("page");
if (page) render(<Root code={code} />, page);
