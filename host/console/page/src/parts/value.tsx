// Value shows JSON that the page knows nothing about: lists of objects as tables, the rest as text.
import {Table} from "./view"

const most = 12

export function Value({of, label}: {of: unknown; label: string}) {
  const lists = of && typeof of === "object" && !Array.isArray(of)
    ? Object.entries(of).filter((e): e is [string, Record<string, unknown>[]] => isTable(e[1])) : []
  if (isTable(of)) return <Rows rows={of} label={label} />
  if (lists.length > 0) {
    const rest = Object.fromEntries(Object.entries(of as object).filter(([k]) => !lists.some(l => l[0] === k)))
    return <>
      {lists.map(([name, rows]) => <section key={name}><h3>{name}</h3><Rows rows={rows} label={name} /></section>)}
      {Object.keys(rest).length > 0 && <Text of={rest} />}
    </>
  }
  return <Text of={of} />
}

const Text = ({of}: {of: unknown}) => <pre tabIndex={0}>{JSON.stringify(of, null, 2)}</pre>

const isTable = (v: unknown): v is Record<string, unknown>[] =>
  Array.isArray(v) && v.length > 0 && v.every(r => r && typeof r === "object" && !Array.isArray(r))

function Rows({rows, label}: {rows: Record<string, unknown>[]; label: string}) {
  const heads = [...new Set(rows.flatMap(r => Object.keys(r)))].slice(0, most)
  const cell = (v: unknown) => v === undefined || v === null ? "" : typeof v === "object" ? JSON.stringify(v) : String(v)
  return <Table label={label} rows={rows.map((row, n) => ({row, n}))} id={r => String(r.n)}
    columns={heads.map(head => ({head, cell: (r: {row: Record<string, unknown>}) => cell(r.row[head])}))} />
}
