// The bridge between a plugin's page and the console that frames it. See bulkhead.d.ts.
// Every message goes through one MessagePort, which the console hands over once.

/** An answer that is not a success: of the host, of policy, or of the plugin. */
export class Refusal extends Error {
  constructor({status, error, detail, requestId}) {
    super(error || "the request failed");
    this.status = status;
    this.detail = detail;
    this.requestId = requestId;
  }
}

const hello = await new Promise(resolve => {
  addEventListener("message", function first(e) {
    if (e.source !== parent || e.data?.bulkhead !== 1 || !e.ports[0]) return;
    removeEventListener("message", first);
    resolve({...e.data, port: e.ports[0]});
  });
  parent.postMessage({bulkhead: 1, ready: true}, "*"); // it says nothing but that the page is here
});

const {port, plugin, routes} = hello;
const waiting = new Map(); // by number: what a call resolves, or who hears a stream
const listeners = {navigate: new Set(), theme: new Set()};
let last = 0, theme = hello.theme, path = hello.path;

const show = () => { document.documentElement.dataset.theme = theme; };
show();

port.onmessage = ({data}) => {
  const to = waiting.get(data.id);
  if (data.kind === "answer") {
    waiting.delete(data.id);
    data.ok ? to?.resolve({status: data.status, body: data.body}) : to?.reject(new Refusal(data));
  } else if (data.kind === "event") {
    to?.event({event: data.event, data: data.data, id: data.last});
  } else if (data.kind === "end") {
    waiting.delete(data.id);
    to?.end(data.problem ? new Refusal(data.problem) : undefined);
  } else if (data.kind === "theme") {
    theme = data.theme;
    show();
    for (const f of listeners.theme) f(theme);
  } else if (data.kind === "navigate") {
    path = data.path;
    for (const f of listeners.navigate) f(path);
  }
};
port.start();

const tell = message => port.postMessage(message);
const on = kind => f => { listeners[kind].add(f); return () => listeners[kind].delete(f); };

export const bulkhead = {
  plugin,
  routes,
  get theme() { return theme; },
  get path() { return path; },
  onTheme: on("theme"),
  onNavigate: on("navigate"),
  /** Whether the person may use this route. */
  can: name => routes.some(r => r.name === name),
  call: (route, {params, query, body} = {}) => new Promise((resolve, reject) => {
    const id = ++last;
    waiting.set(id, {resolve, reject});
    tell({kind: "call", id, route, params, query, body});
  }),
  events(route, {params, query, names} = {}, event, end = () => {}) {
    const id = ++last;
    waiting.set(id, {event, end});
    tell({kind: "events", id, route, params, query, names});
    return () => { if (waiting.delete(id)) tell({kind: "stop", id}); };
  },
  navigate: (...parts) => tell({kind: "navigate", path: parts.map(String)}),
  title: text => tell({kind: "title", text: String(text)}),
  openTerminal: ({cluster, namespace, pod, container = ""}) => tell({kind: "terminal", target: {cluster, namespace, pod, container}}),
};
