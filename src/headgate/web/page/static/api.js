// The calls of the server that the page makes. All paths are relative, so the page works under any prefix.

/** An error of a call: the server's problem (RFC 9457), or "lost" without an answer. The message is for people. */
export class Problem extends Error {
  constructor({ status = 0, code = "lost", title = "The server cannot be reached", detail = "" } = {}) {
    super(detail || title);
    this.status = status;
    this.code = code;
  }
}

/** The Problem in the answer `text`; one that only has `status` if the answer is not JSON. */
export function parseProblem(status, text) {
  try {
    return new Problem(JSON.parse(text));
  } catch {
    return new Problem({ status, code: "internal-error", title: `The server answered ${status}` });
  }
}

/** Milliseconds to wait for an answer. */
const ANSWER_TIMEOUT_MS = 20_000;

async function call(method, path, body) {
  const options = { method, headers: {}, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    // A browser has six connections to a server for all its tabs together; each paused transfer keeps one.
    if (error.name !== "TimeoutError") throw new Problem();
    throw new Problem({ title: "The server does not answer. Other tabs of this page may have taken all connections." });
  }
  const text = await response.text();
  if (!response.ok) throw parseProblem(response.status, text);
  return text ? JSON.parse(text) : null;
}

export const session = () => call("GET", "session");
export const signIn = (token) => call("POST", "session", { token });
export const signOut = () => call("DELETE", "session");

export const change = (id, wanted) => call("PATCH", `jobs/${id}`, wanted);
export const terminate = (id) => call("DELETE", `jobs/${id}`);

export const files = (after) => call("GET", after ? `files?after=${encodeURIComponent(after)}` : "files");
export const deleteFile = (name) => call("DELETE", `files/${encodeURIComponent(name)}`);

/** Has `file` changed since it was chosen? A browser then refuses to read it. */
export async function isChanged(file) {
  try {
    await file.slice(Math.max(0, file.size - 1)).arrayBuffer();
    return false;
  } catch {
    return true;
  }
}

/** Milliseconds between two checks of whether a file that is being sent has changed. */
const CHANGE_CHECK_MS = 1000;

/** Call `act` when `file` has changed; returns what `clearInterval` takes. */
export const onceChanged = (file, act) => setInterval(async () => (await isChanged(file)) && act(), CHANGE_CHECK_MS);

/** The Problem of a file that has changed. */
export const changedProblem = (file) =>
  new Problem({ status: 400, code: "changed", title: `${file.name} has changed; choose it again.` });

/** A UUID (v4). `crypto.randomUUID` exists only if the page came over TLS or from this machine. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
