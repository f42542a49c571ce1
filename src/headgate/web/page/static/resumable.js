// One upload that survives its connection, its server's restart, and, if the file is chosen again, its page: by tus.

import { Problem, changed, isChanged, newId, problemOf, terminate, whenChanged } from "./api.js";

/** Bytes from which on a file is worth more than one request. */
export const LARGE = 8 * 1024 * 1024;

/** Milliseconds before another attempt: at first, and at most. */
const SOON = 500;
const LATER = 15_000;

const VERSION = { "Tus-Resumable": "1.0.0" };

/** What is said of a failed attempt, if another one may fare better. */
const passes = ({ status, code }) =>
  [0, 408, 423, 429].includes(status) || (status >= 500 && status !== 507) || code === "mismatching-upload-offset";

/** Where an upload of `file` is remembered, for a page that is opened after this one. */
const keyOf = (file) => `headgate:${document.baseURI}:${file.name}:${file.size}:${file.lastModified}`;

function remembered(file, ...id) {
  try {
    if (!id.length) return localStorage.getItem(keyOf(file));
    if (id[0] === null) localStorage.removeItem(keyOf(file));
    else localStorage.setItem(keyOf(file), id[0]);
  } catch {
    // A browser that remembers nothing: then nobody goes on after a reload.
  }
  return null;
}

/** UTF-8, in base64. */
const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

export class ResumableUpload {
  /** `file`, to be uploaded as the job `id`; `known`: the server has some of it already. */
  constructor(file, id, onConflict, known = false) {
    this.file = file;
    this.id = id;
    this.onConflict = onConflict;
    this.known = known;
    this.stopped = false;
  }

  /** The upload of `file` that goes on where another page left it, or a new one. */
  static async of(file, onConflict) {
    const id = remembered(file);
    if (id !== null) {
      const upload = new ResumableUpload(file, id, onConflict, true);
      try {
        if ((await upload.probe()) < file.size) return upload;
        remembered(file, null); // it was complete: whoever chooses it again wants it again
      } catch (problem) {
        if (passes(problem)) return upload;
      }
    }
    return new ResumableUpload(file, newId(), onConflict);
  }

  /** Upload it, however many requests that takes. Rejects with the Problem that ended it; resolves if it was stopped. */
  async run() {
    let [offset, wait] = [-1, SOON];
    while (!this.stopped) {
      await this.resumed;
      if (this.stopped) return;
      try {
        await this.check();
        const now = this.known ? await this.probe() : await this.create();
        if (now > offset) wait = SOON;
        offset = now;
        await this.append(offset);
        remembered(this.file, null);
        return;
      } catch (problem) {
        if (problem.code === "changed") throw problem; // which has ended it, too
        if (this.stopped) return;
        if (this.resumed) continue;
        if (problem.code === "lost") await this.check();
        if (!passes(problem)) {
          remembered(this.file, null);
          throw problem;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(2 * wait, LATER);
    }
  }

  /** Leave it as it is. */
  stop() {
    this.stopped = true;
    this.resume();
    this.request?.abort();
  }

  /** It is paused: its connection is of more use to others. */
  pause() {
    if (this.resumed) return;
    this.resumed = new Promise((resolve) => {
      this.goOn = resolve;
    });
    this.request?.abort();
  }

  resume() {
    const goOn = this.goOn;
    this.resumed = this.goOn = undefined;
    goOn?.();
  }

  /** Rejects if the file is another than the one that was chosen; then the upload is ended, too. */
  async check() {
    if (!(await isChanged(this.file))) return;
    remembered(this.file, null);
    if (this.known) await terminate(this.id).catch(() => {});
    throw changed(this.file);
  }

  /** Begin it; the server has 0 bytes then. */
  async create() {
    const query = this.onConflict ? `?on_conflict=${this.onConflict}` : "";
    try {
      await this.send("POST", `tus/${query}`, {
        "Job-Id": this.id,
        "Upload-Length": this.file.size,
        "Upload-Metadata": `filename ${encoded(this.file.name)}`,
      });
    } catch (problem) {
      if (problem.code !== "job-id-taken") throw problem; // an attempt before this one arrived, and its answer did not
    }
    this.known = true;
    remembered(this.file, this.id);
    return 0;
  }

  /** Bytes that the server has. */
  async probe() {
    return Number((await this.send("HEAD", `tus/${this.id}`)).getResponseHeader("Upload-Offset"));
  }

  async append(offset) {
    const type = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset };
    if (offset < this.file.size) await this.send("PATCH", `tus/${this.id}`, type, this.file.slice(offset));
    if (!(await isChanged(this.file))) return;
    await this.send("DELETE", `tus/${this.id}`).catch(() => {}); // in its last second: it is taken back
    throw changed(this.file);
  }

  send(method, path, headers = {}, body = null) {
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      const looking = body && whenChanged(this.file, () => request.abort());
      request.open(method, path);
      for (const [name, value] of Object.entries({ ...VERSION, ...headers })) request.setRequestHeader(name, value);
      request.addEventListener("loadend", () => {
        clearInterval(looking);
        if (request.status >= 200 && request.status < 300) resolve(request);
        else reject(request.status ? problemOf(request.status, request.responseText) : new Problem());
      });
      request.send(body);
    });
  }
}
