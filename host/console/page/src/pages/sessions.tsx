import {call} from "../api"
import {useLive} from "../live"
import {confirm} from "../parts/dialog"
import {Button, Card, Loaded, Table, Title, When, type Column} from "../parts/view"
import {can} from "../state"
import type {Login, Session} from "../types"
import {words} from "../words"

const w = words.sessions

export default function Sessions() {
  const mine = useLive<{logins: Login[]; sessions: Session[]}>("/auth/sessions", 3000)
  return <>
    <Title>{words.pages.sessions}</Title>
    <Card title={w.mine}>
      <Loaded of={mine}>{m => <List sessions={m.sessions} path="/auth/sessions/" reload={mine.reload} label={w.mine} />}</Loaded>
    </Card>
    <Card title={w.logins}>
      <Loaded of={mine}>{m => <>
        <Table label={w.logins} rows={m.logins} id={l => l.id} columns={[
          {head: words.home.method, cell: l => <>{l.method} {l.current && <small>{w.current}</small>}</>},
          {head: words.common.since, cell: l => <When at={l.at} />},
          {head: words.common.until, cell: l => <When at={l.until} />},
          {head: "", cell: l => !l.current && <Button kind="quiet" run={() => end("/auth/sessions/" + l.id, mine.reload)} label={`${w.end} ${l.method}`}>{w.end}</Button>},
        ]} />
        {m.logins.length > 1 && <Button run={() => end("/auth/sessions", mine.reload)}>{w.endAll}</Button>}
      </>}</Loaded>
    </Card>
    {can("admin:sessions.read") && <Everybody />}
  </>
}

function Everybody() {
  const all = useLive<{sessions: Session[]; total: number}>("/api/admin/sessions", 3000)
  return <Card title={w.everybody}>
    <Loaded of={all}>{a => <List sessions={a.sessions} path={can("admin:sessions.end") ? "/api/admin/sessions/" : undefined} reload={all.reload} label={w.everybody} user />}</Loaded>
  </Card>
}

const end = async (path: string, then: () => void) => {
  await call(path, {method: "DELETE"})
  then()
}

function List({sessions, path, reload, label, user}: {sessions: Session[]; path?: string; reload: () => void; label: string; user?: boolean}) {
  const columns: Column<Session>[] = [
    {head: w.kind, cell: s => s.kind},
    {head: w.route, cell: s => [s.plugin, s.route].filter(Boolean).join(" ")},
    {head: w.target, cell: s => s.target},
    {head: w.started, cell: s => <When at={s.started} />},
    {head: w.from, cell: s => s.remoteAddr},
  ]
  if (user) columns.unshift({head: w.user, cell: s => s.user})
  if (path) columns.push({head: "", cell: s => <Button kind="danger" label={`${w.end}: ${s.plugin} ${s.target ?? ""}`}
    run={() => confirm({title: w.endTitle, text: <p>{s.user} · {s.plugin} · {s.target}<br />{w.endText}</p>, danger: true, run: () => end(path + s.id, reload)})}>{w.end}</Button>})
  return <Table label={label} rows={sessions} id={s => s.id} columns={columns} none={w.none} />
}
