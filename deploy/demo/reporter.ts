/** Prints the demo's lines: what is being done, and what came of it with the time it took. */
export class Reporter {
  readonly #colour: boolean;
  readonly #live: boolean;
  #steps = 0;

  constructor(stream: NodeJS.WriteStream = process.stdout) {
    this.#live = stream.isTTY === true;
    this.#colour = this.#live && !process.env["NO_COLOR"];
  }

  /** How many steps have succeeded. */
  get steps(): number {
    return this.#steps;
  }

  heading(text: string): void {
    console.log(`\n${this.#paint("1", text)}`);
  }

  /** A line below the last step. */
  detail(text: string): void {
    for (const line of text.trimEnd().split("\n")) console.log(`      ${line}`);
  }

  /** Runs one step; its result goes to the caller, its `✓` line to the person. A failure prints `✗` and is thrown on. */
  async step<T>(title: string, action: () => Promise<T>, note?: (result: T) => string): Promise<T> {
    if (this.#live) process.stdout.write(`  … ${title}\r`);
    const started = performance.now();
    try {
      const result = await action();
      const said = note?.(result);
      const took = `${((performance.now() - started) / 1000).toFixed(1)} s`;
      console.log(`  ${this.#paint("32", "✓")} ${title}${said ? `: ${said}` : ""} ${this.#paint("2", took)}`);
      this.#steps++;
      return result;
    } catch (error) {
      console.log(`  ${this.#paint("31", "✗")} ${title}`);
      throw error;
    }
  }

  #paint(code: string, text: string): string {
    return this.#colour ? `\x1b[${code}m${text}\x1b[0m` : text;
  }
}
