export function SourceView() {
  return <main id="view" tabindex={-1} />;
}
