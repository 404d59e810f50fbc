// A classic script in the page's head: sets the theme before anything is painted.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("boxpromptiml.theme");
  } catch {
    // No storage: the system's theme.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
