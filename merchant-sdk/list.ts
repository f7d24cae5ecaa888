/** Lists that the API returns in pages. */

export interface Page<Item> {
  data: Item[];
  /** The `cursor` of the next page; null at the end. */
  nextCursor: string | null;
}

/** A list that is read while it is iterated, page by page. Each iteration reads it again from its start. */
export interface List<Item, PageOfItems extends Page<Item> = Page<Item>> extends AsyncIterable<Item> {
  /** Reads the first page only. */
  page(): Promise<PageOfItems>;
  /** Iterates over the pages. */
  pages(): AsyncIterable<PageOfItems>;
}

/** `read` reads the page at a cursor; without one, the first page. */
export function createList<Item, PageOfItems extends Page<Item>>(
  read: (cursor: string | undefined) => Promise<PageOfItems>,
  firstCursor: string | undefined,
): List<Item, PageOfItems> {
  async function* pages(): AsyncGenerator<PageOfItems, void, undefined> {
    let cursor = firstCursor;
    do {
      const page = await read(cursor);
      yield page;
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
  }
  return {
    page: () => read(firstCursor),
    pages,
    async *[Symbol.asyncIterator]() {
      for await (const { data } of pages()) yield* data;
    },
  };
}
