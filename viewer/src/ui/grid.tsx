/* A table of any length: rows of one height, of which only those that are seen are in the document. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const ROW = 26;
const SPARE = 12;

export interface Column<T> {
  id: string;
  title: string;
  hint?: string;
  width?: string;
  number?: boolean;
  sort: (row: T) => number | string;
  cell: (row: T) => ComponentChildren;
  foot?: ComponentChildren;
}

/** "-bytes" sorts the other way round than the column's own: numbers begin with the largest, text with a. */
export function sorted<T>(rows: T[], columns: Column<T>[], sort: string): T[] {
  const reverse = sort.startsWith("-");
  const column = columns.find(({ id }) => id === sort.replace(/^-/, "")) ?? columns[0]!;
  const sign = (column.number ? -1 : 1) * (reverse ? -1 : 1);
  const keyed = rows.map((row, at) => ({ row, at, key: column.sort(row) }));
  keyed.sort((x, y) => {
    if (x.key === y.key) return x.at - y.at;
    if (typeof x.key === "number" && typeof y.key === "number") return (x.key - y.key) * sign;
    return String(x.key).localeCompare(String(y.key), "en", { numeric: true }) * sign;
  });
  return keyed.map(({ row }) => row);
}

export function Grid<T>({
  label,
  columns,
  rows,
  sort,
  onSort,
  onOpen,
  rowKey,
}: {
  label: string;
  columns: Column<T>[];
  rows: T[] /* sorted */;
  sort: string;
  onSort: (sort: string) => void;
  onOpen?: (row: T) => void;
  rowKey: (row: T) => string | number;
}) {
  const host = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(900);
  const focusRow = useRef(-1);
  useLayoutEffect(() => {
    const element = host.current!;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    setHeight(element.clientHeight);
    return () => observer.disconnect();
  }, []);
  const current = sort.replace(/^-/, "") || columns[0]!.id;
  const from = Math.max(0, Math.floor(top / ROW) - SPARE);
  const to = Math.min(rows.length, Math.ceil((top + height) / ROW) + SPARE);
  useEffect(() => {
    if (focusRow.current < 0) return;
    const row = host.current?.querySelector<HTMLElement>(`[data-row="${focusRow.current}"]`);
    row?.focus({ preventScroll: true });
    focusRow.current = -1;
  });
  const move = (to: number) => {
    const element = host.current!;
    const at = Math.max(0, Math.min(rows.length - 1, to));
    const y = at * ROW;
    const room = element.clientHeight - 30 - ROW;
    if (y < element.scrollTop) element.scrollTop = y;
    else if (y + ROW > element.scrollTop + room) element.scrollTop = y + ROW - room;
    focusRow.current = at;
    setTop(element.scrollTop);
    /* already there: no new drawing comes */
    const row = element.querySelector<HTMLElement>(`[data-row="${at}"]`);
    if (row) {
      row.focus({ preventScroll: true });
      focusRow.current = -1;
    }
  };
  const onKey = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    const at = Number(target.dataset.row ?? Number.NaN);
    if (Number.isNaN(at)) return;
    const page = Math.max(1, Math.floor(height / ROW) - 3);
    const to: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: rows.length - 1,
    };
    if (event.key === "Enter" && rows[at] && onOpen) onOpen(rows[at]);
    else if (to[event.key] !== undefined) move(to[event.key]!);
    else return;
    event.preventDefault();
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys of the rows within
    <div class="grid" ref={host} onScroll={(event) => setTop(event.currentTarget.scrollTop)} onKeyDown={onKey}>
      <table aria-label={label} aria-rowcount={rows.length + 1}>
        <colgroup>
          {columns.map((column) => (
            <col key={column.id} style={column.width ? { width: column.width } : undefined} />
          ))}
        </colgroup>
        <thead>
          <tr>
            {columns.map((column) => {
              const active = column.id === current;
              const down = active && !sort.startsWith("-") === (column.number === true);
              return (
                <th
                  key={column.id}
                  scope="col"
                  class={column.number ? "number" : undefined}
                  aria-sort={active ? (down ? "descending" : "ascending") : undefined}
                >
                  <button
                    type="button"
                    aria-label={column.title === "" ? "Bar" : undefined}
                    title={column.hint}
                    onClick={() => onSort(active && !sort.startsWith("-") ? `-${column.id}` : column.id)}
                  >
                    {active ? (down ? "↓ " : "↑ ") : ""}
                    {column.title}
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {from > 0 && (
            <tr class="filler" style={{ height: `${from * ROW}px` }}>
              <td colspan={columns.length} />
            </tr>
          )}
          {rows.slice(from, to).map((row, i) => (
            <tr
              key={rowKey(row)}
              data-row={from + i}
              aria-rowindex={from + i + 2}
              tabindex={from + i === 0 || i === 0 ? 0 : -1}
              class={onOpen ? "opens" : undefined}
              onClick={onOpen ? () => onOpen(row) : undefined}
            >
              {columns.map((column) => (
                <td key={column.id} class={column.number ? "number" : undefined}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
          {to < rows.length && (
            <tr class="filler" style={{ height: `${(rows.length - to) * ROW}px` }}>
              <td colspan={columns.length} />
            </tr>
          )}
        </tbody>
        <tfoot>
          <tr>
            {columns.map((column) => (
              <td key={column.id} class={column.number ? "number" : undefined}>
                {column.foot ?? ""}
              </td>
            ))}
          </tr>
        </tfoot>
      </table>
    </div>
  );
}

/** Saves a table of texts and numbers as CSV (RFC 4180). Cells that a spreadsheet would run as formulas are quoted as text. */
export function saveCsv(name: string, header: string[], rows: (string | number)[][]): void {
  const cell = (value: string | number) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const text = [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  const url = URL.createObjectURL(new Blob([`${text}\r\n`], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
