// Decisions as they are made.

import { query, tail } from "/console/api.js";
import { el, failed, id, row, table, verdict, when } from "/console/dom.js";

const MOST = 500;

export const inShort = (event) => ({
  what: event.action ?? (event.method ? `${event.method} ${event.path ?? ""}` : event.event_type),
  who: event.client_id ?? event.actor?.id ?? event.actor?.type,
  on: event.resource ?? event.object?.id ?? (event.resources ?? []).map((resource) => resource.identifier).join(" "),
});

export function show(zone, main, leaving) {
  const field = (name, control) => el("label", {}, name, control);
  const decision = el("select", { id: "decision" }, ["", "allow", "deny"].map((value) => el("option", { value }, value || "any")));
  const types = ["", "gateway_request", "token_exchange", "admin_change", "session", "delegation", "revocation", "activation", "audit_gap"];
  const type = el("select", { id: "type" }, types.map((value) => el("option", { value }, value || "any")));
  const reason = el("input", { id: "reason", placeholder: "any" });
  const application = el("input", { id: "application", placeholder: "any id" });
  const resource = el("input", { id: "resource", placeholder: "any identifier" });
  const paused = el("input", { id: "paused", type: "checkbox" });
  const status = el("p", { class: "quiet", id: "status" });
  const body = el("tbody", { id: "events" });
  const shown = table(["When", "Decision", "What", "Who", "On", "Reason", "Request"], []);
  shown.querySelector("tbody").replaceWith(body);
  main.replaceChildren(
    el("h1", {}, "Live decisions"),
    el(
      "div",
      { class: "bar" },
      field("Decision", decision),
      field("Type", type),
      field("Reason", reason),
      field("Application", application),
      field("Resource", resource),
      field("Pause", paused),
    ),
    status,
    shown,
  );

  let following = null;
  function told(event) {
    if (paused.checked) return;
    const { what, who, on } = inShort(event);
    const link = el("a", { href: `#/request/${encodeURIComponent(event.request_id)}` }, id(event.request_id));
    const line = row(when(event.occurred_at), verdict(event.decision), what, id(who), el("td", { class: "wide" }, on ?? ""), event.reason ?? "", link);
    body.prepend(line);
    while (body.children.length > MOST) body.lastChild.remove();
  }
  async function follow() {
    following?.abort();
    const mine = new AbortController();
    following = mine;
    body.replaceChildren();
    const filter = query({
      decision: decision.value,
      event_type: type.value,
      reason: reason.value,
      application_id: application.value,
      resource: resource.value,
    });
    while (!mine.signal.aborted) {
      try {
        status.textContent = "Following; what happens from now on is shown here.";
        await tail(`/v1/zones/${zone.id}/audit/tail?${filter}`, told, mine.signal);
      } catch (error) {
        if (mine.signal.aborted) return;
        status.replaceChildren(failed(error));
        if (error.status) return;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  for (const control of [decision, type, reason, application, resource]) control.addEventListener("change", follow);
  leaving.addEventListener("abort", () => following?.abort());
  follow();
}
