// The two halves of the page as tabs; the address keeps which one is open.

const HASHES = { "tab-music": "#music", "tab-emotion": "#emotion" };

export class Tabs {
  constructor(list) {
    this.tabs = [...list.querySelectorAll("[role=tab]")];
    this.tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => this.open(tab));
      tab.addEventListener("keydown", (event) => this.onKey(event, i));
    });
    addEventListener("hashchange", () => this.openFromAddress());
    this.openFromAddress();
  }

  openFromAddress() {
    const named = this.tabs.find((tab) => HASHES[tab.id] === location.hash);
    this.open(named ?? this.tabs[0], false);
  }

  onKey(event, i) {
    const last = this.tabs.length - 1;
    const target = {
      ArrowRight: i === last ? 0 : i + 1, ArrowLeft: i === 0 ? last : i - 1, Home: 0, End: last,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.open(this.tabs[target]);
    this.tabs[target].focus();
  }

  open(chosen, keepInAddress = true) {
    for (const tab of this.tabs) {
      const selected = tab === chosen;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
    }
    if (keepInAddress) history.replaceState(null, "", HASHES[chosen.id]);
  }
}
