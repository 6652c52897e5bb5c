import { bulkhead } from "./bulkhead.js";
import { button, element, field, fill, problem, table } from "./bulkhead.dom.js";
import { at, change, missing, objects, state, sure } from "./common.js";

const good = ["deployed"], bad = ["failed", "pending-install", "pending-upgrade", "pending-rollback", "uninstalling"];

/** releases shows the releases, and one of them below. */
export function releases(place, where) {
  const list = element("section"), one = element("div");
  place.replaceChildren(list, one, bulkhead.can("helm-upgrade") ? install(one, () => load()) : "");
  const load = () => fill(list, async () => {
    const { body } = await bulkhead.call("helm-releases", { query: where() });
    return [element("h2", {}, "Releases"), ...missing(body.errors), table("Releases", [
      { head: "Cluster", cell: r => r.cluster },
      { head: "Namespace", cell: r => r.namespace },
      { head: "Release", cell: r => element("button", { type: "button", onclick: () => show(one, r, load) }, r.name) },
      { head: "State", cell: r => state(r.status, good, bad) },
      { head: "Chart", cell: r => `${r.chart} ${r.version}` },
      { head: "Revision", cell: r => String(r.revision) },
      { head: "Updated", cell: r => at(r.updated) },
    ], body.releases ?? [])];
  });
  load();
}

const target = r => ({ cluster: r.cluster, namespace: r.namespace, release: r.name });

function show(one, r, reload) {
  const history = element("div"), values = element("div"), act = element("div");
  one.replaceChildren(element("section", {},
    element("h2", {}, `${r.cluster}/${r.namespace}/${r.name}`),
    element("div", { class: "acts" },
      bulkhead.can("helm-uninstall") && button("Uninstall", () => sure(act, `Uninstall ${r.name} from ${r.cluster}/${r.namespace}?`, "",
        async () => { await change("helm-uninstall", target(r)); one.replaceChildren(); reload(); }), { class: "danger" }),
      bulkhead.can("helm-test") && button("Test", async () => {
        const body = await change("helm-test", target(r));
        act.replaceChildren(element("pre", {}, body.message + "\n" + (body.tests ?? []).map(t => `${t.name}: ${t.phase}`).join("\n")));
      })),
    act, element("h2", {}, "History"), history, element("h2", {}, "Values"), values));
  fill(history, async () => {
    const { body } = await bulkhead.call("helm-history", { query: target(r) });
    return table("History", [
      { head: "Revision", cell: h => String(h.revision) }, { head: "State", cell: h => state(h.status, good, bad) },
      { head: "Chart", cell: h => `${h.chart} ${h.version}` }, { head: "Updated", cell: h => at(h.updated) }, { head: "", cell: h => h.description },
      { head: "", cell: h => h.revision !== r.revision && bulkhead.can("helm-rollback") && button("Roll back", () => rollback(act, r, h.revision, reload)) },
    ], (body.history ?? []).toReversed());
  });
  fill(values, async () => {
    const { body } = await bulkhead.call("helm-values", { query: target(r) });
    return element("pre", { tabindex: "0" }, typeof body.values === "string" ? body.values : JSON.stringify(body.values, null, 2));
  });
}

/** rollback shows the difference between the revisions before it changes anything. */
async function rollback(act, r, revision, reload) {
  const { body } = await bulkhead.call("helm-diff", { query: { ...target(r), from: String(r.revision), to: String(revision) } });
  sure(act, `Roll ${r.name} back to revision ${revision}?`, objects(body.objects ?? []), async () => {
    await change("helm-rollback", { ...target(r), revision });
    reload();
  });
}

/** install is the form that installs a release or upgrades it, after a dry run. */
function install(one, reload) {
  const input = (name, hint = "") => [name, element("input", { placeholder: hint, autocapitalize: "off" })];
  const inputs = Object.fromEntries([input("cluster", "default"), input("namespace"), input("release"), input("chart", "REPOSITORY/CHART"), input("version", "newest")]);
  const values = element("textarea", { rows: "5", "aria-label": "Values, as YAML", placeholder: "Values, as YAML" });
  const reuse = element("input", { type: "checkbox" });
  const out = element("div");
  const body = () => ({
    ...Object.fromEntries(Object.entries(inputs).map(([k, i]) => [k, i.value.trim()]).filter(([, v]) => v)), values: values.value, resetThenReuseValues: reuse.checked,
  });
  const preview = async () => {
    const asked = body(), told = await change("helm-upgrade", { ...asked, dryRun: true });
    sure(out, `${asked.release} in ${asked.namespace}:`, objects(told.objects ?? []), async () => {
      const done = await change("helm-upgrade", asked);
      out.replaceChildren(done.success ? element("p", { class: "good", role: "status" }, done.message) : problem(new Error(done.message)));
      reload();
    });
  };
  return element("section", {}, element("h2", {}, "Install or upgrade"),
    element("div", { class: "acts" }, Object.entries(inputs).map(([name, i]) => field(name, i))),
    values, element("label", {}, reuse, " keep the values that were set"),
    element("div", { class: "acts" }, button("Preview", preview, { class: "main" })), out);
}
