/** Reads a paged list whole. */
export const PAGE_SIZE = 500;

export async function all<R extends { nextPageToken: string }, T>(fetch: (pageToken: string) => Promise<R>, items: (page: R) => readonly T[]): Promise<T[]> {
  const collected: T[] = [];
  for (let token = ""; ; ) {
    const page = await fetch(token);
    collected.push(...items(page));
    token = page.nextPageToken;
    if (token === "") return collected;
  }
}
