// What this page transfers itself: uploads by XMLHttpRequest, exports by a form, a few of each at a time.

import * as api from "./api.js";
import { LARGE, ResumableUpload } from "./resumable.js";

/**
 * A browser opens six connections to a server at most, and a paused transfer keeps its own: two uploads, two exports and
 * the events leave one for everything else, so that what was paused can always be resumed.
 */
const AT_ONCE = 2;

class Queue {
  constructor() {
    this.running = 0;
    this.waiting = [];
  }

  /** Call `start(done)` when it is its turn; return a function that takes it out of the queue, if that is not yet. */
  add(start) {
    this.waiting.push(start);
    this.next();
    return () => {
      const place = this.waiting.indexOf(start);
      if (place >= 0) this.waiting.splice(place, 1);
      return place >= 0;
    };
  }

  next() {
    while (this.running < AT_ONCE && this.waiting.length) {
      this.running += 1;
      let over = false;
      const done = () => {
        if (over) return;
        over = true;
        this.running -= 1;
        this.next();
      };
      try {
        this.waiting.shift()(done);
      } catch (error) {
        done(); // one that cannot begin holds up no other
        throw error;
      }
    }
  }
}

const EMPTY = { bytes_done: 0, bytes_total: null, rate: 0, eta: null, limit: null, ended_by: null, reason: null };

export class Transfers {
  /** `jobs`: the list that shows them. */
  constructor(jobs) {
    this.jobs = jobs;
    this.uploads = new Queue();
    this.exports = new Queue();
    this.underWay = new Map(); // exports: what to call when they are over
    this.requests = new Set(); // uploads: what can be aborted
  }

  /** Are there uploads that leaving the page would end? */
  get busy() {
    return this.requests.size > 0 || this.uploads.waiting.length > 0;
  }

  /** Whoever began them has gone: end them all. */
  stop() {
    this.uploads.waiting = [];
    this.exports.waiting = [];
    for (const request of this.requests) request.abort();
    for (const id of [...this.underWay.keys()]) this.over(id);
  }

  async upload(file, onConflict) {
    const large = file.size >= LARGE ? await ResumableUpload.of(file, onConflict) : null;
    const id = large?.id ?? api.newId();
    if (this.jobs.rows.get(id)?.own && this.jobs.isLive(id)) return; // it is on its way already
    const job = { ...EMPTY, kind: "upload", names: [file.name], bytes_total: file.size };
    this.jobs.updateLocally(id, { ...(large?.known ? {} : job), names: [file.name], kind: "upload", state: "waiting" });
    const start = large ? (done) => this.sendAll(large, done) : (done) => this.send(id, file, onConflict, done);
    this.queue(this.uploads, id, start);
  }

  queue(queue, id, start) {
    const row = () => this.jobs.rows.get(id);
    const leave = queue.add((done) => {
      if (row()) row().cancel = null;
      start(done);
    });
    if (row()?.job.state === "waiting") {
      row().cancel = () => leave() && this.jobs.remove(id);
    }
  }

  send(id, file, onConflict, done) {
    const form = new FormData();
    form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", onConflict ? `upload?on_conflict=${onConflict}` : "upload");
    request.setRequestHeader("Job-Id", id);
    request.addEventListener("loadend", () => {
      this.requests.delete(request);
      done();
      if (request.status === 201) this.jobs.update(JSON.parse(request.responseText));
      else this.failed(id, request.status ? api.problemOf(request.status, request.responseText) : new api.Problem());
    });
    this.requests.add(request);
    this.jobs.updateLocally(id, { state: "starting" });
    request.send(form);
  }

  /** Send a large file, however many requests that takes. */
  async sendAll(upload, done) {
    const request = { id: upload.id, abort: () => upload.stop() };
    this.requests.add(request);
    this.jobs.updateLocally(upload.id, { state: "starting" });
    try {
      await upload.run();
    } catch (problem) {
      // Another page goes on with it: what becomes of it, the server will tell.
      if (problem.code !== "superseded") this.failed(upload.id, problem);
    } finally {
      this.requests.delete(request);
      done();
    }
  }

  /** The server's own words on it are better than ours; it may not have any. */
  failed(id, problem) {
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
    this.queue(this.exports, id, (done) => this.fetch(id, name, done));
  }

  /** Have the browser download it: a form that is sent to a frame nobody sees. */
  fetch(id, name, done) {
    const frame = document.createElement("iframe");
    frame.name = `export-${id}`;
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: "export", target: frame.name });
    for (const [key, value] of Object.entries({ filename: name, job: id })) {
      form.append(Object.assign(document.createElement("input"), { type: "hidden", name: key, value }));
    }
    // A frame that loads holds a refusal, or the browser's own word that nobody answers, which we may not read: what is
    // downloaded does not load. It begins with an empty page.
    frame.addEventListener("load", () => {
      const text = frame.contentDocument ? frame.contentDocument.body?.textContent : null;
      if (text === "") return;
      this.failed(id, text ? api.problemOf(0, text) : new api.Problem());
      this.over(id);
    });
    this.underWay.set(id, () => {
      frame.remove();
      form.remove();
      done();
    });
    this.jobs.updateLocally(id, { state: "starting" });
    document.getElementById("downloads").append(frame, form);
    form.submit();
  }

  /** The export `id` has ended. */
  over(id) {
    const end = this.underWay.get(id);
    this.underWay.delete(id);
    // Later, so that the browser has its last bytes before the frame goes.
    if (end) setTimeout(end, 1000);
  }

  /** The server has told everything: what it does not know has ended with it. */
  lookForLost(jobs) {
    const known = new Set(jobs.map((job) => job.id));
    for (const id of [...this.underWay.keys()]) {
      // What it has never told of may still be on its way there.
      if (!known.has(id) && this.jobs.rows.get(id)?.known) {
        this.failed(id, new api.Problem());
        this.over(id);
      }
    }
  }
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
