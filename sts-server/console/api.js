// Speaks to the STS that served this page. The admin token lives in this module's memory and nowhere
// else: it is gone with the page.

let token = null;

export class Refused extends Error {
  constructor(status, body) {
    super(body.error_description ?? `the STS answered with ${status}`);
    this.status = status;
    this.reason = body.reason ?? body.error ?? String(status);
  }
}

export function hold(held) {
  token = held;
}

export function isHeld() {
  return token !== null;
}

async function send(method, path, body, signal) {
  const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
    signal,
  });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, told);
}

async function read(method, path, body) {
  const answer = await send(method, path, body);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path) => read("GET", path);
export const post = (path, body = {}) => read("POST", path, body);

// Up to `most` items of a list, page by page.
export async function items(path, most = 2000) {
  const found = [];
  let cursor = null;
  do {
    const joint = path.includes("?") ? "&" : "?";
    const more = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page = await get(`${path}${joint}limit=500${more}`);
    found.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && found.length < most);
  return found;
}

export function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value);
  return given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

// Calls `told` with each event of a tail until `signal` says stop. EventSource cannot carry a token.
export async function tail(path, told, signal) {
  const answer = await send("GET", path, undefined, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) told(JSON.parse(line.slice(6)));
    }
  }
}
