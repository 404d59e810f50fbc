// The switch between the system's theme, light and dark.

import { button, fill, icon } from "./dom.js";

const KEY = "boxpromptiml.theme";
const THEMES = { auto: "as the system", light: "light", dark: "dark" };
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

export function themeButton() {
  const control = button({ icon: "auto", label: "Theme", class: "quiet", onClick: () => choose(following(current())) });
  const choose = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // No storage: the choice lasts until the page is closed.
    }
    fill(control, icon(ICONS[theme]));
    const text = `Theme: ${THEMES[theme]}`;
    control.title = text;
    control.setAttribute("aria-label", text);
    // Canvases draw with the theme's colours.
    dispatchEvent(new Event("themechange"));
  };
  choose(current());
  return control;
}

const current = () => document.documentElement.dataset.theme ?? "auto";

const following = (theme) => {
  const names = Object.keys(THEMES);
  return names[(names.indexOf(theme) + 1) % names.length];
};
