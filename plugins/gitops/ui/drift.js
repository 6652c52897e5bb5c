import { bulkhead } from "./bulkhead.js";
import { element, fill, table } from "./bulkhead.dom.js";
import { at, missing, state } from "./common.js";

/** drift shows what differs from git, by field. */
export function drift(place, where) {
  const list = element("section");
  place.replaceChildren(list);
  fill(list, async () => {
    const { body } = await bulkhead.call("drifts", { query: where() });
    const drifts = body.drifts ?? [];
    return [element("h2", {}, "Drift"), ...missing(body.errors),
      drifts.length === 0 ? element("p", { class: "quiet" }, "Nothing was synced from git here.") : "",
      ...drifts.map(d => element("details", { open: d.drift?.drifted },
        element("summary", {}, state(d.error ? "failed" : d.drift.drifted ? "drifted" : "as in git", ["as in git"], ["failed", "drifted"]),
          ` ${[d.cluster, d.namespace, d.repository, d.path].filter(Boolean).join(" ")} ${at(d.checkedAt)}`),
        d.error ? element("p", { class: "bad" }, d.error) : table("Fields", [
          { head: "Object", cell: r => `${r.kind} ${r.name}` }, { head: "Field", cell: r => r.field },
          { head: "In git", cell: r => r.gitValue }, { head: "In the cluster", cell: r => r.clusterValue },
        ], d.drift.resources ?? [], "Nothing differs.")))];
  });
}
