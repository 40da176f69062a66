"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const rows = [...document.querySelectorAll(".row")];
  const parts = [...document.querySelectorAll(".part")];
  const of = parts.map((part) => [...part.querySelectorAll(".row")]);
  // Read once: reading text later would mean reading it after every key.
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const at = new Map(rows.map((row, i) => [row, i]));
  const turns = [...document.querySelectorAll(".turn")];
  document.querySelector(".tools").hidden = false;

  const filter = () => {
    const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [layer, actor, call] = ["layer", "actor", "call"].map((id) => $(id).value);
    const changed = $("changed")?.checked;
    const all = !words.length && !layer && !actor && !call && !changed;
    let shown = 0;
    for (const row of rows) {
      const { dataset: data } = row;
      const show = (!layer || data.layer === layer) && (!actor || data.actor === actor)
        && (!call || data.calls.split(" ").includes(call)) && (!changed || row.classList.contains("differs"))
        && words.every((word) => texts[at.get(row)].includes(word));
      if (row.hidden === show) row.hidden = !show;
      shown += show;
    }
    parts.forEach((part, i) => {
      part.hidden = of[i].every((row) => row.hidden);
      if (!all && !part.hidden) part.open = true;
    });
    turns.forEach((turn) => { turn.hidden = !all; });
    $("count").textContent = all ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
  };
  const clear = () => {
    $("q").value = "";
    ["layer", "actor", "call"].forEach((id) => { $(id).value = ""; });
    if ($("changed")) $("changed").checked = false;
    filter();
  };

  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  $("q").addEventListener("input", filter);
  ["layer", "actor", "call", "changed"].forEach((id) => $(id)?.addEventListener("change", filter));
  $("fold").addEventListener("click", () => {
    const fold = parts.some((part) => part.open);
    parts.forEach((part) => { part.open = !fold; });
    $("fold").textContent = fold ? "Unfold all sections" : "Fold all sections";
  });
  const details = rows.flatMap((row) => [...row.querySelectorAll("details")]);
  $("open").addEventListener("click", () => {
    const open = details.some((row) => !row.open && !row.closest("[hidden]"));
    details.forEach((row) => { row.open = open && !row.closest("[hidden]"); });
    $("open").textContent = open ? "Close all rows" : "Open all rows";
  });
  document.querySelectorAll("button[data-layer]").forEach((button) => button.addEventListener("click", () => {
    clear();
    $("layer").value = button.dataset.layer;
    filter();
    $("rows").scrollIntoView();
    $("layer").focus({ preventScroll: true });
  }));

  // The row that an address such as plan.html#row:pivot names is open.
  const named = () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (row?.tagName !== "DETAILS") return;
    row.closest(".part").open = true;
    row.open = true;
    row.scrollIntoView({ block: "center" });
    row.firstElementChild.focus({ preventScroll: true });
  };
  addEventListener("hashchange", named);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      clear();
      return;
    }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "/") {
      event.preventDefault();
      $("q").focus();
    } else if (event.key === "j" || event.key === "k") {
      const there = details.filter((row) => !row.closest("[hidden]") && row.closest(".part").open);
      const here = there.findIndex((row) => row.contains(document.activeElement));
      const next = here < 0 ? 0 : here + (event.key === "j" ? 1 : -1);
      there[Math.max(0, Math.min(next, there.length - 1))]?.firstElementChild.focus();
    }
  });

  // On paper every section is open; afterwards each is as before.
  let before = [];
  addEventListener("beforeprint", () => {
    before = [...document.querySelectorAll("details")].map((one) => [one, one.open]);
    document.querySelectorAll(".part, .notes").forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => before.forEach(([one, open]) => { one.open = open; }));

  filter();
  named();
})();
