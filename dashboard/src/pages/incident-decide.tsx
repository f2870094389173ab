/** Whose an incident is, and that one is done with: as `hullmark incident assign` and `resolve`. */
import { Admin } from "@hullmark/proto/v1/admin";
import type { Incident } from "@hullmark/proto/v1/query";
import { ask } from "../ask.ts";
import { type Choice, Decide } from "../decide.tsx";

/** On the incident as it is shown here: where it has changed since, the verifier refuses. */
export function DecideIncident({ incident, again }: { readonly incident: Incident; readonly again: () => Promise<void> }) {
  return <Decide choices={choicesOf(incident)} again={again} />;
}

function choicesOf({ id, seen, owner, state, closed }: Incident): readonly Choice[] {
  const { assignIncident, resolveIncident } = Admin.method;
  const assign = (to: { readonly owner?: string; readonly me?: boolean }, reason: string) => ask(assignIncident, { id, seen, reason, ...to }, "person");
  return [
    { name: "Take it", yes: "It is mine", run: (reason) => assign({ me: true }, reason) },
    { name: "Give it to", yes: "Give it", whom: "Person or team", run: (reason, whom) => assign({ owner: whom }, reason) },
    ...(owner ? [{ name: "Give it to nobody", yes: "It is nobody's", run: (reason: string) => assign({ owner: "" }, reason) }] : []),
    // What stands ends by itself once it differs no more.
    ...(state === "resolved" && !closed
      ? [{ name: "Done with it", yes: "Done with it", run: (reason: string) => ask(resolveIncident, { id, seen, reason }, "person") }]
      : []),
  ];
}
