// The page of pods: logs of one or many pods, and the way to a terminal in one of them.
import { bulkhead } from "./bulkhead.js";
import { button, element, field } from "./bulkhead.dom.js";

const most = 5000; // lines that are kept
const input = (placeholder, size = "14") => element("input", { placeholder, size, autocapitalize: "off", spellcheck: "false" });
const inputs = {
  cluster: input(""), namespace: input(""), pod: input("one pod"), selector: input("app=web"), owner: input("deployments.apps/web", "20"),
  container: input("all"), match: input("regular expression"), since: input("10m", "8"), tail: element("input", { value: "200", size: "6", inputmode: "numeric" }),
};
const follow = element("input", { type: "checkbox", checked: true }), previous = element("input", { type: "checkbox" });
const told = element("p", { class: "quiet", role: "status" }), missing = element("div"), lines = element("pre", { tabindex: "0", "aria-label": "Log", class: "log" });
let stop, seen = 0;

function show() {
  stop?.();
  lines.replaceChildren();
  missing.replaceChildren();
  seen = 0;
  told.textContent = "";
  const query = Object.fromEntries(Object.entries(inputs).map(([k, i]) => [k, i.value.trim()]).filter(([, v]) => v));
  if (follow.checked) query.follow = "true";
  if (previous.checked) query.previous = "true";
  stop = bulkhead.events("logevents", { query }, event => hear(JSON.parse(event.data)), problem => {
    stop = undefined;
    told.textContent = problem ? `${problem.message}${problem.detail ? ` (${problem.detail})` : ""}` : "The log has ended.";
  });
}

function hear(message) {
  if (message.type === "lines") {
    const below = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
    lines.append(...message.lines.map(l => element("span", {}, element("span", { class: "quiet" }, `${l.pod}${l.container ? "/" + l.container : ""} `), l.text + (l.cut ? " …" : "") + "\n")));
    seen += message.lines.length;
    while (lines.childElementCount > most) lines.firstElementChild.remove();
    told.textContent = `${seen} lines`;
    if (below) lines.scrollTop = lines.scrollHeight;
  } else if (message.type === "missing") {
    missing.append(element("p", { class: "warn" }, `${message.pod}: ${message.reason}`));
  } else if (message.type === "state" && message.state !== "following") {
    lines.append(element("span", { class: "warn" }, `${message.pod}/${message.container} ${message.state} ${message.reason ?? ""}\n`));
  } else if (message.type === "error" || message.type === "warning") {
    missing.append(element("p", { class: "warn" }, message.error ?? message.reason ?? message.text ?? ""));
  }
}

document.body.append(
  element("section", {}, element("form", { class: "form", onsubmit: e => { e.preventDefault(); show(); } },
    ...Object.entries(inputs).map(([name, i]) => field(name, i)),
    element("label", {}, follow, " follow"), element("label", {}, previous, " before the last restart"),
    element("button", { class: "main" }, "Show"), button("Stop", () => { stop?.(); stop = undefined; }),
    button("Terminal", () => {
      const value = name => inputs[name].value.trim();
      if (!value("pod")) throw new Error("Name one pod for a terminal.");
      bulkhead.openTerminal({ cluster: value("cluster"), namespace: value("namespace"), pod: value("pod"), container: value("container") });
    }))),
  missing, told, element("section", {}, lines),
);
