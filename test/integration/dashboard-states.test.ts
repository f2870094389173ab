/** The dashboard where nothing is there yet, and where the verifier is gone: every page says so and can be read, in light and in dark. With 300 nodes: test/fault/incident-pages.test.ts. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
