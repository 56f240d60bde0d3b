// Sessions as a tree, with the delegations between them, and the button that ends them.

import { items, post } from "/console/api.js";
import { ask, el, facts, failed, id, svg, when } from "/console/dom.js";

const WIDTH = 170;
const HEIGHT = 46;
const GAP_X = 18;
const GAP_Y = 46;
const MOST = 1000;

export async function show(zone, main, leaving) {
  const ended = el("input", { type: "checkbox", id: "ended" });
  const place = el("div", {}, el("p", { class: "quiet" }, "Loading"));
  const panel = el("div", { id: "panel" });
  const again = () => load(zone, ended.checked, place, panel, leaving, again);
  ended.addEventListener("change", again);
  main.replaceChildren(
    el("h1", {}, "Sessions and delegations"),
    el("div", { class: "bar" }, el("label", {}, "Show ended", ended), el("button", { type: "button", onclick: again }, "Refresh")),
    place,
    panel,
  );
  await again();
}

async function load(zone, withEnded, place, panel, leaving, again) {
  panel.replaceChildren();
  try {
    const [sessions, delegations, applications] = await Promise.all([
      items(`/zones/${zone.id}/agents`, MOST),
      items(`/zones/${zone.id}/delegations/active`, MOST),
      items(`/v1/zones/${zone.id}/applications`, MOST),
    ]);
    if (leaving.aborted) return;
    const names = new Map(applications.map((application) => [application.id, application.name]));
    const live = sessions.filter((session) => withEnded || !["terminated", "expired"].includes(session.status));
    if (!live.length) {
      place.replaceChildren(el("p", { class: "quiet" }, "No sessions."));
      return;
    }
    const choose = (node, what) => {
      for (const other of place.querySelectorAll(".chosen")) other.classList.remove("chosen");
      node.classList.add("chosen");
      panel.replaceChildren(details(zone, what, names, again));
    };
    place.replaceChildren(el("div", { class: "graph" }, graph(live, delegations, names, choose)));
  } catch (error) {
    place.replaceChildren(failed(error));
  }
}

// Children stand below their parent, leaves side by side.
function layout(sessions) {
  const known = new Map(sessions.map((session) => [session.id, session]));
  const children = new Map();
  const roots = [];
  for (const session of sessions) {
    if (known.has(session.parent_id)) {
      children.set(session.parent_id, [...(children.get(session.parent_id) ?? []), session]);
    } else {
      roots.push(session);
    }
  }
  const places = new Map();
  let column = 0;
  function put(session, level) {
    const below = children.get(session.id) ?? [];
    for (const child of below) put(child, level + 1);
    const xs = below.map((child) => places.get(child.id).x);
    const x = xs.length ? (xs[0] + xs[xs.length - 1]) / 2 : column++;
    places.set(session.id, { x, level });
  }
  for (const root of roots) put(root, 0);
  const depth = Math.max(...[...places.values()].map(({ level }) => level));
  return { places, columns: Math.max(column, 1), rows: depth + 1 };
}

function graph(sessions, delegations, names, choose) {
  const { places, columns, rows } = layout(sessions);
  const at = (key) => {
    const found = places.get(key);
    return found && { x: 12 + found.x * (WIDTH + GAP_X), y: 12 + found.level * (HEIGHT + GAP_Y) };
  };
  const width = 24 + columns * (WIDTH + GAP_X);
  const height = 24 + rows * (HEIGHT + GAP_Y);
  const picture = svg("svg", { width, height, role: "group", "aria-label": "Sessions and delegations" });
  for (const session of sessions) {
    const [child, parent] = [at(session.id), at(session.parent_id)];
    if (!parent) continue;
    const from = `${parent.x + WIDTH / 2} ${parent.y + HEIGHT}`;
    picture.append(svg("path", { class: "edge", d: `M ${from} C ${parent.x + WIDTH / 2} ${parent.y + HEIGHT + 24}, ${child.x + WIDTH / 2} ${child.y - 24}, ${child.x + WIDTH / 2} ${child.y}` }));
  }
  for (const edge of delegations) {
    const [from, to] = [at(edge.source_session_id), at(edge.target_session_id)];
    if (!from || !to) continue;
    const bend = Math.max(from.y, to.y) === Math.min(from.y, to.y) ? 40 : 0;
    const d = `M ${from.x + WIDTH * 0.75} ${from.y + HEIGHT} Q ${(from.x + to.x) / 2 + WIDTH} ${(from.y + to.y) / 2 + HEIGHT / 2 + bend}, ${to.x + WIDTH * 0.75} ${to.y}`;
    const path = svg("path", { class: "grant", d, tabindex: 0, role: "button", "aria-label": `Delegation of ${edge.scopes.join(" ")}` }, svg("title", {}, `${edge.scopes.join(" ")} on ${edge.resources.join(" ")}`));
    const chosen = () => choose(path, { kind: "delegation_edge_id", id: edge.id, edge });
    path.addEventListener("click", chosen);
    path.addEventListener("keydown", (event) => event.key === "Enter" && chosen());
    picture.append(path);
  }
  for (const session of sessions) {
    const { x, y } = at(session.id);
    const over = ["terminated", "expired"].includes(session.status);
    const name = names.get(session.application_id) ?? session.application_id;
    const label = `${name} ${session.labels.join(" ")}`.trim();
    const node = svg(
      "g",
      { class: over ? "node over" : "node", transform: `translate(${x} ${y})`, tabindex: 0, role: "button", "data-session": session.id, "aria-label": `Session of ${label}, ${session.status}` },
      svg("rect", { width: WIDTH, height: HEIGHT }),
      svg("text", { x: 10, y: 19 }, label.length > 24 ? `${label.slice(0, 23)}…` : label),
      svg("text", { x: 10, y: 36, class: "small" }, `${session.status} · ${session.id.slice(0, 8)}…${session.id.slice(-6)}`),
    );
    const chosen = () => choose(node, { kind: "agent_session_id", id: session.id, session });
    node.addEventListener("click", chosen);
    node.addEventListener("keydown", (event) => event.key === "Enter" && chosen());
    picture.append(node);
  }
  return picture;
}

function details(zone, what, names, again) {
  const { session, edge } = what;
  const told = session
    ? facts([
        ["session", id(session.id)],
        ["application", names.get(session.application_id) ?? session.application_id],
        ["subject", session.subject],
        ["labels", session.labels.join(" ")],
        ["state", session.status],
        ["lifecycle", session.lifecycle],
        ["started", when(session.started_at)],
        ["ends", when(session.expires_at)],
        ["decisions", el("a", { href: `#/live` }, "follow them live")],
      ])
    : facts([
        ["delegation", id(edge.id)],
        ["scopes", edge.scopes.join(" ")],
        ["resources", edge.resources.join(" ")],
        ["from", id(edge.source_session_id)],
        ["to", id(edge.target_session_id)],
        ["until", when(edge.expires_at)],
      ]);
  const outcome = el("p", { id: "outcome" });
  return el("div", { class: "panel" }, told, el("p", { class: "bar" }, el("button", { type: "button", class: "danger", id: "revoke", onclick: () => revoke(zone, what, outcome, again) }, "Revoke…")), outcome);
}

// Says what would fall before anything does.
async function revoke(zone, what, outcome, again) {
  const request = (dryRun) =>
    post(`/v1/zones/${zone.id}/revocations`, { anchor_type: what.kind, id: what.id, reason: "from the console", dry_run: dryRun });
  try {
    const would = await request(true);
    const falls = would.falls ?? {};
    const told = facts([
      ["sessions", String(falls.sessions ?? 0)],
      ["delegations", String(falls.delegations ?? 0)],
      ["mandates in date", String(falls.mandates ?? 0)],
    ]);
    const content = el("div", { id: "dry-run" }, el("p", {}, "With it fall, at once and for good:"), told);
    if (!(await ask(what.session ? "Revoke this session?" : "Revoke this delegation?", content, "Revoke"))) return;
    await request(false);
    outcome.textContent = "Revoked.";
    await again();
  } catch (error) {
    outcome.replaceChildren(failed(error));
  }
}
