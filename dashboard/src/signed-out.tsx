/** The way in. */
import { useEffect, useState } from "preact/hooks";
import { readIssuers } from "./ask.ts";
import { Command, Name } from "./parts.tsx";

export function SignedOut({ why }: { readonly why: string }) {
  const [issuers, setIssuers] = useState<readonly string[]>([]);
  useEffect(() => void readIssuers().then(setIssuers), []);
  return (
    <main class="alone">
      <h1>Hullmark</h1>
      {why && <p role="status">{why}</p>}
      {issuers.map((issuer) => (
        <p key={issuer}>
          <a href={`/api/sign-in/${issuer}`}>
            Sign in at <Name text={issuer} max={64} />
          </a>
        </p>
      ))}
      <p>Where the hullmark command works for you, it prints an address that opens this page with your rights, once and within a minute:</p>
      <p>
        <Command text="hullmark dashboard" />
      </p>
    </main>
  );
}
