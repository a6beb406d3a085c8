export function LinesView() {
  return <main id="view" tabindex={-1} />;
}
