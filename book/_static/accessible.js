// Names and roles that the theme's pages lack, for those who listen to the page or use the keyboard.
document.addEventListener("DOMContentLoaded", () => {
  // The arrows that unfold the navigation have no text of their own.
  document.querySelectorAll("nav details > summary").forEach((summary) => {
    const link = summary.closest("li")?.querySelector("a");
    summary.setAttribute("aria-label", `Pages below ${link?.textContent.trim() ?? "this one"}`);
  });
  // Bibliography entries are announced as such; the list around them must not promise list items.
  document.querySelectorAll(".citation-list").forEach((list) => list.removeAttribute("role"));
  // Wide tables and formulas scroll: the keyboard must be able to reach them.
  const reachable = () =>
    document.querySelectorAll(".pst-scrollable-table-container, .dt-layout-table, div.math").forEach((box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    });
  window.addEventListener("load", reachable);
  window.addEventListener("resize", reachable);
  // Chinese words are to be read, and hyphenated, as Chinese.
  document.querySelectorAll("dl.glossary dt").forEach((term) => {
    if (/\p{Script=Han}/u.test(term.textContent)) term.lang = "zh-Hans";
  });
});
