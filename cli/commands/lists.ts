/** `hullmark nodes|workloads|images`: lists of what the verifier knows, and one of them in full. */
import { Verdict } from "@hullmark/proto/v1/common";
import { type Image, type Node, Query, type Workload } from "@hullmark/proto/v1/query";
import { worstFirst } from "@hullmark/verifier/core/fleet/worst-first";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { isIn } from "../connection/connection.ts";
import { all, PAGE_SIZE } from "../connection/pages.ts";
import { type Asking, ask } from "../connection/run.ts";
import { watched } from "../connection/watched.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { imageView, nodeView, workloadView } from "../output/views.ts";
import { age, imageWord, provenanceWord, toMs, trustWord, verdictWord } from "../output/words.ts";
import { compareVariables } from "./compare-variables.ts";

interface ListOptions {
  readonly output: Format;
  readonly watch?: boolean;
}

/** One list command: how to fetch, watch and show one kind of thing. */
interface Listing<T> {
  readonly name: string;
  readonly headers: (wide: boolean) => string[];
  readonly row: (item: T, wide: boolean, nowMs: number) => string[];
  readonly view: (item: T) => unknown;
  readonly fetch: (asking: Asking, options: Record<string, unknown>) => Promise<T[]>;
  readonly watch: (asking: Asking) => AsyncIterable<T | undefined>;
  readonly exit: (items: readonly T[]) => number;
  /** What the exit codes mean. */
  readonly exits?: string;
  /** Options that ask for something else than the list. @returns the exit code; undefined: the list is meant */
  readonly instead?: (asking: Asking, options: Record<string, unknown>) => Promise<number | undefined>;
}

function listCommand<T>(listing: Listing<T>): Command {
  return new Command(listing.name)
    .addOption(formatOption())
    .option("-w, --watch", "go on and print every change")
    .addHelpText("after", `\nExit: ${listing.exits ?? "0 clean, 1 drift, 2 usage, 3 cannot tell"}`)
    .action(async (options: ListOptions & Record<string, unknown>, command: Command) =>
      ask(command, async (asking) => {
        const code = await listing.instead?.(asking, options);
        if (code !== undefined) return code;
        const list = async (): Promise<T[]> => {
          const items = await listing.fetch(asking, options);
          show(listing, items, options.output, asking);
          return items;
        };
        const items = await list();
        const changes = () => listing.watch(asking);
        if (options.watch)
          for await (const item of watched(asking.channel, changes, async () => void (await list())))
            if (item !== undefined) show(listing, [item], options.output, asking);
        return listing.exit(items);
      }),
    );
}

function show<T>(listing: Listing<T>, items: readonly T[], format: Format, { print, nowMs }: Asking): void {
  if (isData(format)) print(serialize(format, items.map(listing.view)));
  else if (items.length === 0) print("none\n");
  else
    print(
      table(
        listing.headers(format === "wide"),
        items.map((item) => listing.row(item, format === "wide", nowMs)),
      ),
    );
}

function worst(verdicts: readonly Verdict[]): number {
  if (verdicts.includes(Verdict.CONTRAINDICATED)) return EXIT.drift;
  return verdicts.includes(Verdict.UNKNOWN) || verdicts.length === 0 ? EXIT.unknown : EXIT.clean;
}

const standingOf = ({ lastSeen, drifted = 0, ...node }: Node) => ({ ...node, drifted, lastSeenMs: toMs(lastSeen) });

export function nodesCommand(): Command {
  return listCommand<Node>({
    name: "nodes",
    headers: (wide) => [
      "NODE",
      "VERDICT",
      "TRUST",
      "SEEN",
      "QUOTE",
      "CONTAINERS",
      "DRIFTED",
      "REASON",
      ...(wide ? ["ID", "KERNEL", "RUNTIME", "CHANGES", "AGENT"] : []),
    ],
    row: (node, wide, nowMs) => [
      printable(node.name, 60),
      verdictWord(node.verdict),
      trustWord(node.trustLevel),
      age(node.lastSeen, nowMs),
      age(node.lastQuote, nowMs),
      String(node.containers),
      node.drifted === undefined ? "-" : String(node.drifted),
      printable(node.reasons.map(({ code }) => code).join(", "), 80) || "-",
      ...(wide ? [node.id, printable(node.kernel, 40), printable(node.runtime, 40), printable(node.changeSource, 20), printable(node.agentVersion, 20)] : []),
    ],
    view: nodeView,
    // By id, page for page, since of nodes that change their place meanwhile one would be missed.
    fetch: async ({ channel, signal }) =>
      (
        await all(
          (pageToken) => channel.client(Query).listNodes({ pageSize: PAGE_SIZE, pageToken }, { signal }),
          ({ nodes }) => nodes,
        )
      ).sort((a, b) => worstFirst(standingOf(a), standingOf(b))),
    watch: ({ channel, signal }) => pick(channel.client(Query).watchNodes({}, { signal }), ({ node }) => node),
    exit: (nodes) => worst(nodes.map(({ verdict }) => verdict)),
  });
}

export function workloadsCommand(): Command {
  return listCommand<Workload>({
    name: "workloads",
    headers: (wide) => ["WORKLOAD", "CONTAINER", "NODE", "VERDICT", "CONTENT", "PROVENANCE", "DRIFTS", "REASON", ...(wide ? ["ID", "IMAGE", "STARTED"] : [])],
    row: (item, wide, nowMs) => [
      printable(item.workload, 60),
      printable(item.containerName, 60),
      printable(item.nodeName, 40),
      verdictWord(item.verdict),
      item.content === Verdict.AFFIRMING ? "ok" : verdictWord(item.content),
      provenanceWord(item.provenance?.status),
      String(item.openDrifts),
      printable(item.reasons.map(({ code }) => code).join(", "), 80) || "-",
      ...(wide ? [item.containerId.slice(0, 12), imageWord(item.imageReference, item.manifestDigest), age(item.startedAt, nowMs)] : []),
    ],
    view: workloadView,
    fetch: ({ channel, namespace, signal }, options) =>
      all(
        (pageToken) =>
          channel.client(Query).listWorkloads({ pageSize: PAGE_SIZE, pageToken, verdicts: options["unknown"] ? [Verdict.UNKNOWN] : [] }, { signal }),
        ({ workloads }) => workloads.filter((workload) => isIn(namespace, workload)),
      ),
    // Of one that is gone its id alone is told: it is off the list, and no row of it.
    watch: ({ channel, namespace, signal }) =>
      pick(channel.client(Query).watchWorkloads({}, { signal }), ({ workload, removed }) =>
        workload && !removed && isIn(namespace, workload) ? workload : undefined,
      ),
    exit: (items) => (items.length === 0 ? EXIT.clean : worst(items.map(({ verdict }) => verdict))),
    instead: async (asking, options) => {
      if (typeof options["variables"] === "string") return await compareVariables(options["variables"], options["output"] as Format, asking);
      const { channel, signal, print } = asking;
      const container = options["ear"];
      if (typeof container !== "string") return undefined;
      const { workload } = await channel.client(Query).getWorkload({ container }, { signal });
      print(`${(await channel.client(Query).issueEar({ container: workload?.containerId ?? container }, { signal })).jwt}\n`);
      return worst(workload ? [workload.verdict] : []);
    },
  })
    .option("--unknown", "only those that could not be judged, with the reason")
    .option(
      "--variables <container>",
      "print instead which variables from Secrets, and others that cannot be compared with their source, differ among its replicas",
    )
    .option("--ear <container>", "print the signed Attestation Result of one container and its node instead: a JWT");
}

export function imagesCommand(): Command {
  return listCommand<Image>({
    name: "images",
    headers: (wide) => ["IMAGE", "REFERENCE", "PROVENANCE", "BY", "LAYERS", "FILES", "CONTAINERS", "DETAIL", ...(wide ? ["CONFIG", "PLATFORM"] : [])],
    row: (image, wide) => [
      printable(image.references.find((reference) => !reference.startsWith("sha256:")) ?? image.configDigest, 80),
      printable(image.referenceState, 30),
      provenanceWord(image.provenance?.status),
      printable(image.provenance?.authorities.join(", ") ?? "", 40) || "-",
      String(image.layers),
      String(image.entries),
      String(image.containers),
      printable(image.referenceDetail || image.provenance?.text || "", 120) || "-",
      ...(wide ? [image.configDigest, image.platform] : []),
    ],
    view: imageView,
    fetch: ({ channel, signal }) =>
      all(
        (pageToken) => channel.client(Query).listImages({ pageSize: PAGE_SIZE, pageToken }, { signal }),
        ({ images }) => images,
      ),
    watch: ({ channel, signal }) => pick(channel.client(Query).watchImages({}, { signal }), ({ image }) => image),
    exit: () => EXIT.clean,
    exits: "0 listed, 2 usage, 3 cannot tell",
  });
}

async function* pick<R, T>(responses: AsyncIterable<R>, item: (response: R) => T | undefined): AsyncGenerator<T | undefined> {
  for await (const response of responses) yield item(response);
}
