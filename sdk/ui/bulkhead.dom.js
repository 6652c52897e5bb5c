// A few elements for pages that want no library. Text is always text, never markup.

/** element makes an element: element("button", {class: "main", onclick: f}, "Send"). Children are nodes, texts, lists of them, or nothing. */
export function element(name, props = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else if (key === "value") e.value = value;
    else e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...children.flat(Infinity).filter(c => c !== undefined && c !== null && c !== false));
  return e;
}

/** table shows rows; columns are {head, cell: row => node or text}. */
export function table(label, columns, rows, none = "None.") {
  if (rows.length === 0) return element("p", { class: "quiet" }, none);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    element("table", {},
      element("thead", {}, element("tr", {}, columns.map(c => element("th", { scope: "col" }, c.head)))),
      element("tbody", {}, rows.map(row => element("tr", {}, columns.map(c => element("td", {}, c.cell(row) ?? "")))))));
}

/** problem shows why something failed. */
export const problem = error => element("div", { role: "alert" }, element("p", {}, error.message),
  error.detail && element("p", {}, element("code", {}, error.detail)), error.requestId && element("p", { class: "quiet" }, `request id ${error.requestId}`));

/** button runs an action once at a time and shows its error behind itself. Its label is also its name. */
export function button(label, run, props = {}) {
  const place = element("span");
  const b = element("button", {
    type: "button", ...props, onclick: async () => {
      b.disabled = true;
      place.replaceChildren();
      try {
        await run();
      } catch (error) {
        place.replaceChildren(problem(error));
      } finally {
        b.disabled = false;
      }
    },
  }, label);
  return element("span", {}, b, place);
}

/** fill shows in place what load returns, "Loading …" until then, or why it failed. */
export async function fill(place, load) {
  place.replaceChildren(element("p", { class: "quiet" }, "Loading …"));
  try {
    place.replaceChildren(...[await load()].flat());
  } catch (error) {
    place.replaceChildren(problem(error));
  }
}

/** field is a labelled input. */
export const field = (label, input) => element("label", {}, label, " ", input);
