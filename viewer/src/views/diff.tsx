export function DiffView() {
  return <main id="view" tabindex={-1} />;
}
