// Who is logged in, to which zone, and which page is shown.

import { hold, isHeld, items } from "/console/api.js";
import { el, failed } from "/console/dom.js";
import * as gateways from "/console/gateways.js";
import * as live from "/console/live.js";
import * as policies from "/console/policies.js";
import * as sessions from "/console/sessions.js";
import * as story from "/console/story.js";

const PAGES = { live, request: story, sessions, policies, gateways };
const main = document.getElementById("main");
const choice = document.getElementById("zone");

let zones = [];
let leaving = new AbortController();

function login(message) {
  leaving.abort();
  hold(null);
  for (const part of ["nav", "zone-choice", "leave"]) document.getElementById(part).hidden = true;
  const token = el("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const said = el("div", {}, message ?? null);
  const form = el(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        hold(token.value.trim());
        try {
          zones = await items("/v1/zones");
          enter();
        } catch (error) {
          hold(null);
          said.replaceChildren(failed(error));
        }
      },
    },
    el("label", { for: "token" }, "Admin token"),
    token,
    el("button", { id: "enter" }, "Log in"),
    said,
    el("p", { class: "quiet" }, "The token is held by this page alone and is gone when it is closed."),
  );
  main.replaceChildren(el("div", { class: "login panel" }, el("h1", {}, "Caracal console"), form));
  token.focus();
}

function enter() {
  for (const part of ["nav", "zone-choice", "leave"]) document.getElementById(part).hidden = false;
  choice.replaceChildren(...zones.map((zone) => el("option", { value: zone.id }, zone.slug)));
  route();
}

function route() {
  if (!isHeld()) return login();
  leaving.abort();
  leaving = new AbortController();
  const [, name, argument] = location.hash.match(/^#\/([a-z]+)(?:\/(.*))?$/) ?? [null, "live"];
  const page = PAGES[name] ?? live;
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.getAttribute("href") === `#/${name}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const zone = zones.find(({ id }) => id === choice.value);
  if (!zone) {
    main.replaceChildren(el("p", { class: "quiet" }, "There is no zone yet: caracal zone create NAME"));
    return;
  }
  Promise.resolve(page.show(zone, main, leaving.signal, argument && decodeURIComponent(argument))).catch((error) => {
    if (error.status === 401) login(failed(error));
    else main.replaceChildren(failed(error));
  });
}

window.addEventListener("hashchange", route);
choice.addEventListener("change", route);
document.getElementById("leave").addEventListener("click", () => login());
login();
