// The page of echo: it shows what the plugin was asked, and counts ticks.
import { bulkhead } from "./bulkhead.js";
import { button, element, field } from "./bulkhead.dom.js";

const text = element("input", { value: "hello", maxlength: "200" });
const answer = element("pre", { "aria-live": "polite", tabindex: "0" });
const send = async () => {
  answer.textContent = "";
  answer.textContent = (await bulkhead.call("echo-get", { query: { text: text.value } })).body;
};

const seen = element("pre", { "aria-live": "polite", tabindex: "0" });
const count = () => {
  seen.textContent = "";
  bulkhead.events("ticks", { query: { n: "10" } }, event => { seen.textContent += event.data + " "; },
    problem => { seen.textContent += problem ? problem.message : "the end"; });
};

document.body.append(
  element("section", {}, element("h2", {}, "Echo"), field("Text", text), " ", button("Send", send, { class: "main" }), answer),
  element("section", {}, element("h2", {}, "Ticks"), button("Count to ten", count), seen),
);
