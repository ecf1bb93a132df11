"""The paper's tables and figures: its systems, trained in stacked runs, evaluated and written down.

systems → what is compared; schedules → how long and how wide; material → a corpus as runs see it;
rows → one system's runs trained and evaluated; records → what a run found, on disk; reproduce →
all of it, resumable; tables and plots → what a reader sees.
"""
