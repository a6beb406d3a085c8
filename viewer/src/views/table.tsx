/* Everything by line, function, module and so on: sortable, to be filtered, of any length, and as CSV. */
import { computed } from "@preact/signals";
import { app } from "../app.ts";
import { GROUPINGS, type Group, type Grouping, groupsOf } from "../data/groups.ts";
import { go, state } from "../state.ts";
import { clean, count, share, signedSize, size } from "../text.ts";
import { Choice, Growth, Meter, openSite, say } from "../ui/bits.tsx";
import { type Column, Grid, saveCsv, sorted } from "../ui/grid.tsx";

const grouping = computed<Grouping>(() => {
  const asked = state.value.group as Grouping;
  return GROUPINGS.some(({ value }) => value === asked) ? asked : "lines";
});

export const groups = computed(() => (app.value ? groupsOf(app.value, grouping.value) : []));

function filterRows(rows: Group[], filter: string, matches: Uint8Array | null): Group[] {
  const needle = filter.toLowerCase();
  return rows.filter(
    (row) =>
      (needle === "" || `${row.place} ${row.name} ${row.source}`.toLowerCase().includes(needle)) &&
      (!matches || row.key < 0 || matches[row.key]),
  );
}

function openGroup(grouping: Grouping, row: Group): void {
  const a = app.value!;
  if (row.key >= 0) {
    openSite(row.key);
    return;
  }
  const { meta } = a.profile;
  switch (grouping) {
    case "allocators":
      go({ allocator: meta.allocators.indexOf(row.name), group: "lines" });
      break;
    case "threads":
      go({
        thread: meta.threads.findIndex((t, at) => t.base === at && row.name.startsWith(a.profile.threadName(at))),
        group: "lines",
      });
      break;
    case "processes":
      go({ process: meta.processes.findIndex((_, at) => a.profile.processName(at) === row.name), group: "lines" });
      break;
    case "regions":
      if (!row.name.startsWith("(")) go({ region: row.name, group: "lines" });
      break;
    default:
      say("Search frames by name to see where it is in the flame graph");
  }
}

export function columnsOf(
  grouping: Grouping,
  rows: Group[],
  total: { bytes: number; blocks: number },
): Column<Group>[] {
  const a = app.value!;
  const s = state.value;
  const sum = (pick: (row: Group) => number) => rows.reduce((all, row) => all + pick(row), 0);
  const bytes = sum((row) => row.bytes);
  const most = rows.reduce((top, row) => Math.max(top, row.bytes), 0);
  const columns: Column<Group>[] = [
    {
      id: "bytes",
      title: "Bytes",
      number: true,
      width: "106px",
      sort: (row) => row.bytes,
      cell: (row) => size(row.bytes),
      foot: size(bytes),
    },
    {
      id: "share",
      title: "Share",
      number: true,
      width: "74px",
      sort: (row) => row.bytes,
      cell: (row) => share(row.bytes, total.bytes),
      foot: share(bytes, total.bytes),
    },
    {
      id: "bar",
      title: "",
      width: "76px",
      number: true,
      sort: (row) => row.bytes,
      cell: (row) => <Meter part={row.bytes} whole={most} />,
    },
  ];
  if (a.old)
    columns.splice(
      1,
      0,
      {
        id: "growth",
        title: "Growth",
        number: true,
        width: "100px",
        sort: (row) => Math.abs(row.bytes - row.before),
        cell: (row) => <Growth now={row.bytes} before={row.before} />,
        foot: signedSize(bytes - sum((row) => row.before)),
      },
      {
        id: "before",
        title: "Before",
        number: true,
        width: "92px",
        sort: (row) => row.before,
        cell: (row) => size(row.before),
        foot: size(sum((row) => row.before)),
      },
    );
  const events = s.moment === "allocated" || s.moment === "temporary";
  columns.push({
    id: "blocks",
    title: events ? "Allocations" : "Blocks",
    number: true,
    width: "104px",
    sort: (row) => row.blocks,
    cell: (row) => count(row.blocks),
    foot: count(sum((row) => row.blocks)),
  });
  if (grouping === "lines" || grouping === "leaf" || grouping === "functions")
    columns.push({
      id: "below",
      title: "With calls",
      hint: "With everything that it called",
      number: true,
      width: "96px",
      sort: (row) => row.below,
      cell: (row) => (row.below > 0 ? size(row.below) : ""),
    });
  if (s.moment !== "allocated")
    columns.push({
      id: "allocated",
      title: "Allocated",
      hint: "Everything it ever took, freed or not",
      number: true,
      width: "96px",
      sort: (row) => row.allocated,
      cell: (row) => size(row.allocated),
      foot: size(sum((row) => row.allocated)),
    });
  if (!events)
    columns.push({
      id: "allocations",
      title: "Allocations",
      number: true,
      width: "106px",
      sort: (row) => row.allocations,
      cell: (row) => count(row.allocations),
      foot: count(sum((row) => row.allocations)),
    });
  switch (grouping) {
    case "lines":
    case "leaf":
      columns.push(
        {
          id: "place",
          title: "Line",
          width: "22%",
          sort: (row) => row.place || row.name,
          cell: (row) => <b title={a.names.path(row.key)}>{row.place}</b>,
          foot: `${count(rows.length)} lines`,
        },
        { id: "name", title: "Function", width: "16%", sort: (row) => row.name, cell: (row) => row.name },
        {
          id: "source",
          title: "Source",
          sort: (row) => row.source,
          cell: (row) => <code class="dim">{row.source}</code>,
        },
      );
      break;
    case "functions":
      columns.push(
        {
          id: "name",
          title: "Function",
          width: "28%",
          sort: (row) => row.name,
          cell: (row) => <b>{row.name}</b>,
          foot: `${count(rows.length)} functions`,
        },
        { id: "place", title: "File", sort: (row) => row.place, cell: (row) => row.place },
      );
      break;
    default:
      columns.push({
        id: "name",
        title: GROUPINGS.find(({ value }) => value === grouping)!.text,
        sort: (row) => row.name,
        cell: (row) => <b>{clean(row.name)}</b>,
        foot: count(rows.length),
      });
  }
  return columns;
}

export function TableView() {
  const a = app.value!;
  const s = state.value;
  const by = grouping.value;
  const rows = filterRows(groups.value, s.filter, a.matches.value);
  const columns = columnsOf(by, rows, a.weights.value.total);
  const inOrder = sorted(rows, columns, s.sort);
  const choices = GROUPINGS.filter(
    ({ value }) =>
      (value !== "libraries" || a.profile.hasNative) &&
      (value !== "processes" || a.profile.meta.processes.length > 1) &&
      (value !== "regions" || a.profile.hasRegions),
  );
  const csv = () =>
    saveCsv(
      `heapline-${by}.csv`,
      [
        "bytes",
        "blocks",
        "allocated_bytes",
        "allocations",
        ...(a.old ? ["before_bytes", "growth_bytes"] : []),
        "file",
        "line",
        "function",
        "source",
      ],
      inOrder.map((row) => [
        row.bytes,
        row.blocks,
        row.allocated,
        row.allocations,
        ...(a.old ? [row.before, row.bytes - row.before] : []),
        row.key >= 0 ? a.names.path(row.key) : "",
        row.key >= 0 && by !== "functions" ? a.names.line(row.key) : "",
        row.name,
        row.source,
      ]),
    );
  return (
    <main id="view" tabindex={-1}>
      <div class="toolbar" role="toolbar" aria-label="Table">
        <Choice label="By" value={by} choices={choices} onChoose={(group) => go({ group, sort: "" })} />
        <input
          class="field"
          type="search"
          placeholder="Filter"
          aria-label="Filter rows"
          value={s.filter}
          onInput={(event) => go({ filter: event.currentTarget.value }, "replace")}
        />
        <span class="dim">
          {rows.length < groups.value.length ? `${count(rows.length)} of ${count(groups.value.length)}` : ""}
        </span>
        <span class="spring" />
        <button type="button" class="button" onClick={csv}>
          Save CSV
        </button>
      </div>
      {rows.length === 0 ? (
        <p class="empty">
          {groups.value.length === 0
            ? `Nothing ${clean(a.title(a.selection.value))} in this selection.`
            : "No row matches."}
        </p>
      ) : (
        <Grid
          label={`Memory ${a.title(a.selection.value)} by ${by}`}
          columns={columns}
          rows={inOrder}
          sort={s.sort}
          onSort={(sort) => go({ sort }, "replace")}
          onOpen={(row) => openGroup(by, row)}
          rowKey={(row) => row.id}
        />
      )}
    </main>
  );
}
