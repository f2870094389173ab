/** A real Chromium, without a screen, that trusts one verifier's CA by the key of its certificate; and what axe-core finds wrong for people who cannot see or point. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import axe from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";

/** Where a person wants to look at the pages that a test has seen; empty: nowhere. */
const SCREENSHOTS = process.env["HULLMARK_SCREENSHOTS"] ?? "";
/** Tries, in some 20 s. */
const VISITS = 14;

export async function startChromium(): Promise<Browser> {
  return await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--disable-dev-shm-usage", "--disable-gpu"] });
}

/** Opens an address: again where Chromium gave up because the machine's interfaces change, as they do when a container starts, or came to try again itself. */
export async function visit(page: Page, url: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await page.goto(url);
      return;
    } catch (error) {
      if (attempt === VISITS || !/ERR_NETWORK_CHANGED|chrome-error:|interrupted by another navigation/.test(String(error))) throw error;
    }
    // Interfaces change in bursts, with every pod of a cluster's suite that runs beside this.
    await sleep(attempt * 200);
  }
}

/** Rules of WCAG 2.2 A and AA that the page breaks, a line each. */
export async function accessibilityProblems(page: Page): Promise<string[]> {
  // By the debugger, which no policy of the page's holds.
  await page.evaluate(axe.source);
  const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = (await page.evaluate(`axe.run({ runOnly: ${JSON.stringify(rules)} })`)) as axe.AxeResults;
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}

export async function screenshot(page: Page, name: string): Promise<void> {
  if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
}
