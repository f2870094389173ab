/** What to do about an incident: the section of docs/playbooks.md for its kind, as `hullmark playbook show` prints it, each command one click from being pasted. */
import { Query } from "@hullmark/proto/v1/query";
import { phraseOf, playbookOf } from "@hullmark/verifier/core/alerting/text";
import { commandsOf, isHeadingOf } from "hullmark/playbook/page";
import PLAYBOOKS from "../../../docs/playbooks.md";
import type { Node } from "../../markdown.ts";
import { useAnswer } from "../live.ts";
import { Markdown } from "../markdown.tsx";
import { Answered, Command, count, Name } from "../parts.tsx";
import { gravestOf } from "./incident.tsx";
import { Subject } from "./incident-table.tsx";

const headingsOf = (elements: readonly Node[], tag: "h2" | "h3") =>
  elements.flatMap((node, at) => (typeof node !== "string" && node.tag === tag ? [{ at, text: node.children.join("") }] : []));

/** As the command has it: what is of this kind alone, then what all of its section have in common. */
function sectionOf(kind: string): readonly Node[] {
  const sections = headingsOf(PLAYBOOKS, "h2");
  const index = sections.findIndex(({ text }) => isHeadingOf(text, kind));
  if (index < 0) return [];
  const section = PLAYBOOKS.slice(sections[index]?.at, sections[index + 1]?.at);
  const kinds = headingsOf(section, "h3");
  const own = kinds.findIndex(({ text }) => text === kind);
  const common = section.slice(0, kinds[0]?.at);
  if (own < 0) return common;
  const [, ...text] = section.slice(kinds[own]?.at, kinds[own + 1]?.at);
  return [{ tag: "h2", children: [kind] }, ...text, ...common];
}

export function PlaybookPage({ id }: { readonly id?: string }) {
  const answer = useAnswer(Query.method.getIncident, { id: id ?? "" });
  return (
    <>
      <p class="crumbs">
        <a href="/incidents">Incidents</a> · <a href={`/incidents/${encodeURIComponent(id ?? "")}`}>this incident</a>
      </p>
      <Answered answer={answer}>
        {(told) => {
          const { incident } = told;
          const drift = gravestOf(told);
          if (!incident || !drift) return <h1>There is no such incident</h1>;
          const section = sectionOf(incident.kind);
          return (
            <article class="playbook">
              <h1 class="subject">
                What to do: <Subject incident={incident} max={120} /> {phraseOf(incident.kind)}
              </h1>
              <p class="quiet">
                The commands are of <a href={`/drift/${drift.id}`}>{drift.id}</a> on <Name text={drift.nodeName} max={253} />; words in capitals are for you to
                fill in.
                {incident.drifts > 1 && ` ${count(incident.drifts - 1, "more drift")}, on ${count(incident.nodesTotal, "node")} in all.`}
              </p>
              {section.length === 0 && <p>See {playbookOf(incident.kind)}.</p>}
              <Markdown elements={section} commands={(block) => commandsOf(block.split("\n"), incident.id, drift)} />
              <p class="quiet">
                In a terminal: <Command text={`hullmark playbook show ${incident.id}`} />
              </p>
            </article>
          );
        }}
      </Answered>
    </>
  );
}
