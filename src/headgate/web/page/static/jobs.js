// The list of jobs: those of this page and those that were begun elsewhere, as the server reports them.

import * as api from "./api.js";
import * as words from "./words.js";

const ENDED = ["completed", "failed", "terminated"];

/** Ended jobs that are shown. */
const MAX_ENDED_SHOWN = 50;

/** The steps of the rate slider: four for each doubling, from 64 KiB/s on; the last step is no limit. */
const SLOWEST = 64 * 1024;
const NO_LIMIT = 45;
const rateOf = (step) => (step >= NO_LIMIT ? null : Math.round(SLOWEST * 2 ** (step / 4)));
const stepOf = (rate) =>
  rate === null ? NO_LIMIT : Math.max(0, Math.min(NO_LIMIT - 1, Math.round(4 * Math.log2(rate / SLOWEST))));

const byId = (id) => document.getElementById(id);

export class JobList {
  /**
   * `say(text)` announces a text to screen readers, `complain(problem)` shows an error. `onEnded(job)`: a job has ended.
   * `onState(job)`: the server reported a transfer of this page. `waysOf(job)` returns the ways to try a failed one
   * again, as pairs of a button's text and what it does. `onDismissed(id)`: the user dismissed a failed job.
   */
  constructor({ say, complain, onEnded, onState = () => {}, waysOf = () => [], onDismissed = () => {} }) {
    Object.assign(this, { say, complain, onEnded, onState, waysOf, onDismissed });
    this.rows = new Map();
    this.me = null; // the name of the signed-in user
    this.uploaded = 0; // by this page
  }

  /** Show `jobs`, all that the server knows, and remove the others, but for the transfers of this page. */
  replaceAll(jobs) {
    const known = new Set(jobs.map((job) => job.id));
    for (const [id, row] of this.rows) if (!known.has(id) && !row.own && !row.failure) this.remove(id);
    const live = jobs.filter((job) => !ENDED.includes(job.state));
    // Of the ended ones the newest, and those that are still shown as live.
    const ended = jobs
      .filter((job) => ENDED.includes(job.state))
      .filter((job, place) => place < MAX_ENDED_SHOWN || this.isLive(job.id));
    for (const job of [...live, ...ended].reverse()) this.update(job);
  }

  /** Show `job` as the server reports it. */
  update(job) {
    const row = this.rows.get(job.id) ?? this.add(job.id);
    // Answers and events come over several connections: one that is older than what is shown is skipped.
    const ended = ENDED.includes(row.job?.state);
    if (row.job?.reason === "changed") return; // the page terminated it, and shows why
    if ((ended && !ENDED.includes(job.state)) || job.updated_at < row.job?.updated_at) return;
    row.known = true;
    const detail = ["failed", "terminated"].includes(job.state) ? row.detail : undefined;
    // A chosen file shows its name, also if the server refused it or has not read it yet.
    this.show(row, { ...job, names: job.names.length ? job.names : (row.names ?? []), detail });
    if (row.own) this.onState(job);
  }

  /** Show `changes` of a transfer of this page, which the server may not know yet, or not any more. */
  updateLocally(id, changes) {
    const row = this.rows.get(id) ?? (changes.names && this.add(id));
    if (!row) return; // the user has signed out
    row.own = true;
    row.names = changes.names ?? row.names;
    row.detail = changes.detail ?? row.detail;
    this.show(row, { ...row.job, ...changes, id });
  }

  /** Is the job `id` shown as live? */
  isLive(id) {
    const row = this.rows.get(id);
    return row !== undefined && !ENDED.includes(row.job.state);
  }

  clear() {
    for (const id of [...this.rows.keys()]) this.remove(id);
    this.uploaded = 0;
    this.count();
  }

  remove(id) {
    this.rows.get(id)?.element.remove();
    this.rows.delete(id);
    this.count();
  }

  dismiss(id) {
    this.onDismissed(id);
    this.remove(id);
    byId("transfers-title").focus();
  }

  add(id) {
    const element = byId("job-template").content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    const row = {
      element,
      ...{ name: find(".name"), direction: find(".direction"), state: find(".state"), facts: find(".facts") },
      ...{ progress: find("progress"), controls: find(".controls"), hold: find(".hold") },
      ...{ terminate: find(".terminate"), slider: find(".rate"), limit: find("output"), ways: find(".ways") },
    };
    row.hold.addEventListener("click", () =>
      this.ask(api.change(id, { state: row.job.state === "paused" ? "running" : "paused" })),
    );
    row.terminate.addEventListener("click", () => (row.cancel ? row.cancel() : this.ask(this.terminate(id))));
    row.slider.addEventListener("input", () => {
      row.sliding = true; // the server's reports must not move the slider while the user does
      this.showLimit(row, rateOf(Number(row.slider.value)));
    });
    row.slider.addEventListener("change", () => this.limit(id, row));
    this.rows.set(id, row);
    return row;
  }

  /** Set the limit to the slider's value; again, if the slider has moved meanwhile. One call at a time. */
  async limit(id, row) {
    if (row.asked !== undefined) return;
    do {
      row.asked = row.slider.value;
      await this.ask(api.change(id, { limit: rateOf(Number(row.asked)) }));
    } while (row.asked !== row.slider.value);
    row.asked = undefined;
    row.sliding = false;
    this.showSlider(row);
  }

  async terminate(id) {
    try {
      return await api.terminate(id);
    } catch (problem) {
      if (problem.code !== "no-such-job" || !this.isLive(id)) throw problem;
      return { ...this.rows.get(id).job, state: "failed", reason: "lost" };
    }
  }

  async ask(answer) {
    try {
      const job = await answer;
      if (job) this.update(job);
    } catch (problem) {
      this.complain(problem);
    }
  }

  show(row, job) {
    const before = row.job;
    row.job = job;
    const ended = ENDED.includes(job.state);
    const [title, state] = [words.title(job), words.state(job)];
    const known = !["waiting", "starting"].includes(job.state);
    row.element.className = `job ${job.state}`;
    row.element.dataset.id = job.id;
    row.direction.textContent = job.kind === "upload" ? "↑ Upload" : "↓ Export";
    row.name.textContent = title;
    row.state.textContent = state;
    row.facts.textContent = words.progress(job, row.own);
    row.progress.setAttribute("aria-label", `Progress of ${title}`);
    if (job.bytes_total) row.progress.value = Math.min(1, job.bytes_done / job.bytes_total);
    else row.progress.removeAttribute("value");
    row.controls.hidden = ended || job.state === "finishing";
    row.hold.textContent = job.state === "paused" ? "Resume" : "Pause";
    row.hold.setAttribute("aria-label", `${row.hold.textContent} ${title}`);
    row.terminate.setAttribute("aria-label", `Terminate ${title}`);
    row.hold.disabled = row.slider.disabled = !known;
    row.slider.setAttribute("aria-label", `Limit of ${title}`);
    this.showSlider(row);
    row.seen ||= row.own || !ended;
    const failure = row.seen && this.isFailure(job);
    if (before?.state !== job.state || failure !== row.failure) {
      const uploaded = row.own && job.kind === "upload" && job.state === "completed";
      if (uploaded && before?.state !== job.state) this.uploaded += 1;
      row.failure = failure;
      this.place(row, ended);
      this.count();
    }
    if (failure) this.showWays(row, job, title);
    row.ways.hidden = !failure;
    if (before?.state !== job.state) {
      if (before !== undefined) this.say(`${title}: ${state}. ${ended ? words.reason(job) : ""}`);
      if (ended) this.onEnded(job, before !== undefined);
    }
  }

  /** Did `job` fail, or did another user terminate it? */
  isFailure(job) {
    return job.state === "failed" || (job.state === "terminated" && Boolean(job.ended_by) && job.ended_by !== this.me);
  }

  /** Show the buttons of a failed job. */
  showWays(row, job, title) {
    const ways = [...this.waysOf(job), ["Dismiss", () => this.dismiss(job.id)]];
    const words = ways.map(([text]) => text).join();
    if (row.ways.dataset.words === words) return; // the buttons stay, in case the user is about to press one
    row.ways.dataset.words = words;
    row.ways.replaceChildren(
      ...ways.map(([text, act]) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = text;
        button.setAttribute("aria-label", `${text} ${title}`);
        button.addEventListener("click", act);
        return button;
      }),
    );
  }

  showSlider(row) {
    if (row.sliding) return;
    const limit = row.job.limit ?? null;
    row.slider.value = stepOf(limit);
    this.showLimit(row, limit);
  }

  showLimit(row, limit) {
    const text = limit === null ? "none" : words.rate(limit);
    row.limit.textContent = text;
    row.slider.setAttribute("aria-valuetext", text);
  }

  place(row, ended) {
    const list = byId(row.failure ? "failed" : ended ? "ended" : "live");
    if (row.element.parentElement !== list) {
      const focused = row.element.contains(document.activeElement);
      list.prepend(row.element);
      if (focused) byId("transfers-title").focus();
    }
    while (list.id === "ended" && list.childElementCount > MAX_ENDED_SHOWN) {
      this.remove(list.lastElementChild.dataset.id);
    }
  }

  count() {
    const ended = byId("ended").childElementCount;
    const failed = byId("failed").childElementCount;
    byId("failed").hidden = failed === 0;
    byId("nothing-live").hidden = byId("live").childElementCount + failed > 0;
    byId("summary").hidden = failed === 0 && this.uploaded < 2;
    byId("summary").textContent = failed ? `${this.uploaded} uploaded, ${failed} failed` : `${this.uploaded} uploaded`;
    byId("ended-box").hidden = ended === 0;
    byId("ended-count").textContent = `(${ended})`;
  }
}
