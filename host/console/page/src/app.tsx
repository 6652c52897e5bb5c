// The frame around every page: menu, sign-in, what is wrong.
import type {ComponentType} from "preact"
import {useSignal} from "@preact/signals"
import {useEffect} from "preact/hooks"
import {call, offline, reason, Refusal, send, signedOut} from "./api"
import {changed} from "./live"
import {Dialogs, Modal} from "./parts/dialog"
import {Palette, paletteOpen} from "./parts/palette"
import {Button, Card, Field, Problem, Title} from "./parts/view"
import {pluginPage, sections} from "./sections"
import {link, loadPerson, me, offered, pages, place} from "./state"
import {words} from "./words"

const signInURL = () => "/login?redirect=" + encodeURIComponent("/" + location.hash)

export function App() {
  const problem = useSignal<unknown>(undefined)
  useEffect(() => {
    loadPerson().catch(e => {
      if (e instanceof Refusal && e.status === 401) location.assign(signInURL())
      else problem.value = e
    })
  }, [])
  if (!me.value) return problem.value
    ? <main class="alone"><Problem error={problem.value} /><a href="">{words.common.reload}</a></main>
    : <main class="alone quiet" aria-busy="true">{words.common.loading}</main>
  return <>
    <a class="skip" href="#content" onClick={e => { e.preventDefault(); document.getElementById("content")?.focus() }}>{words.common.skip}</a>
    <Menu />
    <main id="content" tabIndex={-1}>
      {offline.value && <p class="problem" role="status">{words.session.offline}</p>}
      <Page />
    </main>
    <Palette />
    <Dialogs />
    {signedOut.value && <SignedOut />}
  </>
}

function Menu() {
  const here = place.value[0] ?? "home"
  const signOut = async () => {
    const answer = await call<{signOut?: string}>("/auth/logout", {method: "POST", json: {}})
    location.assign(answer?.signOut || "/login")
  }
  return <nav aria-label={words.common.menu}>
    <a class="mark" href="#/home">{words.product}</a>
    <ul>{sections.value.map(s => <li key={s.id}><a href={link(s.id)} aria-current={s.id === here ? "page" : undefined}>{s.title}</a></li>)}</ul>
    {pages.value.length > 0 && <ul aria-label={words.pages.plugins}>{pages.value.map(p => <li key={p.plugin}>
      <a href={link("ui", p.plugin)} aria-current={here === "ui" && place.value[1] === p.plugin ? "page" : undefined}>
        {p.icon && <img src={p.icon} alt="" width={16} height={16} />} {p.title}</a></li>)}</ul>}
    <div class="who">
      <button type="button" class="quiet" onClick={() => { paletteOpen.value = true }}>{words.palette.title} <kbd>Ctrl K</kbd></button>
      <span title={me.value!.user}>{me.value!.name || me.value!.user}</span>
      {reason.value && <span>{words.reason.given}: {reason.value} <Button kind="quiet" run={() => { reason.value = "" }}>{words.reason.forget}</Button></span>}
      <Button kind="quiet" run={signOut}>{words.session.signOut}</Button>
    </div>
  </nav>
}

/** Whether a page was shown before: the first one leaves the focus where a browser puts it. */
let visited = false

/** Page loads the code of the page in view. */
function Page() {
  const [id = "home", ...parts] = place.value
  const section = id === pluginPage.id ? pluginPage : sections.value.find(s => s.id === id) ?? sections.value[0]!
  const view = useSignal<{id: string; part: ComponentType<{parts: string[]}>} | undefined>(undefined)
  const problem = useSignal<unknown>(undefined)
  useEffect(() => {
    problem.value = undefined
    let left = false
    document.title = `${section.title} · ${words.product}`
    section.load().then(m => {
      if (left) return
      view.value = {id: section.id, part: m.default}
      if (visited) requestAnimationFrame(() => document.querySelector<HTMLElement>("main h1")?.focus({preventScroll: true}))
      visited = true
    }, e => { problem.value = e })
    return () => { left = true }
  }, [section.id])
  if (section.action && offered(section.action) === "with a reason") return <AskReason title={section.title} />
  if (problem.value) return <><Problem error={problem.value} /><a href="">{words.common.reload}</a></>
  if (view.value?.id !== section.id) return <p class="quiet" aria-busy="true">{words.common.loading}</p>
  const View = view.value.part
  return <View parts={parts} />
}

function AskReason({title}: {title: string}) {
  const text = useSignal("")
  const submit = (e: Event) => {
    e.preventDefault()
    reason.value = text.value.trim()
  }
  return <>
    <Title>{title}</Title>
    <Card title={words.reason.title}>
      <form class="form" onSubmit={submit}>
        <p>{words.reason.text}</p>
        <Field label={words.common.reason}><input required maxLength={500} value={text.value} onInput={e => { text.value = e.currentTarget.value }} /></Field>
        <button class="main">{words.reason.state}</button>
      </form>
    </Card>
  </>
}

/** SignedOut covers the page and leaves everything that was typed in place. */
function SignedOut() {
  const problem = useSignal<unknown>(undefined)
  const goOn = async () => {
    problem.value = undefined
    const before = me.value?.user
    const answer = await send("/auth/me")
    if (answer.status === 401) throw new Error(words.session.signedOut)
    if ((await answer.json()).user !== before) return location.reload()
    await loadPerson()
    changed()
  }
  return <Modal title={words.session.signedOutTitle}>
    <p>{words.session.signedOut}</p>
    <div class="actions">
      <a class="button" href="/login" target="_blank" rel="noopener">{words.session.openSignIn}</a>
      <Button kind="main" run={goOn}>{words.session.goOn}</Button>
    </div>
  </Modal>
}
