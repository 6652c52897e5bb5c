// The command palette: Ctrl-K or Cmd-K, everywhere.
import {signal, useComputed, useSignal} from "@preact/signals"
import {useEffect} from "preact/hooks"
import {link, pages, plugins, routes} from "../state"
import {words} from "../words"
import {Modal} from "./dialog"
import {sections} from "../sections"

export const paletteOpen = signal(false)

addEventListener("keydown", e => {
  if (e.key.toLowerCase() === "k" && (e.ctrlKey || e.metaKey) && !e.altKey && !(e.target as Element).closest?.(".xterm")) {
    e.preventDefault()
    paletteOpen.value = !paletteOpen.value
  }
})

export function Palette() {
  return paletteOpen.value ? <Open /> : null
}

function Open() {
  const text = useSignal("")
  const at = useSignal(0)
  const close = () => { paletteOpen.value = false }
  const all = useComputed(() => [
    ...sections.value.map(s => ({label: s.title, to: link(s.id)})),
    ...pages.value.map(p => ({label: p.title, to: link("ui", p.plugin)})),
    ...plugins.value.map(p => ({label: `${words.features.title}: ${p}`, to: link("features", p)})),
    ...routes.value.map(r => ({label: `${r.plugin} ${r.name}`, to: link("features", r.plugin, r.name)})),
  ])
  const found = useComputed(() => {
    const parts = text.value.toLowerCase().split(/\s+/)
    return all.value.filter(i => parts.every(p => i.label.toLowerCase().includes(p))).slice(0, 12)
  })
  useEffect(() => { at.value = 0 }, [text.value])
  const choose = (to?: string) => {
    if (!to) return
    close()
    location.hash = to
  }
  const key = (e: KeyboardEvent) => {
    const n = found.value.length
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault()
      if (n) at.value = (at.value + (e.key === "ArrowDown" ? 1 : n - 1)) % n
    } else if (e.key === "Enter") {
      e.preventDefault()
      choose(found.value[at.value]?.to)
    }
  }
  return <Modal title={words.palette.title} close={close}>
    <input autofocus role="combobox" aria-expanded="true" aria-controls="found" aria-activedescendant={`found-${at.value}`}
      aria-label={words.palette.placeholder} placeholder={words.palette.placeholder} value={text.value}
      onInput={e => { text.value = e.currentTarget.value }} onKeyDown={key} />
    <ul id="found" role="listbox" aria-label={words.palette.title} class="found">
      {found.value.map((i, n) => <li key={i.to} id={`found-${n}`} role="option" aria-selected={n === at.value} onClick={() => choose(i.to)}>{i.label}</li>)}
    </ul>
    {found.value.length === 0 && <p class="quiet" role="status">{words.palette.none}</p>}
  </Modal>
}
