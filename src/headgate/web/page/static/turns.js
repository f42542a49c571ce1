// Whose turn it is: a few transfers at a time, and none that is paused.

/**
 * A browser opens six connections to a server at most, and a paused transfer keeps its own: two uploads, two exports and
 * the events leave one for everything else, so that what was paused can always be resumed.
 */
const AT_ONCE = 2;

/** Connections that transfers may have together: one is left for the events, and one for everything else. */
const CONNECTIONS = 4;

/** Whose turn it is: so many at once in each of `queues`, which share the connections. */
export class Queue {
  constructor(queues) {
    this.queues = queues;
    queues.push(this);
    this.running = 0;
    this.paused = 0; // have given their turn up, and keep their connection
    this.waiting = [];
  }

  /** Call `start(turn)` when it is its turn; return a function that takes it out of the queue, if that is not yet. */
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
    while (this.running < AT_ONCE && this.connections < CONNECTIONS && this.waiting.length) {
      const turn = new Turn(this);
      try {
        this.waiting.shift()(turn);
      } catch (error) {
        turn.end(); // one that cannot begin holds up no other
        throw error;
      }
    }
  }

  nextOfAll() {
    for (const queue of this.queues) queue.next();
  }
}

/** One transfer's turn in `queue`. A paused one gives it up to the next, with its connection or without. */
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
