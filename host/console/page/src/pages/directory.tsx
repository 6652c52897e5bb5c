import {useLive} from "../live"
import {Card, Loaded, State, Table, Title} from "../parts/view"
import type {DirectoryState} from "../types"
import {words} from "../words"

const w = words.directory

export default function Directory() {
  const state = useLive<DirectoryState>("/api/admin/directory", 5000)
  return <>
    <Title>{w.title}</Title>
    <Loaded of={state}>{s => <>
      <Card title={w.problems}>
        <Table label={w.problems} rows={s.problems} none={w.calm} id={p => p.file + p.line + p.text} columns={[
          {head: w.where, cell: p => <code>{p.file}{p.line ? ":" + p.line : ""}</code>, text: p => p.file},
          {head: w.what, cell: p => [p.kind, p.id].filter(Boolean).join(" ")},
          {head: "", cell: p => p.text},
        ]} />
        <p class="quiet">{w.revision} {s.revision}</p>
      </Card>
      {s.clusters.length > 0 && <Card title={w.clusters}>
        <Table label={w.clusters} rows={s.clusters} id={c => c.cluster} columns={[
          {head: words.common.name, cell: c => c.cluster}, {head: words.common.state, cell: c => <State of={c.problem ? "failing" : c.known ? "ok" : "progressing"} />},
          {head: "", cell: c => c.problem ?? c.objects},
        ]} />
      </Card>}
    </>}</Loaded>
  </>
}
