/** A browser that is signed in to a verifier's page, and whether what it shows can be read. */
import { Admin } from "@hullmark/proto/v1/admin";
import type { Browser, Page } from "playwright-core";
import { expect } from "vitest";
import { accessibilityProblems, screenshot, visit } from "./chromium.ts";
import type { TestVerifier } from "./verifier.ts";

export const dashboardOrigin = (verifier: TestVerifier): string => `https://localhost:${verifier.running?.dashboardPort}`;

/** Its pages, as the navigation has them. */
export const PAGES = ["/", "/incidents", "/drift", "/images", "/nodes", "/actions", "/exceptions", "/log"];

/** Of an administrator. */
export async function signedIn(browser: Browser, verifier: TestVerifier): Promise<Page> {
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 } })).newPage();
  page.setDefaultTimeout(120_000);
  const { code } = await (await verifier.operator("admin")).client(Admin).openDashboard({});
  await visit(page, `${dashboardOrigin(verifier)}/#${code}`);
  await page.getByRole("navigation").waitFor();
  return page;
}

/** Answered, nothing is broken off at the side, and WCAG AA holds in light and in dark. */
export async function readable(page: Page, name: string): Promise<void> {
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.getByText("Asking the verifier…").waitFor({ state: "detached" });
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await screenshot(page, `${name}-${colorScheme}`);
    expect(await accessibilityProblems(page), `${name} ${colorScheme}`).toEqual([]);
  }
  expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name).toBe(true);
}
