// Builds what is shown. Text becomes text and never markup, whatever is in it.

const SVG = "http://www.w3.org/2000/svg";

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (tag, attributes = {}, ...children) =>
  build(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS(SVG, tag), attributes, children);

export const id = (text) => el("span", { class: "id", title: text ?? "" }, text ?? "-");

export const verdict = (decision) => el("span", { class: decision }, decision ?? "-");

export const when = (text) => (text ? text.replace("T", " ").replace(/(\.\d{3})\d*Z$/, "$1").replace("Z", "") : "-");

export function table(titles, rows) {
  const head = el("tr", {}, titles.map((title) => el("th", { scope: "col" }, title)));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}

export const row = (...cells) =>
  el("tr", {}, cells.map((cell) => (cell instanceof Node && cell.tagName === "TD" ? cell : el("td", {}, cell ?? "-"))));

export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", {}, shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

export function failed(error) {
  return el("p", { class: "error", role: "alert" }, `${error.message}${error.reason ? ` (${error.reason})` : ""}`);
}

// Asks a question in a dialog; what `content` gives is shown above the buttons.
export function ask(title, content, yes) {
  const dialog = document.getElementById("dialog");
  return new Promise((resolve) => {
    const close = (answer) => {
      dialog.close();
      resolve(answer);
    };
    dialog.replaceChildren(
      el("h1", {}, title),
      content,
      el(
        "p",
        { class: "bar" },
        el("button", { type: "button", class: "danger", id: "yes", onclick: () => close(true) }, yes),
        el("button", { type: "button", onclick: () => close(false) }, "Cancel"),
      ),
    );
    dialog.oncancel = () => resolve(false);
    dialog.showModal();
  });
}
