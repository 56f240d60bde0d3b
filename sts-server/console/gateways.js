// Gateways: when they were last heard of, and how far behind they are.

import { items } from "/console/api.js";
import { el, failed, id, row, table, when } from "/console/dom.js";

const EVERY_MS = 2000;

export async function show(zone, main, leaving) {
  const place = el("div", { id: "gateways" }, el("p", { class: "quiet" }, "Loading"));
  main.replaceChildren(el("h1", {}, "Gateways"), place);
  while (!leaving.aborted) {
    try {
      const gateways = await items(`/v1/zones/${zone.id}/gateways`);
      const rows = gateways.map((gateway) => {
        const { state } = gateway;
        const age = state.heard_at ? `${Math.max(0, (Date.now() - Date.parse(state.heard_at)) / 1000).toFixed(0)} s` : "never heard of";
        return row(
          gateway.name,
          id(gateway.id),
          state.waiting ? el("span", { class: "allow" }, "connected") : el("span", { class: "deny" }, "not polling"),
          age,
          `${state.bundle_sequence ?? "-"} of ${gateway.zone_bundle_sequence}`,
          `${state.revocation_epoch ?? "-"} of ${gateway.zone_revocation_epoch}`,
          when(state.evidence_at),
        );
      });
      const shown = table(["Name", "Id", "State", "Last heard of", "Bundle", "Revocation epoch", "Last evidence"], rows);
      if (!leaving.aborted) place.replaceChildren(rows.length ? shown : el("p", { class: "quiet" }, "No gateways."));
    } catch (error) {
      place.replaceChildren(failed(error));
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}
