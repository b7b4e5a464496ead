/* SPDX-License-Identifier: GPL-2.0-or-later */
"use strict";
(() => {
  const PAGE = 50;
  const MOST_PRINTED = 40; // rows whose details are printed without being opened
  const collator = new Intl.Collator("en", { numeric: true });
  const tables = new Map();

  const make = (name, said = {}, ...content) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(said)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value === true) element.setAttribute(key, "");
      else if (value !== false && value !== null) element.setAttribute(key, value);
    }
    element.append(...content); // strings become text, never markup
    return element;
  };
  const key = (cell) => (Array.isArray(cell) ? cell[0] : cell);
  const words = (cell) => {
    if (cell === null) return "";
    if (Array.isArray(cell)) return cell[1];
    return typeof cell === "number" ? cell.toLocaleString("en-US") : cell;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
  const count = (number, noun) => `${number.toLocaleString("en-US")} ${noun}${number === 1 ? "" : "s"}`;

  const unpack = async (packed) => {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  };

  class Table {
    constructor(spec, root) {
      Object.assign(this, spec);
      this.root = root;
      if (!this.first.length) this.first = this.rows.map((_, index) => index);
      this.order = this.first;
      this.view = this.order;
      this.page = 0;
      this.sorted = null; // [column, 1 or -1]
      this.chosen = new Map(); // column -> value
      this.opened = new Set();
      this.texts = [];
      this.chunks = [];
      this.places = new Map(this.anchors.map((anchor, index) => [anchor, index]));
      this.packed = [...document.querySelectorAll(`script[data-packed="${this.name}"]`)];
      this.build();
    }

    build() {
      const search = make("input", { type: "search", id: `${this.name}-search`, autocomplete: "off",
        oninput: () => this.filter() });
      this.search = search;
      this.selects = new Map();
      const tools = make("div", { class: "tools", role: "search", "aria-label": `Search ${this.title}` },
        make("label", { for: search.id }, "Search ", search));
      this.columns.forEach((column, at) => {
        if (!column.choose) return;
        const found = new Map();
        for (const row of this.rows) found.set(words(row[at]), (found.get(words(row[at])) || 0) + 1);
        if (found.size < 2) return;
        const values = [...found].sort((a, b) => b[1] - a[1] || collator.compare(a[0], b[0]));
        const select = make("select", { onchange: () => this.choose(at, select.value) },
          make("option", { value: "" }, "any"),
          ...values.map(([value, number]) => make("option", { value }, `${value || "–"} (${number})`)));
        this.selects.set(at, select);
        tools.append(make("label", {}, `${column.title} `, select));
      });
      const by = make("select", { onchange: () => this.sort(...by.value.split(" ").map(Number)) },
        make("option", { value: "" }, "as read"),
        ...this.columns.flatMap((column, at) => [
          make("option", { value: `${at} 1` }, `${column.title} ↑`),
          make("option", { value: `${at} -1` }, `${column.title} ↓`)]));
      this.by = by;
      tools.append(make("label", { class: "narrow" }, "Sort by ", by));
      tools.append(make("button", { type: "button", onclick: () => this.clear() }, "Clear"));
      this.heads = this.columns.map((column, at) =>
        make("th", { scope: "col", role: "columnheader", class: column.kind },
          make("button", { type: "button", onclick: () => this.turn(at) }, column.title)));
      this.body = make("tbody", { role: "rowgroup" });
      const first = this.together ? [make("th", { scope: "col", role: "columnheader", class: "open" },
        make("span", { class: "hidden" }, "details"))] : [];
      this.table = make("table", { class: "data", role: "table", "aria-label": this.title },
        make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...first, ...this.heads)), this.body);
      this.status = make("p", { class: "status", role: "status" });
      this.back = make("button", { type: "button", onclick: () => this.go(this.page - 1) }, "← previous");
      this.on = make("button", { type: "button", onclick: () => this.go(this.page + 1) }, "next →");
      this.number = make("input", { type: "number", min: 1, onchange: () => this.go(this.number.value - 1) });
      this.of = make("span");
      this.pager = make("nav", { class: "pager", "aria-label": `Pages of ${this.title}` }, this.back,
        make("label", {}, "page ", this.number, " ", this.of), this.on);
      this.root.append(tools, this.status,
        make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": this.title }, this.table),
        this.pager);
      this.render();
    }

    text(index) {
      return (this.texts[index] ??= this.rows[index].map(words).join("\n").toLowerCase());
    }

    filter() {
      const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = [...this.chosen];
      this.view = this.order.filter((index) =>
        chosen.every(([at, value]) => words(this.rows[index][at]) === value)
        && wanted.every((word) => this.text(index).includes(word)));
      this.page = 0;
      this.render();
    }

    choose(at, value) {
      if (value === "") this.chosen.delete(at);
      else this.chosen.set(at, value);
      if (this.selects.has(at)) this.selects.get(at).value = value;
      this.filter();
    }

    clear() {
      this.search.value = "";
      this.chosen.clear();
      for (const select of this.selects.values()) select.value = "";
      this.filter();
    }

    turn(at) {
      this.sort(at, this.sorted && this.sorted[0] === at ? -this.sorted[1] : 1);
    }

    sort(at, way) {
      this.sorted = way ? [at, way] : null;
      this.order = [...this.first];
      if (way) {
        const keys = this.rows.map((row) => key(row[at]));
        const none = (value) => value === null || value === "";
        this.order.sort((a, b) => {
          if (none(keys[a]) || none(keys[b])) return none(keys[a]) - none(keys[b]); // last, both ways
          return way * compare(keys[a], keys[b]); // a sort is stable
        });
      }
      this.heads.forEach((head, number) => {
        if (way && number === at) head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
      this.by.value = way ? `${at} ${way}` : "";
      this.filter();
    }

    go(page) {
      this.page = page;
      this.render();
    }

    get pages() {
      return Math.max(1, Math.ceil(this.view.length / PAGE));
    }

    render() {
      this.page = Math.min(Math.max(Math.trunc(this.page) || 0, 0), this.pages - 1);
      const from = this.page * PAGE;
      const shown = this.view.slice(from, from + PAGE);
      this.body.replaceChildren(...shown.flatMap((index) => this.row(index)));
      const all = this.view.length === this.rows.length ? "" : ` (of ${count(this.rows.length, "row")})`;
      this.status.textContent = shown.length
        ? `Rows ${(from + 1).toLocaleString("en-US")} to ${(from + shown.length).toLocaleString("en-US")} of ${
          this.view.length.toLocaleString("en-US")}${all}`
        : `No row matches${all}`;
      this.pager.hidden = this.pages === 1;
      this.back.disabled = this.page === 0;
      this.on.disabled = this.page === this.pages - 1;
      this.number.value = this.page + 1;
      this.number.max = this.pages;
      this.of.textContent = `of ${this.pages.toLocaleString("en-US")}`;
    }

    row(index) {
      const cells = this.rows[index].map((cell, at) => {
        const look = Array.isArray(cell) && cell[2] ? ` ${cell[2]}` : "";
        const said = { role: "cell", class: this.columns[at].kind + look, "data-title": this.columns[at].title };
        const text = words(cell);
        if (at === 0 && this.anchors.length) {
          return make("td", said, make("a", { href: `#${encodeURIComponent(this.anchors[index])}` }, text));
        }
        return make("td", said, text);
      });
      const row = make("tr", { role: "row" });
      if (this.together) {
        const open = this.opened.has(index);
        const button = make("button", { type: "button", "aria-expanded": String(open), class: "toggle",
          "aria-controls": `${this.name}-${index}`, "aria-label": `Details of ${this.anchors[index] || index + 1}`,
          onclick: () => this.toggle(index) });
        row.append(make("td", { role: "cell", class: "open" }, button));
      }
      row.append(...cells);
      row.dataset.index = index;
      return this.opened.has(index) ? [row, this.detail(index)] : [row];
    }

    detail(index) {
      const inside = make("div", { class: "inside" }, "unpacking …");
      this.fill(index, inside);
      return make("tr", { role: "row", class: "detail", id: `${this.name}-${index}` },
        make("td", { role: "cell", colspan: this.columns.length + 1 }, inside));
    }

    fill(index, inside) {
      const chunk = Math.floor(index / this.together);
      const put = (details) => { inside.innerHTML = details[index % this.together]; }; // escaped where it was made
      if (Array.isArray(this.chunks[chunk])) {
        put(this.chunks[chunk]);
        return;
      }
      this.load(chunk).then(put, (error) => { inside.textContent = `This browser cannot unpack it: ${error}`; });
    }

    load(chunk) {
      return Promise.resolve(this.chunks[chunk]).then((known) => known || unpack(this.packed[chunk].textContent))
        .then((details) => (this.chunks[chunk] = details));
    }

    toggle(index) {
      const row = this.body.querySelector(`tr[data-index="${index}"]`);
      const button = row.querySelector(".toggle");
      if (this.opened.delete(index)) {
        row.nextElementSibling.remove();
        button.setAttribute("aria-expanded", "false");
      } else {
        this.opened.add(index);
        row.after(this.detail(index));
        button.setAttribute("aria-expanded", "true");
      }
    }

    show(index) {
      if (!this.view.includes(index)) this.clear();
      this.page = Math.floor(this.view.indexOf(index) / PAGE);
      if (this.together) this.opened.add(index);
      this.render();
      const row = this.body.querySelector(`tr[data-index="${index}"]`);
      row.classList.add("target");
      row.scrollIntoView({ block: "start" });
      (row.querySelector(".toggle") || row.querySelector("a")).focus({ preventScroll: true });
    }
  }

  const follow = () => {
    let name;
    try {
      name = decodeURIComponent(location.hash.slice(1));
    } catch {
      return; // no link of ours
    }
    for (const table of tables.values()) {
      if (table.places.has(name)) table.show(table.places.get(name));
    }
  };

  for (const spec of JSON.parse(document.getElementById("data").textContent)) {
    tables.set(spec.name, new Table(spec, document.getElementById(`table-${spec.name}`)));
  }
  for (const link of document.querySelectorAll("a[data-choose]")) {
    link.addEventListener("click", () => {
      const table = tables.get(link.dataset.table);
      table.clear();
      table.choose(Number(link.dataset.column), link.dataset.choose);
    });
  }
  const odd = document.getElementById("more-odd");
  if (odd) odd.hidden = false;

  let opened = [];
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = true;
    for (const table of tables.values()) {
      if (!table.together || table.view.length > MOST_PRINTED) continue;
      for (const index of table.view) {
        const ready = Array.isArray(table.chunks[Math.floor(index / table.together)]);
        if (ready && !table.opened.has(index)) {
          table.toggle(index);
          opened.push([table, index]);
        }
      }
    }
  });
  window.addEventListener("afterprint", () => {
    for (const [table, index] of opened) table.toggle(index);
    for (const details of folded) details.open = false;
    opened = [];
  });
  window.addEventListener("hashchange", follow);
  follow();

  // What may be printed is unpacked now: there is no waiting once printing has begun.
  const early = [...tables.values()].filter((table) => table.rows.length <= MOST_PRINTED)
    .flatMap((table) => table.packed.map((_, chunk) => table.load(chunk)));
  Promise.allSettled(early).then(() => { document.documentElement.dataset.ready = "yes"; });
})();
