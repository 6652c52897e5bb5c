import { bulkhead } from "./bulkhead.js";
import { button, element } from "./bulkhead.dom.js";

/** missing shows what a list could not read. */
export const missing = errors => (errors ?? []).map(e => element("p", { class: "warn" }, `${[e.cluster, e.namespace].filter(Boolean).join("/")}: ${e.message}${e.detail ? ` (${e.detail})` : ""}`));

/** state is a word in the colour of what it means. */
export const state = (word, good, bad) => element("span", { class: good.includes(word) ? "good" : bad.includes(word) ? "bad" : "quiet" }, word || "unknown");

/** objects shows how the objects of a manifest differ. */
export const objects = list => list.length === 0 ? [element("p", { class: "quiet" }, "No object would change.")] : list.map(o => element("details", { open: list.length < 4, class: "diff" },
  element("summary", {}, `${o.change}: ${[o.kind, o.namespace, o.name].filter(Boolean).join(" ")}`),
  element("pre", { tabindex: "0" }, (o.diff ?? "").split("\n").map(line => element("span", {
    class: line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : undefined,
  }, line + "\n"))), o.omitted && element("p", { class: "quiet" }, "The difference is too large to be shown.")));

/** sure asks before a change, in place: a page has no dialogs of the browser. */
export function sure(place, question, shown, run) {
  const close = () => place.replaceChildren();
  place.replaceChildren(element("section", {}, element("p", {}, question), shown,
    element("div", { class: "acts" }, button("Go on", async () => { await run(); close(); }, { class: "main" }), button("Cancel", close))));
  place.scrollIntoView({ block: "nearest" });
}

/** change calls a route that changes something. */
export async function change(route, body) {
  return (await bulkhead.call(route, { body })).body;
}

/** ago is a time as text. */
export const at = time => time ? new Date(time).toLocaleString() : "";
