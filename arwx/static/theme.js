// The chosen theme and width of the table, before anything is painted: nothing must flash or jump.
(() => {
  "use strict";
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    const width = Number(localStorage.getItem("table-width"));
    if (width) document.documentElement.style.setProperty("--table", `${width}px`);
  } catch {
    // Without storage the preference of the system counts.
  }
  document.documentElement.classList.add("has-js");
})();
