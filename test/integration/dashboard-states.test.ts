/** The dashboard where nothing is there yet, and where the verifier is gone: every page says so and can be read, in light and in dark. With 300 nodes: test/fault/incident-pages.test.ts. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { ListDriftResponseSchema } from "@hullmark/proto/v1/query";
import { ListActionsResponseSchema } from "@hullmark/proto/v1/response";
import { expect, onTestFinished, test } from "vitest";
import { bundleDashboard } from "../../dashboard/bundle.ts";
import { startChromium, visit } from "../fakes/chromium.ts";
import { dashboardOrigin, PAGES, readable, signedIn } from "../fakes/dashboard-page.ts";
import { TestVerifier } from "../fakes/verifier.ts";

test("without a node nothing is called clean, and without a verifier what is shown is told to be of before", { timeout: 300_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-states-"));
  const verifier = new TestVerifier();
  const [browser] = await Promise.all([startChromium(), bundleDashboard(directory)]);
  onTestFinished(async () => {
    await browser.close();
    await verifier.dispose();
    rmSync(directory, { recursive: true });
  });
  await verifier.start('dashboard: { listen: "127.0.0.1:0" }', directory);
  const page = await signedIn(browser, verifier);
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.getByText("No node has enrolled yet").waitFor();
  expect(await page.locator("main").textContent()).not.toContain("No drift");
  for (const path of PAGES) {
    await visit(page, `${dashboardOrigin(verifier)}${path}`);
    await readable(page, `empty-${path.slice(1) || "overview"}`);
  }
  // As for a role in namespaces of whose drift there is none among the 5,000 newest.
  const short = { "Query/ListDrift": ListDriftResponseSchema, "Response/ListActions": ListActionsResponseSchema };
  for (const [method, schema] of Object.entries(short)) {
    const body = Buffer.from(toBinary(schema, create(schema, { nextPageToken: "7" } as never) as never));
    await page.route(`**/api/hullmark.v1.${method}`, (route) => route.fulfill({ body, contentType: "application/proto" }));
  }
  for (const [path, none] of [
    ["/drift", "No drift among the newest"],
    ["/actions", "No action among the newest"],
  ] as const) {
    await visit(page, `${dashboardOrigin(verifier)}${path}`);
    await page.getByText(none).waitFor();
    await page.getByText("Only the newest were looked through").waitFor();
  }
  await readable(page, "short");
  await page.unrouteAll();
  await visit(page, `${dashboardOrigin(verifier)}/`);
  await page.getByText("live", { exact: true }).waitFor();
  await verifier.stop();
  await page.getByText("not live").waitFor();
  const alert = page.getByRole("alert");
  await alert.getByText(/does not answer.*What is below was so at \d\d:\d\d:\d\d UTC/).waitFor();
  expect(await alert.count()).toBe(1);
  await readable(page, "away");
  expect(problems).toEqual([]);
});
