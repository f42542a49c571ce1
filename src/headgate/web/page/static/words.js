// Texts for people: sizes, times, states, and why a transfer ended.

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** `bytes` with a unit of 1024: "1.4 MiB". */
export function size(bytes) {
  let power = 0;
  while (bytes >= 1023.5 && power < UNITS.length - 1) {
    bytes /= 1024;
    power += 1;
  }
  return `${power === 0 || bytes >= 99.95 ? Math.round(bytes) : bytes.toFixed(1)} ${UNITS[power]}`;
}

/** `bytes` per second. */
export const rate = (bytes) => `${size(bytes)}/s`;

/** `seconds`, rounded, with a unit. */
export function duration(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

const REASONS = {
  changed: "the file has changed; choose it again",
  "already-finished": "it had already finished",
  busy: "the server has too much to do",
  cancelled: "the service cancelled it",
  "digest-mismatch": "the content is not what was announced",
  disconnected: "the client went away",
  "export-failed": "the export broke off",
  expired: "it was not continued for too long",
  "idle-timeout": "nothing moved for too long",
  "invalid-name": "the name is not allowed",
  "internal-error": "the server failed",
  lost: "the connection was lost",
  "malformed-body": "the upload arrived damaged",
  "malformed-transfer": "the upload arrived damaged",
  "name-taken": "there is a file of that name already",
  "quota-exceeded": "the quota is used up",
  refused: "the service refused it",
  shutdown: "the server was shut down",
  "storage-failed": "the server's storage failed",
  "storage-full": "the server's disk is full",
  superseded: "another page has taken it over",
  "too-large": "it is too large",
  "upload-gone": "it is no more",
  "too-slow": "it was too slow",
};

/** The state of `job`, as text. */
export function state(job) {
  switch (job.state) {
    case "waiting":
      return "Waiting its turn";
    case "starting":
      return "Starting";
    case "running":
      return job.kind === "upload" ? "Uploading" : "Exporting";
    case "paused":
      return "Paused";
    case "interrupted":
      return "Interrupted";
    case "finishing":
      return "Finishing";
    case "completed":
      return "Completed";
    case "terminated":
      return job.ended_by ? `Terminated by ${job.ended_by}` : "Terminated";
    default:
      return "Failed";
  }
}

/** Why `job` ended, if its state does not say all. */
export function reason(job) {
  if (job.detail) return job.detail;
  if (job.state === "terminated" && job.kind === "upload") return "Nothing of it is kept.";
  if (job.state !== "failed") return "";
  return `Because ${REASONS[job.reason] ?? job.reason ?? "something went wrong"}.`;
}

/** The progress of `job`; `own`: it is a transfer of this page. */
export function progress(job, own) {
  const done = size(job.bytes_done);
  if (["completed", "failed", "terminated"].includes(job.state)) {
    return [job.state === "completed" ? done : `${done} were transferred`, reason(job)].filter(Boolean).join(". ");
  }
  const facts = [job.bytes_total === null ? done : `${done} of ${size(job.bytes_total)}`];
  if (job.state === "interrupted") facts.push(own ? "trying again" : "choose the file again to go on");
  if (job.state === "running") facts.push(rate(job.rate));
  if (job.state === "running" && job.eta !== null) facts.push(`${duration(job.eta)} left`);
  return facts.join(" · ");
}

/** The names of the files of `job`. */
export function title(job) {
  const [first, ...others] = job.names;
  if (first === undefined) return "(no name yet)";
  return others.length ? `${first} and ${others.length} more` : first;
}
