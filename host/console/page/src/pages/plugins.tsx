import {call} from "../api"
import {useLive} from "../live"
import {Compared} from "../parts/compared"
import {confirm} from "../parts/dialog"
import {Install} from "../parts/install"
import {Button, Card, Digest, Loaded, Problem, State, Table, Title, When} from "../parts/view"
import {can, go, link} from "../state"
import type {Catalog, Plugin, Version} from "../types"
import {words} from "../words"

const w = words.plugins

export default function Plugins({parts}: {parts: string[]}) {
  return parts[0] ? <One key={parts[0]} name={parts[0]} /> : <All />
}

function All() {
  const list = useLive<{plugins: Plugin[]}>("/api/admin/plugins", 3000)
  return <>
    <Title>{w.list}</Title>
    <Card>
      <Loaded of={list}>{l => <Table label={w.list} rows={l.plugins} id={p => p.name} columns={[
        {head: words.common.name, cell: p => <a href={link("plugins", p.name)}>{p.name}</a>, text: p => p.name},
        {head: words.common.state, cell: p => <State of={p.waiting ? "waiting" : p.state} />, text: p => p.state},
        {head: words.common.version, cell: p => p.serve?.version ?? p.replicas.find(r => r.version)?.version},
        {head: w.canary, cell: p => p.canary?.version},
        {head: w.origin, cell: p => w.origins[p.origin] ?? p.origin},
        {head: w.replicas, cell: p => p.replicas.length},
      ]} />}</Loaded>
    </Card>
    {can("admin:plugins.catalog.read") && <Catalogs />}
    {can("admin:plugins.install") && <Card title={w.install}><Install /></Card>}
  </>
}

function Catalogs() {
  const list = useLive<{catalogs: (Catalog & {name?: string})[]}>("/api/admin/catalog", 60000)
  return <Card title={w.catalog}>
    <Loaded of={list}>{l => l.catalogs.length === 0 ? <p class="quiet">{w.noCatalog}</p> : l.catalogs.map(c => <div key={c.source}>
      <h3>{c.source}</h3>
      <Problem error={c.problem} />
      <Table label={c.source} rows={c.plugins ?? []} id={p => p.name + p.version} columns={[
        {head: words.common.name, cell: p => p.name}, {head: words.common.version, cell: p => p.version},
        {head: "", cell: p => p.description}, {head: w.grants, cell: p => p.capabilities?.join(", ")},
      ]} />
    </div>)}</Loaded>
  </Card>
}

function One({name}: {name: string}) {
  const path = "/api/admin/plugins/" + encodeURIComponent(name)
  const one = useLive<Plugin>(path, 2000)
  const post = (what: string, json: unknown) => call(`${path}/${what}`, {method: "POST", json}).then(one.reload)
  return <>
    <Title actions={<a href={link("plugins")}>{w.list}</a>}>{name}</Title>
    <Loaded of={one}>{p => <>
      <Card>
        <p><State of={p.state} /> {p.because}</p>
        <dl>
          <dt>{w.origin}</dt><dd>{w.origins[p.origin] ?? p.origin}</dd>
          {p.serve && <><dt>{words.common.version}</dt><dd><Named of={p.serve} /></dd></>}
          {p.by && <><dt>{words.sessions.user}</dt><dd>{p.by} <When at={p.at} /></dd></>}
        </dl>
        {p.origin === "api" && can("admin:plugins.remove") && <Button kind="danger" run={() => confirm({
          title: w.removeTitle(name), danger: true, run: async () => {
            await call(`${path}?revision=${p.revision ?? 0}`, {method: "DELETE"})
            go("plugins")
          },
        })}>{w.remove}</Button>}
      </Card>
      {p.waiting && <Card title={w.approveTitle}>
        <Compared of={p.waiting.comparison} />
        {can("admin:plugins.approve") && <Button kind="main" run={() => post("approve", {consent: p.waiting!.comparison.digest})}>{w.approve}</Button>}
      </Card>}
      {p.canary && <Card title={w.canary}>
        <p><Named of={p.canary} /> {p.canary.rule?.percent !== undefined && <>{p.canary.rule.percent} %</>}</p>
        <div class="actions">
          {can("admin:plugins.promote") && <Button kind="main" run={() => confirm({title: w.promoteTitle(name), run: () => post("promote", {revision: p.revision ?? 0})})}>{w.promote}</Button>}
          {can("admin:plugins.rollback") && <Button run={() => confirm({title: w.rollbackTitle(name), run: () => post("rollback", {revision: p.revision ?? 0})})}>{w.rollback}</Button>}
        </div>
      </Card>}
      <Card title={w.replicas}>
        <Table label={w.replicas} rows={p.replicas} id={r => r.replica} columns={[
          {head: w.replica, cell: r => <><code>{r.replica.slice(0, 8)}</code> {r.self && <small>{w.self}</small>}</>},
          {head: words.common.state, cell: r => <State of={r.fresh ? w.fresh : w.stale} />},
          {head: w.phase, cell: r => r.phase},
          {head: words.common.version, cell: r => <>{r.version} <Digest of={r.digest} /></>},
          {head: w.generation, cell: r => r.generation},
          {head: w.problem, cell: r => r.reason ?? r.refused ? <>{r.step}: {r.reason ?? r.refused}</> : null},
        ]} />
      </Card>
      {(p.earlier?.length ?? 0) > 0 && <Card title={w.history}>
        <Table label={w.history} rows={p.earlier!} id={v => v.digest + v.at} columns={[
          {head: words.common.version, cell: v => <Named of={v} />},
          {head: words.common.since, cell: v => <When at={v.at} />},
          {head: words.sessions.user, cell: v => v.by},
          {head: "", cell: v => can("admin:plugins.rollback") && <Button label={`${w.rollback}: ${v.version ?? v.digest}`}
            run={() => confirm({title: w.rollbackTitle(name), text: <p><Named of={v} /></p>, run: () => post("rollback", {revision: p.revision ?? 0, digest: v.digest})})}>{w.rollback}</Button>},
        ]} />
      </Card>}
      {p.origin === "api" && can("admin:plugins.install") && <Card title={w.install}><Install name={name} revision={p.revision} /></Card>}
    </>}</Loaded>
  </>
}

const Named = ({of}: {of: Version}) => <>{of.plugin} {of.version} <Digest of={of.digest} /> <small>{of.source}</small></>
