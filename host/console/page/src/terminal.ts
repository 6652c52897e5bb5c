// One terminal: xterm.js on the protocol bulkhead.exec.v1.
import {signal, type Signal} from "@preact/signals"
import {FitAddon} from "@xterm/addon-fit"
import {SearchAddon} from "@xterm/addon-search"
import {Terminal as Screen} from "@xterm/xterm"
import {signedOut} from "./api"
import {words} from "./words"

export interface Target { cluster: string; namespace: string; pod: string; container: string; command: string }

export interface Terminal {
  id: number
  title: string
  element: HTMLElement
  recorded: Signal<boolean>
  /** Why the connection ended; undefined while it is open. */
  ended: Signal<{text: string; reasonRequired: boolean} | undefined>
  connect(reason?: string): Promise<void>
  fit(): void
  focus(): void
  find(text: string, back: boolean): void
  close(): void
}

let count = 0

/** openTerminal opens a terminal and returns it when the host has answered the first time. */
export async function openTerminal(target: Target, reason: string): Promise<Terminal> {
  allowStyles()
  const dark = matchMedia("(prefers-color-scheme: dark)").matches
  const screen = new Screen({
    fontFamily: "ui-monospace, monospace", fontSize: 13, scrollback: 10000, screenReaderMode: false,
    theme: dark ? undefined : {background: "#ffffff", foreground: "#1d232a", cursor: "#1d232a", selectionBackground: "#b7d4f0"},
  })
  const fit = new FitAddon()
  const search = new SearchAddon()
  screen.loadAddon(fit)
  screen.loadAddon(search)
  const element = document.createElement("div")
  element.className = "xterm-place"
  const recorded = signal(false)
  const ended = signal<{text: string; reasonRequired: boolean} | undefined>(undefined)
  let socket: WebSocket | undefined
  const tell = (message: object) => { if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)) }
  const encoder = new TextEncoder()
  screen.onData(text => {
    if (socket?.readyState !== WebSocket.OPEN) return
    const bytes = encoder.encode(text)
    for (let at = 0; at < bytes.length; at += 1 << 16) {
      const part = bytes.subarray(at, at + (1 << 16))
      const frame = new Uint8Array(part.length + 1)
      frame.set(part, 1)
      socket.send(frame)
    }
  })
  screen.onResize(({cols, rows}) => tell({type: "resize", cols, rows}))

  const connect = (why = "") => new Promise<void>(done => {
    ended.value = undefined
    recorded.value = false
    const q = new URLSearchParams({cluster: target.cluster, namespace: target.namespace, pod: target.pod, tty: "true", "bulkhead-refusal": "close"})
    if (target.container) q.set("container", target.container)
    for (const part of target.command.trim().split(/\s+/)) if (part) q.append("command", part)
    q.set("cols", String(screen.cols))
    q.set("rows", String(screen.rows))
    if (why) q.set("bulkhead-reason", why)
    let last = ""
    const s = socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/ws/exec?${q}`, ["bulkhead.exec.v1"])
    s.binaryType = "arraybuffer"
    s.onmessage = ({data}) => {
      if (typeof data !== "string") return screen.write(new Uint8Array(data, 1))
      const message = JSON.parse(data)
      if (message.type === "started") {
        recorded.value = message.recorded === true
        done()
      }
      if (message.type === "exit") last = words.terminal.ended(message.exitCode)
      if (message.type === "error") last = message.error
    }
    s.onclose = ({code, reason: text}) => {
      if (socket !== s) return
      if (code === 4401) signedOut.value = true
      ended.value = {
        text: last || words.terminal.closed(text || words.terminal.limits[code] || String(code)),
        reasonRequired: code === 4403 && text === "reason_required",
      }
      done()
    }
  })

  const terminal: Terminal = {
    id: ++count,
    title: [target.cluster, target.namespace, target.pod, target.container].filter(Boolean).join("/"),
    element, recorded, ended, connect,
    fit: () => {
      if (!element.isConnected || element.clientWidth === 0) return
      if (!screen.element) screen.open(element)
      fit.fit()
    },
    focus: () => screen.focus(),
    find: (text, back) => { if (text) back ? search.findPrevious(text) : search.findNext(text) },
    close: () => {
      const s = socket
      socket = undefined
      s?.close()
      screen.dispose()
    },
  }
  await connect(reason)
  return terminal
}

/** allowStyles gives the style elements that xterm.js makes the nonce of the page, without which they have no effect. */
let allowed = false
function allowStyles() {
  if (allowed) return
  allowed = true
  const nonce = document.querySelector<HTMLScriptElement>("script[nonce]")?.nonce
  const create = document.createElement.bind(document)
  document.createElement = ((name: string, options?: ElementCreationOptions) => {
    const element = create(name, options)
    if (nonce && name.toLowerCase() === "style") element.setAttribute("nonce", nonce)
    return element
  }) as typeof document.createElement
}
