// The list of files: stored ones and generated exports.

import * as api from "./api.js";
import * as words from "./words.js";

const byId = (id) => document.getElementById(id);

export class FileList {
  /** `onExport(name)`: called when the user exports a file. `say`, `complain`: as in JobList. */
  constructor({ onExport, say, complain }) {
    this.onExport = onExport;
    this.say = say;
    this.complain = complain;
    byId("more-files").addEventListener("click", () => this.load(this.next));
  }

  /** Show the files after `after`, or all from the first. */
  async load(after = null) {
    let page;
    try {
      page = await api.files(after);
    } catch (problem) {
      this.complain(problem);
      return;
    }
    const rows = page.files.map((file) => this.row(file));
    if (after) byId("files").append(...rows);
    else byId("files").replaceChildren(...rows);
    this.next = page.next;
    byId("more-files").hidden = page.next === null;
    this.count();
  }

  count() {
    byId("no-files").hidden = byId("files").childElementCount > 0;
  }

  row(file) {
    const element = byId("file-template").content.firstElementChild.cloneNode(true);
    const [exporting, deleting] = [element.querySelector(".export"), element.querySelector(".delete")];
    element.querySelector(".name").textContent = file.name;
    element.querySelector(".facts").textContent = file.generated
      ? "generated when it is exported"
      : `${words.size(file.size)} · ${new Date(file.modified_at).toLocaleString()}`;
    exporting.setAttribute("aria-label", `Export ${file.name}`);
    exporting.addEventListener("click", () => this.onExport(file.name));
    deleting.hidden = file.generated;
    deleting.setAttribute("aria-label", `Delete ${file.name}`);
    deleting.addEventListener("click", async () => {
      if (!confirm(`Delete ${file.name}? This cannot be undone.`)) return;
      try {
        await api.deleteFile(file.name);
      } catch (problem) {
        this.complain(problem);
        return;
      }
      element.remove();
      this.count();
      this.say(`${file.name} was deleted.`);
      byId("files-title").focus();
    });
    return element;
  }
}
