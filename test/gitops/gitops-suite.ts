/** What is shown of a tool that deploys from a repository, by itself: it deploys what policy does not trust, and is recognised, named with its commit, or paused and rolled back. */
import { expect, test } from "vitest";
import { eventually } from "../e2e/fault-support.ts";
import { WITHIN_MS } from "../e2e/kubernetes/acting.ts";
import { alertsOf } from "../fakes/http-receiver.ts";
import { APPS, type App, type GitOpsBed } from "./gitops-bed.ts";

export interface GitOpsTool {
  /** As refusals have it: `owned-by-…`. */
  readonly name: "argocd" | "flux";
  /** Of what deploys the app, for people. */
  readonly owner: (app: App) => string;
  /** How it names a commit. */
  readonly revision: (commit: string) => string;
  /** How it names the app's folder. */
  readonly folder: (app: App) => string;
  /** The commit that is wanted by it and was applied, as it says itself; undefined: none. */
  readonly applied: (app: App) => Promise<string | undefined>;
  readonly isPaused: (app: App) => Promise<boolean>;
  /** As people do it. */
  readonly resume: (app: App) => Promise<unknown>;
}

/** Declares the tests. The apps were deployed from the first commit. */
export function deploysFromRepository(of: () => GitOpsBed, first: () => string, tool: GitOpsTool): void {
  const isAt = (app: App, commit: string) =>
    eventually(
      `${app} is at ${commit}`,
      () => tool.applied(app),
      (applied) => applied === tool.revision(commit),
      WITHIN_MS,
    );

  test("puts back what anybody else changes", async () => {
    const { first: image } = of();
    await of().kubectl("set", "image", "deployment/told", `web=${image.reference}`);
    await of().rollsOut("told", image.tagged);
  });

  test("deploys an unsigned image: what may not be paused is left, and the commit named, on the page too; what may is paused and rolled back, and stays so", async () => {
    const { acting, stranger, first: image, git, pager } = of();
    acting.logsOnFailure();
    const bad = await of().commit("bad", stranger.tagged);
    const refused = await acting.actionIs("told-", "refused", ({ state, reason }) => state === "refused" && reason === `owned-by-${tool.name}`);
    const named = (commit: string): string => tool.revision(commit.slice(0, 12));
    const commits = `at ${named(bad)} (before that ${named(first())})`;
    const detail = `Deployment told is applied by ${tool.owner("told")}: revert there what brought the image (${git.url}, ${tool.folder("told")}, ${commits})`;
    expect(refused.find(({ state }) => state === "refused")?.detail).toBe(detail);
    await eventually(
      "a page names the commit",
      async () => alertsOf(pager, "unsigned").map(({ description }) => description),
      (pages) => pages.some((page) => page.includes(`: owned-by-${tool.name} (${detail})`)),
      WITHIN_MS,
    );
    expect(await of().imageOf("told")).toBe(stranger.tagged);
    expect(await tool.isPaused("told")).toBe(false);

    const [rolledBack] = await of().rollbacks("paused", 1);
    expect(rolledBack?.detail).toContain(`${tool.owner("paused")} applies nothing by itself until somebody has it do so again`);
    expect(await of().imageOf("paused")).toBe(image.reference);
    await acting.clean("paused", 1);
    expect(await tool.isPaused("paused")).toBe(true);

    // It goes on with what is not paused.
    await isAt("told", await of().commit("worse", stranger.tagged));
    expect(await of().imageOf("paused")).toBe(image.reference);
    expect(await of().rollbacks("paused", 1)).toHaveLength(1);
  });

  test("deploys it again once people take the pause back too early, and is paused and rolled back again; once the repository is right all of it is the tool's own", async () => {
    const { acting, first: image } = of();
    acting.logsOnFailure();
    await tool.resume("paused");
    await of().rollbacks("paused", 2);
    expect(await of().imageOf("paused")).toBe(image.reference);
    expect(await tool.isPaused("paused")).toBe(true);

    const mended = await of().commit("mended", image.tagged);
    await isAt("told", mended);
    await tool.resume("paused");
    await isAt("paused", mended);
    for (const app of APPS) {
      await of().rollsOut(app, image.tagged);
      await acting.clean(app, 1);
    }
    expect(await tool.isPaused("paused")).toBe(false);
    expect(await of().rollbacks("paused", 2)).toHaveLength(2);
  });
}
