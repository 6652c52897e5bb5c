// The page of a plugin, in a frame of an opaque origin.
import {useSignal} from "@preact/signals"
import {useEffect, useRef} from "preact/hooks"
import {connect} from "../bridge"
import {Title} from "../parts/view"
import {link, loadPerson, pages} from "../state"
import {words} from "../words"

export default function PluginPage({parts: [plugin, ...path]}: {parts: string[]}) {
  const page = pages.value.find(p => p.plugin === plugin)
  useEffect(() => { // a version that replaces this one has another page
    const timer = setInterval(() => { if (document.visibilityState === "visible") loadPerson().catch(() => undefined) }, 3000)
    return () => clearInterval(timer)
  }, [])
  if (!page) return <><Title>{plugin}</Title><p>{words.ui.gone}</p></>
  return <Frame key={page.path} plugin={page.plugin} title={page.title} src={page.path} path={path} />
}

function Frame({plugin, title, src, path}: {plugin: string; title: string; src: string; path: string[]}) {
  const frame = useRef<HTMLIFrameElement>(null)
  const name = useSignal(title)
  const tell = useRef<{navigate(path: string[]): void} | undefined>(undefined)
  useEffect(() => {
    const bridge = connect(frame.current!, plugin, path, text => { name.value = text })
    tell.current = bridge
    return bridge.close
  }, [])
  const address = path.join("/")
  useEffect(() => { tell.current?.navigate(path) }, [address])
  return <>
    <Title actions={<a href={link("features", plugin)}>{words.ui.routes}</a>}>{name.value}</Title>
    <iframe ref={frame} class="plugin-page" title={title} src={src} sandbox="allow-scripts allow-forms" referrerpolicy="no-referrer" />
  </>
}
