// The transfers of this page: uploads by XMLHttpRequest, exports by a form, a few of each at the same time.

import * as api from "./api.js";
import { LARGE_FILE_BYTES, ResumableUpload } from "./resumable.js";
import { Queue } from "./turns.js";

const EMPTY = { bytes_done: 0, bytes_total: null, rate: 0, eta: null, limit: null, ended_by: null, reason: null };

export class Transfers {
  /** `jobs`: the JobList that shows them. */
  constructor(jobs) {
    this.jobs = jobs;
    const queues = [];
    this.uploads = new Queue(queues);
    this.exports = new Queue(queues);
    this.chosen = new Map(); // by id: the file of each upload that can still be tried again
    this.turns = new Map(); // by id: the functions that pause, resume and stop a transfer
    this.underWay = new Map(); // by id: the function that ends an export
    this.requests = new Set(); // uploads that can be aborted
  }

  /** Would leaving the page end an upload? */
  get busy() {
    return this.requests.size > 0 || this.uploads.waiting.length > 0;
  }

  /** The user has signed out: end all transfers. */
  stop() {
    this.uploads.waiting = [];
    this.exports.waiting = [];
    this.chosen.clear();
    for (const request of this.requests) request.abort();
    for (const id of [...this.underWay.keys()]) this.over(id);
  }

  async upload(file, onConflict) {
    const large = file.size >= LARGE_FILE_BYTES ? await ResumableUpload.of(file, onConflict) : null;
    const id = large?.id ?? api.newId();
    if (this.jobs.rows.get(id)?.own && this.jobs.isLive(id)) return; // it is being sent already
    this.chosen.set(id, file);
    const job = { ...EMPTY, kind: "upload", names: [file.name], bytes_total: file.size };
    this.jobs.updateLocally(id, { ...(large?.known ? {} : job), names: [file.name], kind: "upload", state: "waiting" });
    const start = large ? (turn) => this.sendAll(large, turn) : (turn) => this.send(id, file, onConflict, turn);
    this.queue(this.uploads, id, start);
  }

  /** The ways to try a failed job again: pairs of a button's text and what it does. */
  waysOf({ id, kind, names, reason }) {
    const file = this.chosen.get(id);
    const instead = (begin) => () => {
      this.chosen.delete(id);
      this.jobs.remove(id);
      begin();
    };
    if (kind === "export") return names[0] ? [["Try again", instead(() => this.export(names[0]))]] : [];
    if (!file || reason === "changed") return [];
    const again = (onConflict) => instead(() => this.upload(file, onConflict));
    const ways = [["Try again", again("")]];
    if (reason === "name-taken") ways.push(["Keep both", again("rename")], ["Replace", again("replace")]);
    return ways;
  }

  /** The server reports the state of a transfer of this page. */
  onState({ id, state }) {
    if (state === "completed") this.chosen.delete(id);
    if (["failed", "terminated"].includes(state)) this.turns.get(id)?.stop?.(); // further requests for it would fail
    if (state === "paused") this.turns.get(id)?.pause();
    else this.turns.get(id)?.goOn();
  }

  queue(queue, id, start) {
    const row = () => this.jobs.rows.get(id);
    const leave = queue.add((turn) => {
      if (row()) row().cancel = null;
      this.turns.set(id, { pause: () => turn.become("paused"), goOn: () => turn.become("running") });
      start(turn);
    });
    if (row()?.job.state === "waiting") {
      row().cancel = () => leave() && this.jobs.remove(id);
    }
  }

  /** The transfer `id` has ended: free its turn. */
  ended(id, turn) {
    this.turns.delete(id);
    turn.end();
  }

  async send(id, file, onConflict, turn) {
    const request = new XMLHttpRequest();
    this.requests.add(request);
    this.jobs.updateLocally(id, { state: "starting" });
    if (await api.isChanged(file)) {
      this.requests.delete(request);
      this.ended(id, turn);
      this.failed(id, api.changedProblem(file));
      return;
    }
    const watching = api.onceChanged(file, () => request.abort());
    const { type, body } = formOf(file);
    request.open("POST", onConflict ? `upload?on_conflict=${onConflict}` : "upload");
    request.setRequestHeader("Job-Id", id);
    request.setRequestHeader("Content-Type", type);
    request.addEventListener("loadend", async () => {
      clearInterval(watching);
      this.requests.delete(request);
      this.ended(id, turn);
      if (request.status === 201) this.jobs.update(JSON.parse(request.responseText));
      else if (request.status) this.failed(id, api.parseProblem(request.status, request.responseText));
      else this.failed(id, (await api.isChanged(file)) ? api.changedProblem(file) : new api.Problem());
    });
    request.send(body);
  }

  /** Send a large file, with as many requests as it takes. */
  async sendAll(upload, turn) {
    // A paused resumable upload needs no connection: the server keeps what it has.
    const pause = () => {
      turn.become("away");
      upload.pause();
    };
    const goOn = () => {
      turn.become("running");
      upload.resume();
    };
    this.turns.set(upload.id, { pause, goOn, stop: () => upload.stop() });
    const request = { id: upload.id, abort: () => upload.stop() };
    this.requests.add(request);
    this.jobs.updateLocally(upload.id, { state: "starting" });
    try {
      await upload.run();
    } catch (problem) {
      // If another page continues the upload, the server's events tell its outcome.
      if (problem.code !== "superseded") this.failed(upload.id, problem);
    } finally {
      this.requests.delete(request);
      this.ended(upload.id, turn);
    }
  }

  /** Show that the transfer `id` failed with `problem`; events of the server may say more. */
  failed(id, problem) {
    if (problem.status === 401 || problem.code === "unauthorized") this.jobs.complain(problem);
    const terminated = problem.code === "terminated";
    this.jobs.updateLocally(id, {
      state: terminated ? "terminated" : "failed",
      reason: problem.code,
      detail: problem.status ? problem.message : "The connection to the server was lost.",
    });
  }

  export(name) {
    const id = api.newId();
    this.jobs.updateLocally(id, { ...EMPTY, kind: "export", names: [name], state: "waiting" });
    this.queue(this.exports, id, (turn) => this.fetch(id, name, turn));
  }

  /** Have the browser download an export: by a form that is sent into a hidden frame. */
  fetch(id, name, turn) {
    const frame = document.createElement("iframe");
    frame.name = `export-${id}`;
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: "export", target: frame.name });
    for (const [key, value] of Object.entries({ filename: name, job: id })) {
      form.append(Object.assign(document.createElement("input"), { type: "hidden", name: key, value }));
    }
    // A download does not load the frame. If the frame loads, it contains the server's problem, or the browser's own
    // error page, which this page may not read. First it loads an empty page.
    frame.addEventListener("load", () => {
      const text = frame.contentDocument ? frame.contentDocument.body?.textContent : null;
      if (text === "") return;
      this.failed(id, text ? api.parseProblem(0, text) : new api.Problem());
      this.over(id);
    });
    this.underWay.set(id, () => {
      frame.remove();
      form.remove();
      this.ended(id, turn);
    });
    this.jobs.updateLocally(id, { state: "starting" });
    document.getElementById("downloads").append(frame, form);
    form.submit();
  }

  /** The export `id` has ended. */
  over(id) {
    const end = this.underWay.get(id);
    this.underWay.delete(id);
    // Later: the browser must have the last bytes before the frame is removed.
    if (end) setTimeout(end, 1000);
  }

  /** `jobs` are all that the server knows: exports of this page that it does not know any more have failed. */
  failLost(jobs) {
    const known = new Set(jobs.map((job) => job.id));
    for (const id of [...this.underWay.keys()]) {
      // One that the server has never reported may not have reached it yet.
      if (!known.has(id) && this.jobs.rows.get(id)?.known) {
        this.failed(id, new api.Problem());
        this.over(id);
      }
    }
  }
}

/** `name` as an ext-value has it (RFC 8187, 3.2.1). */
const escaped = (name) =>
  encodeURIComponent(name).replace(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** The body of a form with `file`, under exactly its name: a browser's own form would escape a quote in it. */
function formOf(file) {
  const boundary = `headgate-${api.newId()}`;
  const disposition = `Content-Disposition: form-data; name="file"; filename="file"; filename*=UTF-8''${escaped(file.name)}`;
  const head = `--${boundary}\r\n${disposition}\r\nContent-Type: application/octet-stream\r\n\r\n`;
  return {
    type: `multipart/form-data; boundary=${boundary}`,
    body: new Blob([head, file, `\r\n--${boundary}--\r\n`]),
  };
}

/** All files in what was dropped, folders included. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const one of some) await walk(one);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}
