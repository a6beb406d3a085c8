/* What grew and what shrank against the older profile, by line, the largest change first. */
import { computed } from "@preact/signals";
import { app } from "../app.ts";
import { type Group, groupsOf } from "../data/groups.ts";
import { go, state } from "../state.ts";
import { clean, count, signedSize, size } from "../text.ts";
import { Growth, openSite } from "../ui/bits.tsx";
import { type Column, Grid, sorted } from "../ui/grid.tsx";

const lines = computed(() => (app.value?.old ? groupsOf(app.value, "lines") : []));

function Both({ change, most }: { change: number; most: number }) {
  const width = most > 0 ? (50 * Math.abs(change)) / most : 0;
  return (
    <span class="both" aria-hidden="true">
      <i
        class={change > 0 ? "grown" : "shrunk"}
        style={change > 0 ? { left: "50%", width: `${width}%` } : { right: "50%", width: `${width}%` }}
      />
    </span>
  );
}

export function DiffView() {
  const a = app.value!;
  const s = state.value;
  const needle = s.filter.toLowerCase();
  const rows = lines.value.filter(
    (row) =>
      (row.bytes !== row.before || row.blocks !== row.beforeBlocks) &&
      (needle === "" || `${row.place} ${row.name}`.toLowerCase().includes(needle)) &&
      (!a.matches.value || a.matches.value[row.key]),
  );
  const change = (row: Group) => row.bytes - row.before;
  const most = rows.reduce((top, row) => Math.max(top, Math.abs(change(row))), 0);
  const sum = (pick: (row: Group) => number) => rows.reduce((all, row) => all + pick(row), 0);
  const columns: Column<Group>[] = [
    {
      id: "growth",
      title: "Growth",
      number: true,
      width: "118px",
      sort: (row) => Math.abs(change(row)),
      cell: (row) => <Growth now={row.bytes} before={row.before} />,
      foot: signedSize(sum(change)),
    },
    {
      id: "bar",
      title: "",
      number: true,
      width: "130px",
      sort: change,
      cell: (row) => <Both change={change(row)} most={most} />,
    },
    {
      id: "before",
      title: "Before",
      number: true,
      width: "96px",
      sort: (row) => row.before,
      cell: (row) => size(row.before),
    },
    {
      id: "bytes",
      title: "Now",
      number: true,
      width: "96px",
      sort: (row) => row.bytes,
      cell: (row) => size(row.bytes),
    },
    {
      id: "blocks",
      title: "Blocks",
      number: true,
      width: "100px",
      sort: (row) => row.blocks - row.beforeBlocks,
      cell: (row) => (
        <Growth
          now={row.blocks}
          before={row.beforeBlocks}
          text={(n) => (n > 0 ? `+${count(n)}` : n < 0 ? `\u2212${count(-n)}` : "±0")}
        />
      ),
    },
    {
      id: "place",
      title: "Line",
      width: "24%",
      sort: (row) => row.place || row.name,
      cell: (row) => (
        <>
          <b title={a.names.path(row.key)}>{row.place || row.name}</b>
          {a.names.isGone(row.key) && <span class="dim"> none now</span>}
          {row.before === 0 && row.bytes > 0 && !a.names.isGone(row.key) && <span class="dim"> new</span>}
        </>
      ),
    },
    { id: "name", title: "Function", width: "16%", sort: (row) => row.name, cell: (row) => row.name },
    { id: "source", title: "Source", sort: (row) => row.source, cell: (row) => <code class="dim">{row.source}</code> },
  ];
  const now = a.weights.value.total.bytes;
  const before = a.oldWeights.value?.total.bytes ?? 0;
  return (
    <main id="view" tabindex={-1}>
      <div class="toolbar" role="toolbar" aria-label="Growth">
        <span>
          <Growth now={now} before={before} /> {clean(a.title(a.selection.value))}: {size(before)} before, {size(now)}{" "}
          now
        </span>
        <span class="spring" />
        <input
          class="field"
          type="search"
          placeholder="Filter"
          aria-label="Filter rows"
          value={s.filter}
          onInput={(event) => go({ filter: event.currentTarget.value }, "replace")}
        />
      </div>
      {rows.length === 0 ? (
        <p class="empty">Nothing changed in this selection.</p>
      ) : (
        <Grid
          label="Growth by line"
          columns={columns}
          rows={sorted(rows, columns, s.sort)}
          sort={s.sort}
          onSort={(sort) => go({ sort }, "replace")}
          onOpen={(row) => openSite(row.key)}
          rowKey={(row) => row.id}
        />
      )}
    </main>
  );
}
