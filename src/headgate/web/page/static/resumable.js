// A large upload, by tus: it survives a broken connection, a restart of the server, and the end of the page, if the user
// then chooses the same file again.

import { Problem, changedProblem, isChanged, newId, parseProblem, terminate, onceChanged } from "./api.js";

/** The size in bytes from which on a file is sent by tus, in two requests or more. */
export const LARGE_FILE_BYTES = 8 * 1024 * 1024;

/** Milliseconds until the next attempt: after the first failure, and at most (they double each time). */
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 15_000;

const VERSION = { "Tus-Resumable": "1.0.0" };

/** May another attempt succeed after this Problem? */
const isTemporary = ({ status, code }) =>
  [0, 408, 423, 429].includes(status) || (status >= 500 && status !== 507) || code === "mismatching-upload-offset";

/** The key under which the id of an upload of `file` is saved, for a page that is opened later. */
const keyOf = (file) => `headgate:${document.baseURI}:${file.name}:${file.size}:${file.lastModified}`;

/** The saved id of an upload of `file`. With `id`: save that; with null: forget it. */
function savedId(file, ...id) {
  try {
    if (!id.length) return localStorage.getItem(keyOf(file));
    if (id[0] === null) localStorage.removeItem(keyOf(file));
    else localStorage.setItem(keyOf(file), id[0]);
  } catch {
    // Storage is switched off in this browser: the upload cannot be continued after a reload.
  }
  return null;
}

/** UTF-8, in base64. */
const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

export class ResumableUpload {
  /** An upload of `file` as the job `id`; `known`: the server has the upload already. */
  constructor(file, id, onConflict, known = false) {
    this.file = file;
    this.id = id;
    this.onConflict = onConflict;
    this.known = known;
    this.stopped = false;
  }

  /** An upload of `file`: the one that another page began, if the server still has it, or a new one. */
  static async of(file, onConflict) {
    const id = savedId(file);
    if (id !== null) {
      const upload = new ResumableUpload(file, id, onConflict, true);
      try {
        if ((await upload.probe()) < file.size) return upload;
        savedId(file, null); // it is complete: a user who chooses the file again wants another upload
      } catch (problem) {
        if (isTemporary(problem)) return upload;
      }
    }
    return new ResumableUpload(file, newId(), onConflict);
  }

  /** Upload the file, with as many requests as it takes. Rejects with the Problem that ended it. */
  async run() {
    let [offset, wait] = [-1, FIRST_RETRY_MS];
    while (!this.stopped) {
      await this.resumed;
      if (this.stopped) return;
      try {
        await this.check();
        const now = this.known ? await this.probe() : await this.create();
        if (now > offset) wait = FIRST_RETRY_MS;
        offset = now;
        await this.append(offset);
        savedId(this.file, null);
        return;
      } catch (problem) {
        if (problem.code === "changed") throw problem; // `check` has terminated the job
        if (this.stopped) return;
        if (this.resumed) continue;
        if (problem.code === "lost") await this.check();
        if (!isTemporary(problem)) {
          savedId(this.file, null);
          throw problem;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(2 * wait, MAX_RETRY_MS);
    }
  }

  /** Stop sending; the server keeps what it has. */
  stop() {
    this.stopped = true;
    this.resume();
    this.request?.abort();
  }

  /** The job is paused: give up the connection, so that another transfer can use it. */
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

  /** Rejects if the file has changed since it was chosen, after terminating the job. */
  async check() {
    if (!(await isChanged(this.file))) return;
    savedId(this.file, null);
    if (this.known) await terminate(this.id).catch(() => {});
    throw changedProblem(this.file);
  }

  /** Create the upload; returns its offset, 0. */
  async create() {
    const query = this.onConflict ? `?on_conflict=${this.onConflict}` : "";
    try {
      await this.send("POST", `tus/${query}`, {
        "Job-Id": this.id,
        "Upload-Length": this.file.size,
        "Upload-Metadata": `filename ${encoded(this.file.name)}`,
      });
    } catch (problem) {
      if (problem.code !== "job-id-taken") throw problem; // an earlier attempt created it, and its answer was lost
    }
    this.known = true;
    savedId(this.file, this.id);
    return 0;
  }

  /** The number of bytes that the server has. */
  async probe() {
    return Number((await this.send("HEAD", `tus/${this.id}`)).getResponseHeader("Upload-Offset"));
  }

  async append(offset) {
    const type = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset };
    if (offset < this.file.size) await this.send("PATCH", `tus/${this.id}`, type, this.file.slice(offset));
    if (!(await isChanged(this.file))) return;
    // The file changed while its last bytes were sent: the upload is not one file, so it is deleted.
    await this.send("DELETE", `tus/${this.id}`).catch(() => {});
    throw changedProblem(this.file);
  }

  send(method, path, headers = {}, body = null) {
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      const watching = body && onceChanged(this.file, () => request.abort());
      request.open(method, path);
      for (const [name, value] of Object.entries({ ...VERSION, ...headers })) request.setRequestHeader(name, value);
      request.addEventListener("loadend", () => {
        clearInterval(watching);
        if (request.status >= 200 && request.status < 300) resolve(request);
        else reject(request.status ? parseProblem(request.status, request.responseText) : new Problem());
      });
      request.send(body);
    });
  }
}
