/** The way in. */
import { Command } from "./parts.tsx";

export function SignedOut({ why }: { readonly why: string }) {
  return (
    <main class="alone">
      <h1>Hullmark</h1>
      {why && <p role="status">{why}</p>}
      <p>Where the hullmark command works for you, it prints an address that opens this page with your rights, once and within a minute:</p>
      <p>
        <Command text="hullmark dashboard" />
      </p>
    </main>
  );
}
