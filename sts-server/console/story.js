// The story of a request.

import { get } from "/console/api.js";
import { el, facts, failed, id, row, table, verdict, when } from "/console/dom.js";
import { inShort } from "/console/live.js";

export async function show(zone, main, leaving, requestId) {
  const input = el("input", { id: "request-id", size: 42, value: requestId ?? "", "aria-label": "Request id" });
  const form = el(
    "form",
    {
      class: "bar",
      onsubmit: (event) => {
        event.preventDefault();
        location.hash = `#/request/${encodeURIComponent(input.value.trim())}`;
      },
    },
    el("label", {}, "Request id", input),
    el("button", {}, "Explain"),
  );
  const place = el("div", { id: "story" });
  main.replaceChildren(el("h1", {}, "A request's story"), form, place);
  if (!requestId) return;
  try {
    const story = await get(`/v1/zones/${zone.id}/audit/by-request/${encodeURIComponent(requestId)}/explain`);
    if (!leaving.aborted) place.replaceChildren(...told(story));
  } catch (error) {
    place.replaceChildren(failed(error));
  }
}

function section(title, ...content) {
  return el("section", {}, el("h2", {}, title), ...content);
}

function told(story) {
  const events = story.events.map((event) => {
    const { what, on } = inShort(event);
    return row(String(event.seq), when(event.occurred_at), verdict(event.decision), what, el("td", { class: "wide" }, on ?? ""), event.reason ?? "", event.latency_us ? `${event.latency_us} µs` : "");
  });
  const parts = [
    el("p", { class: "panel" }, "Decision: ", verdict(story.final_decision), story.reason ? ` (${story.reason})` : ""),
    section("Events", table(["Event", "When", "Decision", "What", "On", "Reason", "Took"], events)),
  ];
  if (story.application) {
    const archived = story.application.archived_at ? `, archived ${when(story.application.archived_at)}` : "";
    parts.push(section("By whom", el("p", {}, `${story.application.name ?? "unknown application"}${archived} `, id(story.application.id))));
  }
  if (story.sessions?.length) {
    const rows = story.sessions.map((session) => row(id(session.agent_session_id), session.labels.join(" "), session.status, when(session.started_at)));
    parts.push(section("Sessions, from the root", table(["Session", "Labels", "Now", "Started"], rows)));
  }
  if (story.exchanges?.length) {
    const mandate = story.exchanges[0];
    parts.push(
      section(
        "The mandate",
        facts([
          ["jti", id(mandate.jti)],
          ["scope", mandate.scope],
          ["targets", mandate.targets.join(" ")],
          ["on behalf of", mandate.sub],
          ["valid", `${when(mandate.issued_at)} to ${when(mandate.expires_at)}`],
        ]),
      ),
      section(
        "Minted by",
        table(
          ["Exchange", "When", "Scope", "Decided by"],
          story.exchanges.map((exchange) =>
            row(
              exchange.request_id ? el("a", { href: `#/request/${encodeURIComponent(exchange.request_id)}` }, id(exchange.request_id)) : "-",
              when(exchange.issued_at),
              exchange.scope,
              (exchange.determining_policies ?? []).map((policy) => policy.id).join(" "),
            ),
          ),
        ),
      ),
    );
  }
  if (story.delegations?.length) {
    const rows = story.delegations.map((edge) =>
      row(
        `${edge.issuer_name ?? edge.issuer_application_id} to ${edge.receiver_name ?? edge.receiver_application_id}`,
        edge.scopes.join(" "),
        el("td", { class: "wide" }, edge.resources.join(" ")),
        when(edge.created_at),
        when(edge.expires_at),
        edge.status,
      ),
    );
    parts.push(section("Delegated, from the root", table(["Who", "Scopes", "Resources", "From", "To", "Now"], rows)));
  }
  if (story.policy) {
    const policy = story.policy;
    const rules = (policy.decided ?? []).flatMap((decided) => [
      el("p", {}, "Decided by ", el("code", {}, decided.said)),
      ...decided.rules.map((rule) => el("pre", {}, `# ${rule.module}:${rule.line}\n${rule.text}`)),
    ]);
    const modules = (policy.modules ?? []).map((module) => el("details", {}, el("summary", {}, module.name), el("pre", {}, module.content)));
    parts.push(
      section(
        "The policy",
        facts([
          ["set", `${policy.policy_set_name ?? ""} version ${policy.version ?? ""}${policy.in_force_now ? ", in force now" : ""}`],
          ["version", id(policy.policy_set_version_id)],
          ["manifest SHA-256", id(policy.manifest_sha256)],
        ]),
        ...rules,
        ...modules,
      ),
    );
  }
  const revoked = (story.revocations ?? []).map((row_) => row(row_.anchor_type, id(row_.id), when(row_.revoked_at), row_.reason));
  parts.push(
    section(
      "Revoked by now",
      revoked.length ? table(["What", "Id", "Since", "Why"], revoked) : el("p", { class: "quiet" }, "Nothing of what the mandate stands on."),
    ),
  );
  return parts;
}
