// The server's events (GET jobs/events): a snapshot of all jobs, then every change, and the progress of moving ones.

/** Seconds until a new connection, after the browser has given up the old one. */
const RETRY_SECONDS = 2;

/**
 * Calls `onSnapshot(jobs)` with all jobs, `onJobs(jobs)` with those that changed, and `onConnection(up)` when the
 * connection is made or lost. After a refusal it connects again only if `mayWatch()` resolves to true.
 */
export class Watch {
  constructor({ onSnapshot, onJobs, onConnection, mayWatch }) {
    this.handlers = { onSnapshot, onJobs, onConnection, mayWatch };
    this.open();
  }

  open() {
    const { onSnapshot, onJobs, onConnection } = this.handlers;
    this.source = new EventSource("jobs/events");
    this.source.addEventListener("open", () => onConnection(true));
    this.source.addEventListener("snapshot", (event) => onSnapshot(JSON.parse(event.data).jobs));
    this.source.addEventListener("progress", (event) => onJobs(JSON.parse(event.data).jobs));
    this.source.addEventListener("job", (event) => onJobs([JSON.parse(event.data)]));
    this.source.addEventListener("error", () => this.lost());
  }

  lost() {
    this.handlers.onConnection(false);
    // After a broken connection the browser connects again by itself, after a refusal it does not.
    if (this.source.readyState === EventSource.CLOSED && !this.closed) {
      this.timer = setTimeout(async () => {
        const may = await this.handlers.mayWatch();
        if (this.closed) return;
        if (may) this.open();
        else this.lost();
      }, RETRY_SECONDS * 1000);
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.source.close();
  }
}
