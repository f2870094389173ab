/** Prometheus text, read: only as much of it as tests ask. */

export class Scrape {
  readonly text: string;

  private constructor(text: string) {
    this.text = text;
  }

  static of(text: string): Scrape {
    return new Scrape(text);
  }

  static async from(httpUrl: string): Promise<Scrape> {
    const response = await fetch(`${httpUrl}/metrics`);
    if (!response.ok) throw new Error(`/metrics: ${response.status}`);
    return new Scrape(await response.text());
  }

  /** Name → type, of everything declared. */
  types(): Map<string, string> {
    return new Map([...this.text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => [name, type]));
  }

  /** Sum of the samples of `name` whose labels include all of `labels`; undefined where there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const samples = [...this.text.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, "gm"))].filter(([, has = ""]) =>
      Object.entries(labels).every(([label, value]) => `,${has},`.includes(`,${label}="${value}",`)),
    );
    return samples.length === 0 ? undefined : samples.reduce((sum, [, , value]) => sum + Number(value), 0);
  }

  /** Labels that any sample of a series has. */
  labels(name: string): Set<string> {
    const samples = this.text.matchAll(new RegExp(`^${name}(?:_bucket|_sum|_count)?\\{(.*)\\} `, "gm"));
    return new Set([...samples].flatMap(([, has = ""]) => [...has.matchAll(/(\w+)="/g)].map(([, label = ""]) => label)).filter((label) => label !== "le"));
  }
}
