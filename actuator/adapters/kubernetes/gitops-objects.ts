/** Applications of Argo CD, Kustomizations and HelmReleases of Flux: from where they apply, and that they stop. Read by name; whoever may write them wrote what is read here. */
import type { ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import { EngineError } from "../../ports/engine.ts";
import type { GitOpsOwner, Workload } from "../../ports/rollouts.ts";
import { ask, problem } from "./api-answers.ts";

/** Keeps what an Application's `automated` was before, or says that a suspension is Hullmark's. */
const PAUSED_ANNOTATION = "hullmark.dev/paused-sync";
const COLLECTIONS: Readonly<Record<GitOpsOwner["kind"] | "GitRepository", string>> = {
  Application: "argoproj.io/v1alpha1/namespaces/NAMESPACE/applications",
  Kustomization: "kustomize.toolkit.fluxcd.io/v1/namespaces/NAMESPACE/kustomizations",
  HelmRelease: "helm.toolkit.fluxcd.io/v2/namespaces/NAMESPACE/helmreleases",
  GitRepository: "source.toolkit.fluxcd.io/v1/namespaces/NAMESPACE/gitrepositories",
};

/** Twelve digits tell commits apart, and leave room for the other one where an action's words are cut. */
const WHOLE_COMMIT = /\b([0-9a-f]{12})(?:[0-9a-f]{28}|[0-9a-f]{52})\b/;

const text = z.string().max(1024).default("");
const ArgoSource = z.object({ repoURL: text, path: text, chart: text });
const Application = z.object({
  spec: z.object({ source: ArgoSource.optional(), sources: z.array(ArgoSource).default([]) }),
  status: z.object({ sync: z.object({ revision: text }).prefault({}), history: z.array(z.object({ revision: text })).default([]) }).prefault({}),
});
const Reference = z.object({ kind: text, name: text, namespace: z.string().max(253).optional() });
/** The newest first; of one content once, however many commits have it. */
const Applied = z.object({ digest: text, lastReconciledStatus: text, metadata: z.object({ revision: text }).prefault({}) });
const Kustomization = z.object({
  spec: z.object({ path: text, sourceRef: Reference }),
  status: z.object({ lastAttemptedRevision: text, lastAppliedRevision: text, history: z.array(Applied).default([]) }).prefault({}),
});
const HelmRelease = z.object({
  spec: z.object({ chart: z.object({ spec: z.object({ chart: text, sourceRef: Reference }) }).optional() }),
  status: z.object({ history: z.array(z.object({ chartVersion: text })).default([]) }).prefault({}),
});
const GitRepository = z.object({ spec: z.object({ url: text }) });
const Owner = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  spec: z.object({
    suspend: z.boolean().default(false),
    syncPolicy: z.object({ automated: z.looseObject({ enabled: z.boolean().nullish() }).nullish() }).nullish(),
    targetNamespace: text,
  }),
  status: z
    .object({
      /** Argo CD's. */
      resources: z.array(z.object({ group: text, kind: text, namespace: text, name: text })).default([]),
      /** Flux's: `NAMESPACE_NAME_GROUP_KIND`. */
      inventory: z
        .object({ entries: z.array(z.object({ id: text })).default([]) })
        .nullish()
        .transform((each) => each ?? { entries: [] }),
    })
    .prefault({}),
});

type Named = Pick<Workload, "kind" | "namespace" | "name">;

export class GitOpsObjects {
  readonly #api: Pick<ApiServer, "get" | "patch">;

  constructor(api: Pick<ApiServer, "get" | "patch">) {
    this.#api = api;
  }

  /**
   * In words: repository, folder, and the commit that is applied. undefined: it may not be looked at, says nothing, or does not say that it applies the workload: whose
   * repository that is, is not for whoever wrote the workload's labels to learn. @throws EngineError ENGINE_UNREACHABLE
   */
  async source({ kind, namespace, name }: GitOpsOwner, workload: Named): Promise<string | undefined> {
    const body = await this.#body(kind, namespace, name);
    const owner = Owner.safeParse(body).data;
    if (!owner || !applies(kind, namespace, owner, workload)) return undefined;
    if (kind === "Application") {
      const found = Application.safeParse(body).data;
      return found && argoWords(found);
    }
    if (kind === "HelmRelease") return helmWords(HelmRelease.safeParse(body).data);
    const found = Kustomization.safeParse(body).data;
    if (!found) return undefined;
    const { sourceRef, path } = found.spec;
    const repository = GitRepository.safeParse(await this.#body("GitRepository", sourceRef.namespace ?? namespace, sourceRef.name)).data;
    return words(repository?.spec.url ?? `${sourceRef.kind} ${sourceRef.name}`, path, ...revisionsOf(found.status));
  }

  async #body(kind: keyof typeof COLLECTIONS, namespace: string, name: string): Promise<unknown> {
    const { status, body } = await ask(() => this.#api.get(path(kind, namespace, name)));
    return status === 200 ? body : undefined;
  }

  /** It applies nothing by itself any more. Idempotent; under the version that was looked at. @throws EngineError ENGINE_UNREACHABLE also where that has changed */
  async pause({ kind, namespace, name }: GitOpsOwner, workload: Named): Promise<void> {
    const answer = await ask(() => this.#api.get(path(kind, namespace, name)));
    if (answer.status !== 200) throw problem(answer, `get ${kind}s`);
    const owner = Owner.safeParse(answer.body).data;
    if (!owner) throw new EngineError("ENGINE_REFUSED", `the API server's answer is no ${kind}`);
    if (!applies(kind, namespace, owner, workload))
      throw new EngineError(
        "ENGINE_REFUSED",
        `${kind} ${namespace}/${name} does not say that it applies ${workload.kind} ${workload.namespace}/${workload.name}`,
      );
    const { metadata, spec } = owner;
    const automated = spec.syncPolicy?.automated;
    if (kind === "Application" ? !automated || automated.enabled === false : spec.suspend) return;
    const { resourceVersion } = metadata;
    const annotations = { [PAUSED_ANNOTATION]: kind === "Application" ? JSON.stringify(automated) : "suspended" };
    const change = kind === "Application" ? { syncPolicy: { automated: null } } : { suspend: true };
    const patch = { metadata: { resourceVersion, annotations }, spec: change };
    const patched = await ask(() => this.#api.patch(path(kind, namespace, name), patch, "application/merge-patch+json"));
    if (patched.status !== 200) throw problem(patched, `patch ${kind}s`);
  }
}

/** By its own word. A HelmRelease has no list of what it made: it must be for the workload's namespace. */
function applies(kind: GitOpsOwner["kind"], namespace: string, { spec, status }: z.output<typeof Owner>, workload: Named): boolean {
  if (kind === "HelmRelease") return (spec.targetNamespace || namespace) === workload.namespace;
  if (kind === "Kustomization") return status.inventory.entries.some(({ id }) => id === `${workload.namespace}_${workload.name}_apps_${workload.kind}`);
  return status.resources.some(
    (each) => each.group === "apps" && each.kind === workload.kind && each.namespace === workload.namespace && each.name === workload.name,
  );
}

/** What is there now, though it may not be well, or not all of it yet; and what was well before and is otherwise. */
function revisionsOf({
  lastAttemptedRevision,
  lastAppliedRevision,
  history,
}: z.output<typeof Kustomization>["status"]): [now: string, before: string | undefined] {
  const now = lastAttemptedRevision || lastAppliedRevision;
  const { digest } = history.find(({ metadata }) => metadata.revision === now) ?? {};
  const before = history.find((each) => each.lastReconciledStatus === "ReconciliationSucceeded" && each.digest !== digest && each.metadata.revision !== now);
  return [now, before?.metadata.revision];
}

function helmWords(found: z.output<typeof HelmRelease> | undefined): string | undefined {
  const chart = found?.spec.chart?.spec;
  const [present, before] = found?.status.history ?? [];
  return chart && words(`chart ${chart.chart} of ${chart.sourceRef.name}`, "", present?.chartVersion, before?.chartVersion);
}

function argoWords({ spec, status }: z.output<typeof Application>): string | undefined {
  const [source] = spec.source ? [spec.source] : spec.sources;
  const { revision } = status.sync;
  // The newest is last; one revision may have been synced again and again.
  const before = status.history.findLast((each) => each.revision !== revision)?.revision;
  return source && words(source.repoURL, source.path || source.chart, revision, before);
}

function words(repository: string, folder: string, revision = "", before = ""): string {
  const [now, then] = [revision, before].map((each) => each.replace(WHOLE_COMMIT, "$1"));
  // Who asks for it, a token or a password, is nobody's to read.
  return `${repository.replace(/\/\/[^/]*@/, "//")}${folder && `, ${folder}`}${now && `, at ${now}`}${then && ` (before that ${then})`}`;
}

function path(kind: keyof typeof COLLECTIONS, namespace: string, name: string): string {
  return `/apis/${COLLECTIONS[kind].replace("NAMESPACE", encodeURIComponent(namespace))}/${encodeURIComponent(name)}`;
}
