// Names and keys that the theme leaves out: the search has a name, wide tables and code scroll by keyboard.
"use strict";

function mend() {
  document.querySelector(".md-search[role=dialog]")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex]), pre > code:not([tabindex])").forEach((part) => {
    part.tabIndex = 0;
  });
}

mend();
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
