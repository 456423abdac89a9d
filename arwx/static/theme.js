// The chosen theme, before anything is painted: a page must not flash in the other one.
(() => {
  "use strict";
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Without storage the preference of the system counts.
  }
  document.documentElement.classList.add("has-js");
})();
