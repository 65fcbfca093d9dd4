// Names and roles that the theme's pages lack, for those who listen to the page or use the keyboard.
document.addEventListener("DOMContentLoaded", () => {
  // The arrows that unfold the navigation have no text of their own.
  document.querySelectorAll("nav details > summary").forEach((summary) => {
    const link = summary.closest("li")?.querySelector("a");
    summary.setAttribute("aria-label", `Pages below ${link?.textContent.trim() ?? "this one"}`);
  });
  // Bibliography entries are announced as such; the list around them must not promise list items.
  document.querySelectorAll(".citation-list").forEach((list) => list.removeAttribute("role"));
  // Chinese words are to be read, and hyphenated, as Chinese.
  document.querySelectorAll("dl.glossary dt").forEach((term) => {
    if (/\p{Script=Han}/u.test(term.textContent)) term.lang = "zh-Hans";
  });
});
