// The page of azure: what an instance has, and its costs. The operator names the instances.
import { bulkhead } from "./bulkhead.js";
import { button, element, field, fill, table } from "./bulkhead.dom.js";

const name = { head: "Name", cell: r => r.name }, group = { head: "Resource group", cell: r => r.resourceGroup }, place = { head: "Location", cell: r => r.location };
const lists = [
  { id: "groups", title: "Resource groups", route: "resource-groups", rows: b => b.resourceGroups, columns: [name, place] },
  { id: "containers", title: "Containers", route: "container-groups", rows: b => b.containerGroups, columns: [name, group, place, { head: "State", cell: r => r.state }], kind: "containerGroup", acts: ["start", "stop", "restart"], prefix: "container-group-" },
  { id: "clusters", title: "Kubernetes", route: "managed-clusters", rows: b => b.managedClusters, columns: [name, group, place, { head: "State", cell: r => r.powerState ?? r.state }], kind: "managedCluster", acts: ["start", "stop"], prefix: "managed-cluster-" },
  { id: "scale-sets", title: "Scale sets", route: "scale-sets", rows: b => b.virtualMachineScaleSets, columns: [name, group, place] },
  { id: "machines", title: "Machines", route: "virtual-machines", rows: b => b.virtualMachines, columns: [name, group, place, { head: "State", cell: r => r.powerState }] },
  { id: "costs", title: "Costs", route: "actual-cost" },
].filter(l => bulkhead.can(l.route));

const menu = element("nav", { "aria-label": "azure" }), content = element("section");
const instance = element("input", { size: "12", value: bulkhead.path[0] ?? "demo" });

function show() {
  if (bulkhead.path[0]) instance.value = bulkhead.path[0];
  const list = lists.find(l => l.id === bulkhead.path[1]) ?? lists[0];
  menu.replaceChildren(...lists.map(l => element("button", {
    type: "button", class: l === list ? "main" : undefined, "aria-current": l === list ? "page" : undefined, onclick: () => bulkhead.navigate(instance.value, l.id),
  }, l.title)));
  if (!list) return;
  bulkhead.title(`Azure: ${list.title}`);
  fill(content, () => list.id === "costs" ? costs() : resources(list));
}

async function resources(list) {
  const { body } = await bulkhead.call(list.route, { params: { instance: instance.value } });
  const columns = [...list.columns];
  for (const act of list.acts ?? []) {
    const route = list.prefix + act;
    if (bulkhead.can(route)) columns.push({ head: "", cell: r => twice(act, async () => {
      await bulkhead.call(route, { params: { instance: instance.value }, query: { resourceGroup: r.resourceGroup, [list.kind]: r.name } });
      show();
    }) });
  }
  return [element("h2", {}, list.title), ...(body.errors ?? []).map(e => element("p", { class: "warn" }, `${e.resourceGroup}: ${e.message}`)), table(list.title, columns, list.rows(body) ?? [])];
}

/** twice is a button that asks once more. */
function twice(label, run) {
  const spot = element("span");
  const first = () => spot.replaceChildren(button(label, () => spot.replaceChildren(button(`${label}: go on`, run, { class: "danger" }), button("Cancel", first))));
  first();
  return spot;
}

/** costs draws a bar for each service. */
async function costs() {
  const { body } = await bulkhead.call("actual-cost", { params: { instance: instance.value }, query: { timeframe: "MonthToDate", groupBy: ["service"] } });
  const items = (body.items ?? []).toSorted((a, b) => b.cost - a.cost).slice(0, 20);
  const most = Math.max(...items.map(i => i.cost), 1e-9);
  return [element("h2", {}, "Costs of this month"), ...(body.totals ?? []).map(t => element("p", {}, `${t.cost.toFixed(2)} ${t.currency}`)), table("Costs", [
    { head: "Service", cell: i => i.service }, { head: "Cost", cell: i => `${i.cost.toFixed(2)} ${i.currency}` },
    { head: "", cell: i => element("meter", { min: "0", max: String(most), value: i.cost, "aria-label": `${i.service}: ${i.cost.toFixed(2)}` }) },
  ], items)];
}

document.body.append(element("section", {}, element("form", { onsubmit: e => { e.preventDefault(); bulkhead.navigate(instance.value, bulkhead.path[1] ?? lists[0]?.id ?? "groups"); show(); } },
  field("Instance", instance), " ", element("button", {}, "Show")), menu), content);
bulkhead.onNavigate(show);
show();
