// Joins the two halves of the page, their one player and what the service says of itself.

import { fetchCatalogue, fetchModels, fetchMoods } from "./api.js";
import { FindEmotion } from "./find-emotion.js";
import { FindMusic } from "./find-music.js";
import { Player } from "./player.js";
import { clearProblem, showProblem } from "./problems.js";
import { Tabs } from "./tabs.js";

const byId = (id) => document.getElementById(id);

const tabs = new Tabs(byId("tabs"));
const player = new Player();
const findMusic = new FindMusic(player);
const findEmotion = new FindEmotion(player, {
  onUse: (curve, name) => {
    tabs.open(byId("tab-music"));
    byId("tab-music").focus();
    scrollTo({ top: 0 });
    findMusic.useCurve(curve, name);
  },
  onDrop: () => tabs.open(byId("tab-emotion")),
});

async function loadMoods() {
  try {
    const { items } = await fetchMoods();
    clearProblem(byId("moods-problem"));
    findMusic.setMoods(items);
    findEmotion.setMoods(items);
  } catch (error) {
    showProblem(byId("moods-problem"), error, { headline: "The mood words could not be loaded" });
  }
}

// What the service searches is worth knowing, but nothing on the page waits for it.
async function showService() {
  const [catalogue, models] = await Promise.allSettled([fetchCatalogue(), fetchModels()]);
  const facts = [];
  if (Number.isInteger(catalogue.value?.total)) facts.push(`${catalogue.value.total.toLocaleString("en")} tracks`);
  const active = models.value?.items.find((model) => model.active);
  if (active) facts.push(`model ${active.name ?? active.id}`);
  byId("service-facts").textContent = facts.join(" · ");
}

loadMoods();
showService();
