/** "Did you mean": the known name that is nearest to a mistyped one. */

/** Two mistakes, because names that differ by more are other words. */
const mistakesMax = 2;

/** Returns `; did you mean late?`, or nothing if no name is near. */
export function suggestion(typed: string, names: readonly string[]): string {
  const text = typed.slice(0, 64).toLowerCase();
  const [nearest] = names
    .map((name) => ({ name, mistakes: mistakesBetween(text, name) }))
    .filter(({ name, mistakes }) => mistakes <= Math.min(mistakesMax, name.length / 2))
    .sort((a, b) => a.mistakes - b.mistakes);
  return nearest ? `; did you mean ${nearest.name}?` : "";
}

/** The Levenshtein distance: how many letters are added, removed or replaced. */
function mistakesBetween(typed: string, name: string): number {
  let above = Array.from({ length: name.length + 1 }, (_, column) => column);
  for (const [row, letter] of [...typed].entries()) {
    const line = [row + 1];
    for (const [column, other] of [...name].entries()) {
      const replaced = (above[column] ?? 0) + (letter === other ? 0 : 1);
      line.push(Math.min(replaced, (above[column + 1] ?? 0) + 1, (line[column] ?? 0) + 1));
    }
    above = line;
  }
  return above[name.length] ?? 0;
}
