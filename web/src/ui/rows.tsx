// Rows as a table, and two versions of rows beside each other.

import { count, value } from "../format";
import type { Row, RowDiff } from "../model";
import { Pill } from "./parts";

export function Rows({ rows, label, most = 50 }: { rows: Row[]; label: string; most?: number }) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table class="data">
        <thead>
          <tr>
            {columns.map((name) => (
              <th key={name} class={typeof rows[0]?.[name] === "number" ? "number" : ""}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, most).map((row, at) => (
            <tr key={at}>
              {columns.map((name) => (
                <td key={name} class={typeof row[name] === "number" ? "number" : ""}>
                  {value(row[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Diff({ diff }: { diff: RowDiff }) {
  const same = !diff.changed && !diff.only_old && !diff.only_new;
  const columns = [
    ...Object.keys(diff.columns.added).map((name) => `${name} is new`),
    ...Object.keys(diff.columns.removed).map((name) => `${name} is gone`),
    ...Object.entries(diff.columns.retyped).map(([name, types]) => `${name} was ${types[0]}, is ${types[1]}`),
  ];
  return (
    <article class="diff" aria-label={`Difference of ${diff.sink}`}>
      <h4>
        {diff.sink}{" "}
        <Pill tone={same ? "good" : "warn"} sign={same ? "M3 8.5 6.5 12 13 4.5" : "M8 3v6.5M8 12.6v.1"}>
          {same ? "the same" : "differs"}
        </Pill>
      </h4>
      <ul class="counts">
        <li>
          <b>{count(diff.equal)}</b> equal
        </li>
        <li>
          <b>{count(diff.changed)}</b> changed
        </li>
        <li>
          <b>{count(diff.only_old)}</b> only old
        </li>
        <li>
          <b>{count(diff.only_new)}</b> only new
        </li>
        {diff.epochs && (
          <li class="quiet">
            epochs {count(diff.epochs[0])} to {count(diff.epochs[1])}
          </li>
        )}
      </ul>
      {columns.length > 0 && <p>Columns: {columns.join("; ")}.</p>}
      {diff.limits.map((limit) => (
        <p key={limit} class="hint">
          {limit}
        </p>
      ))}
      {diff.samples.changed?.length ? <Changed rows={diff.samples.changed} sink={diff.sink} /> : null}
      <Only rows={diff.samples.only_old} label={`Only from the old version, ${diff.sink}`} sign="−" />
      <Only rows={diff.samples.only_new} label={`Only from the new version, ${diff.sink}`} sign="+" />
    </article>
  );
}

function Only({ rows, label, sign }: { rows: Row[] | undefined; label: string; sign: string }) {
  if (!rows?.length) return null;
  return (
    <>
      <p class="caption">
        {sign} {label.split(",")[0]}
      </p>
      <Rows rows={rows.map(plain)} label={label} most={8} />
    </>
  );
}

function plain(row: Row): Row {
  return (row["row"] as Row | undefined) ?? row;
}

/** Changed rows: a cell that differs shows both values, the old one struck through and named. */
function Changed({ rows, sink }: { rows: Row[]; sink: string }) {
  const pairs = rows.slice(0, 8).map((one) => ({ before: (one["old"] ?? {}) as Row, after: (one["new"] ?? {}) as Row, epoch: one["epoch"] }));
  const columns = [...new Set(pairs.flatMap((pair) => [...Object.keys(pair.before), ...Object.keys(pair.after)]))];
  return (
    <>
      <p class="caption">Changed rows (old, then new)</p>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Changed rows of ${sink}`}>
        <table class="data">
          <thead>
            <tr>
              {columns.map((name) => (
                <th key={name}>{name}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {pairs.map((pair, at) => (
              <tr key={at}>
                {columns.map((name) => {
                  const [before, after] = [value(pair.before[name]), value(pair.after[name])];
                  return before === after ? (
                    <td key={name}>{after}</td>
                  ) : (
                    <td key={name} class="changed">
                      <del>{before}</del> <ins>{after}</ins>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
