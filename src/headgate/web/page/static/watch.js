// The server's events, for as long as the page is open: a snapshot, every change, and what moves.

/** Seconds after which a connection that the browser has given up is tried again. */
const AGAIN = 2;

/**
 * Watch the jobs. `onSnapshot(jobs)`, `onJobs(jobs)`: what there is, and what has changed of it. `onConnection(up)`:
 * whether the server is there. `mayWatch()`: asked before a refused connection is tried again.
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
    // The browser comes back by itself after a cut, but not after a refusal.
    if (this.source.readyState === EventSource.CLOSED && !this.closed) {
      this.timer = setTimeout(async () => {
        const may = await this.handlers.mayWatch();
        if (this.closed) return;
        if (may) this.open();
        else this.lost();
      }, AGAIN * 1000);
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.source.close();
  }
}
