// Queues of transfers: a few run at the same time; a paused one gives up its turn to the next.

/**
 * Transfers of one queue that run at the same time. A browser opens at most six connections to a server, and a paused
 * transfer keeps its own: two uploads, two exports and the events leave one, so that a paused transfer can be resumed.
 */
const RUNNING_PER_QUEUE = 2;

/** Connections of all transfers together: one is left for the events, and one for all other calls. */
const MAX_CONNECTIONS = 4;

/** One of `queues`, which share the connections. */
export class Queue {
  constructor(queues) {
    this.queues = queues;
    queues.push(this);
    this.running = 0;
    this.paused = 0; // these have given up their turn, and keep their connection
    this.waiting = [];
  }

  /** Call `start(turn)` when a turn is free. Returns a function that removes it from the queue if it has not begun. */
  add(start) {
    this.waiting.push(start);
    this.next();
    return () => {
      const place = this.waiting.indexOf(start);
      if (place >= 0) this.waiting.splice(place, 1);
      return place >= 0;
    };
  }

  get connections() {
    return this.queues.reduce((sum, queue) => sum + queue.running + queue.paused, 0);
  }

  next() {
    while (this.running < RUNNING_PER_QUEUE && this.connections < MAX_CONNECTIONS && this.waiting.length) {
      const turn = new Turn(this);
      try {
        this.waiting.shift()(turn);
      } catch (error) {
        turn.end(); // a transfer that cannot begin must not block the queue
        throw error;
      }
    }
  }

  nextOfAll() {
    for (const queue of this.queues) queue.next();
  }
}

/** One transfer's turn in `queue`: "running", "paused" (it keeps its connection), "away" (without one) or "over". */
class Turn {
  constructor(queue) {
    this.queue = queue;
    this.state = "running";
    queue.running += 1;
  }

  become(state) {
    if (this.state === "over" || this.state === state) return;
    if (this.state in this.queue) this.queue[this.state] -= 1;
    this.state = state;
    if (state in this.queue) this.queue[state] += 1;
    this.queue.nextOfAll();
  }

  end() {
    this.become("over");
  }
}
