import {useLive} from "../live"
import {Card, Loaded, State, Title, When} from "../parts/view"
import {can, link, me, plugins, routes} from "../state"
import type {ConfigStatus, DirectoryState, Plugin, Ready} from "../types"
import {words} from "../words"

export default function Home() {
  const who = me.value!
  return <>
    <Title>{words.home.hello(who.name || who.user)}</Title>
    <div class="cards">
      <Attention />
      <Card title={words.home.plugins}>
        {plugins.value.length === 0 ? <p class="quiet">{words.common.none}</p> : <ul class="list">{plugins.value.map(p =>
          <li key={p}><a href={link("features", p)}>{p}</a> <small>{words.home.routes(routes.value.filter(r => r.plugin === p).length)}</small></li>)}</ul>}
      </Card>
      <Card title={words.home.you}>
        <dl>
          <dt>{words.sessions.user}</dt><dd>{who.user}</dd>
          <dt>{words.home.roles}</dt><dd>{who.roles.join(", ") || words.home.noRoles}</dd>
          <dt>{words.home.teams}</dt><dd>{who.teams.join(", ") || words.common.none}</dd>
          <dt>{words.home.method}</dt><dd>{who.login.method}</dd>
          <dt>{words.common.until}</dt><dd><When at={who.login.until} /></dd>
        </dl>
      </Card>
    </div>
  </>
}

/** Attention lists what is not as it should be, as far as the person may see it. */
function Attention() {
  const ready = useLive<Ready>("/readyz", 15000)
  const list = useLive<{plugins: Plugin[]}>(can("admin:plugins.read") ? "/api/admin/plugins" : "", 15000)
  const directory = useLive<DirectoryState>(can("admin:directory.read") ? "/api/admin/directory" : "", 30000)
  const config = useLive<ConfigStatus>(can("admin:config.read") ? "/api/admin/config" : "", 30000)
  return <Card title={words.home.attention}>
    <Loaded of={ready}>{r => {
      const found = [
        ...Object.entries(r.checks).filter(([, v]) => v !== "ok").map(([k, v]) => <li key={k}>{words.home.check} {k}: <State of={v} /></li>),
        ...(list.value?.plugins ?? []).filter(p => p.state !== "active" || p.waiting).map(p =>
          <li key={"p" + p.name}><a href={link("plugins", p.name)}>{p.name}</a> <State of={p.waiting ? "waiting" : p.state} /> <small>{p.because}</small></li>),
        ...(directory.value?.problems.length ? [<li key="d"><a href={link("directory")}>{words.pages.directory}</a>: {directory.value.problems.length} {words.directory.problems}</li>] : []),
        ...(config.value?.refused ? [<li key="c"><a href={link("settings")}>{words.pages.settings}</a>: {words.settings.problem}</li>] : []),
      ]
      return <>
        {found.length ? <ul class="list">{found}</ul> : <p class="quiet">{words.home.calm}</p>}
        {r.clusters && r.clusters.total > 0 && <p class="quiet">{words.home.clusters(r.clusters.ready, r.clusters.total)}</p>}
      </>
    }}</Loaded>
  </Card>
}
