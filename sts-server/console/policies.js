// Policy sets: their versions, which of them is in force, and what a shadow says.

import { get, items, post } from "/console/api.js";
import { ask, el, facts, failed, id, row, table, when } from "/console/dom.js";

export async function show(zone, main, leaving) {
  const place = el("div", {}, el("p", { class: "quiet" }, "Loading"));
  main.replaceChildren(el("h1", {}, "Policies"), place);
  const again = async () => {
    try {
      const parts = await load(zone, again);
      if (!leaving.aborted) place.replaceChildren(...parts);
    } catch (error) {
      place.replaceChildren(failed(error));
    }
  };
  await again();
}

async function load(zone, again) {
  const now = await get(`/v1/zones/${zone.id}`);
  const sets = await items(`/v1/zones/${zone.id}/policy-sets`);
  const parts = [];
  for (const set of sets) {
    const versions = await items(`/v1/zones/${zone.id}/policy-sets/${set.id}/versions`);
    const rows = versions
      .toSorted((one, other) => other.version - one.version)
      .map((version) => {
        const inForce = version.version_id === now.active_policy_set_version_id;
        const shadow = version.version_id === now.shadow_policy_set_version_id;
        const state = inForce ? el("span", { class: "allow" }, "in force") : shadow ? "shadow" : "";
        const button = inForce ? "" : el("button", { type: "button", "data-version": version.version_id, onclick: () => activate(zone, set, version, again) }, "Activate…");
        return row(String(version.version), state, when(version.created_at), id(version.version_id), id(version.manifest_sha256), button);
      });
    parts.push(el("h2", {}, set.name), table(["Version", "", "Made", "Id", "Manifest SHA-256", ""], rows));
  }
  if (!parts.length) parts.push(el("p", { class: "quiet" }, "No policy sets: everything is denied."));
  parts.push(el("h2", {}, "Shadow"), await shadow(zone));
  return parts;
}

async function shadow(zone) {
  let account;
  try {
    account = await get(`/v1/zones/${zone.id}/shadow`);
  } catch (error) {
    if (error.status === 404) return el("p", { class: "quiet" }, "No policy rides along.");
    throw error;
  }
  const rows = account.items.map((item) =>
    row(String(item.count), item.moment, id(item.client_id), el("td", { class: "wide" }, `${item.method ?? ""} ${item.path ?? ""} ${item.resource}`), told(item.enforced), told(item.shadow), when(item.last_seen)),
  );
  return el(
    "div",
    {},
    facts([
      ["version", id(account.version_id)],
      ["since", when(account.since)],
      ["ended", account.ended_at && when(account.ended_at)],
      ["agreed", String(account.same)],
      ["disagreed", String(account.different)],
    ]),
    rows.length ? table(["Times", "At", "Who", "What", "In force", "Shadow", "Last"], rows) : el("p", { class: "quiet" }, "It agreed every time."),
  );
}

const told = (verdict) => (verdict.decision === "allow" ? "allow" : `deny (${verdict.reason})`);

async function activate(zone, set, version, again) {
  const content = el("p", {}, `Version ${version.version} of ${set.name} decides from then on, in the STS and at every gateway.`);
  if (!(await ask("Activate this version?", content, "Activate"))) return;
  try {
    await post(`/v1/zones/${zone.id}/policy-sets/${set.id}/activate`, { version_id: version.version_id });
  } finally {
    await again();
  }
}
