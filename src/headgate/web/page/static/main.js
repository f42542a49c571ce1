// The page: signing in, choosing and dropping files, and the lists of jobs and files.

import * as api from "./api.js";
import { FileList } from "./files.js";
import { JobList } from "./jobs.js";
import { Transfers, dropped } from "./page_transfers.js";
import { Watch } from "./watch.js";

const byId = (id) => document.getElementById(id);

/** Seconds from the end of an upload until the files are listed again: once for several that end together. */
const RELIST_DELAY_SECONDS = 0.3;

function say(text) {
  byId("announcements").textContent = text;
}

function complain(problem) {
  if (problem.status === 401) {
    start();
    return;
  }
  byId("problem").textContent = problem.message;
  byId("problem").hidden = false;
}

let listing;
const jobs = new JobList({
  say,
  complain,
  onState: (job) => transfers.onState(job),
  waysOf: (job) => transfers.waysOf(job),
  onDismissed: (id) => transfers.chosen.delete(id),
  onEnded(job, seen) {
    transfers.over(job.id);
    if (seen && job.kind === "upload" && job.state === "completed") {
      clearTimeout(listing);
      listing = setTimeout(() => files.load(), RELIST_DELAY_SECONDS * 1000);
    }
  },
});
const transfers = new Transfers(jobs);
let signedIn = false;
let signingOut = false;
const files = new FileList({ onExport: (name) => transfers.export(name), say, complain });

let watch = null;

// A hidden tab gives its connection for events to the visible ones.
document.addEventListener("visibilitychange", () => {
  if (byId("signed-in").hidden) return;
  if (document.hidden) watch?.close();
  else start();
});

/** Ask the server who is signed in, and show that user's jobs and files, or the sign-in form. */
async function start() {
  watch?.close();
  watch = null;
  let here;
  try {
    here = await api.session();
  } catch (problem) {
    complain(problem);
    setTimeout(start, 2000);
    return;
  }
  byId("problem").hidden = true;
  byId("sign-in").hidden = here.user !== null;
  byId("sign-in").querySelector("form").hidden = !here.sign_in;
  byId("sign-in-elsewhere").hidden = here.sign_in;
  byId("signed-in").hidden = here.user === null;
  byId("who").hidden = here.user === null || !here.sign_in;
  byId("connection").textContent = "";
  // A user who did not sign out, but whose token is not valid any more.
  if (here.user !== null || signingOut) {
    byId("signed-out").textContent = "";
  } else if (signedIn) {
    byId("signed-out").textContent =
      "You were signed out, because the server does not know your token any more. What this page was sending has stopped.";
  }
  byId("signed-out").hidden = byId("signed-out").textContent === "";
  signedIn = here.user !== null;
  signingOut = false;
  if (here.user === null) {
    transfers.stop();
    jobs.clear();
    byId("files").replaceChildren();
    byId("token").focus();
    return;
  }
  jobs.me = here.user.name;
  byId("name").textContent = here.user.admin ? `${here.user.name} (admin)` : here.user.name;
  watch = new Watch({
    onSnapshot(all) {
      transfers.failLost(all);
      jobs.replaceAll(all);
      files.load();
    },
    onJobs: (some) => some.forEach((job) => jobs.update(job)),
    onConnection: (up) => {
      byId("connection").textContent = up ? "" : "Connection lost. Trying again…";
    },
    async mayWatch() {
      try {
        if ((await api.session()).user !== null) return true;
        start();
      } catch {
        // The server cannot be reached yet.
      }
      return false;
    },
  });
}

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.signIn(byId("token").value);
  } catch (problem) {
    byId("problem").textContent = problem.message;
    byId("problem").hidden = false;
    return;
  }
  byId("token").value = "";
  start();
});

byId("sign-out").addEventListener("click", async () => {
  signingOut = true;
  try {
    await api.signOut();
  } catch (problem) {
    complain(problem);
  }
  start();
});

// Choosing and dropping files.

function upload(chosen) {
  byId("problem").hidden = true;
  for (const file of chosen) transfers.upload(file, byId("on-conflict").value).catch(complain);
}

for (const what of ["files", "folder"]) {
  const input = byId(`${what}-input`);
  byId(`choose-${what}`).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    upload([...input.files]);
    input.value = "";
  });
}

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") && !byId("signed-in").hidden;

addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", async (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("over");
  try {
    upload(await dropped(event.dataTransfer));
  } catch {
    complain(new api.Problem({ title: "What was dropped could not be read." }));
  }
});

addEventListener("beforeunload", (event) => {
  if (transfers.busy) event.preventDefault();
});

start();
