"""``report.html``: one file that needs no network, for screens in light and dark and for paper."""

from __future__ import annotations

from html import escape

from proa.compare.model import Machine, Report, Row
from proa.compare.report import charts
from proa.compare.report.tables import cell, classic, reading

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf7;--fg:#1c2328;--soft:#5d686f;--line:#dcd8cf;--card:#fff;
--t0:#8b949a;--t1:#1f7a8c;--t2:#c8553d;--t3:#3d6fb4;--t4:#7d5ba6;--t5:#6a994e;
--p0:#1f7a8c;--p1:#e0a458;--p2:#c8553d;--p3:#7d5ba6}
@media(prefers-color-scheme:dark){:root{--bg:#14181b;--fg:#e6e4df;--soft:#9aa5ac;--line:#30383d;
--card:#1b2125;--t0:#7c868d;--t1:#4fb3c6;--t2:#e5846e;--t3:#7ba6e3;--t4:#b195d6;--t5:#96c47a;
--p0:#4fb3c6;--p1:#e9bd7f;--p2:#e5846e;--p3:#b195d6}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);
font:16px/1.55 system-ui,sans-serif}main{max-width:860px;margin:0 auto;padding:40px 20px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 6px}h2{font-size:20px;margin:44px 0 12px}
h3{font-size:16px;margin:0 0 2px}p{margin:0 0 12px}.soft,figcaption{color:var(--soft);
font-size:14px}
ul.words{padding:0;list-style:none;margin:22px 0}ul.words li{padding:12px 16px;margin:0 0 8px;
background:var(--card);border:1px solid var(--line);border-left:4px solid var(--t1);
border-radius:6px}
figure{margin:0 0 22px;padding:18px;background:var(--card);border:1px solid var(--line);
border-radius:8px;break-inside:avoid}figcaption{margin:0 0 14px}
svg{width:100%;height:auto;display:block}
svg text{font:13px system-ui,sans-serif;fill:var(--fg)}svg .n{text-anchor:end}
svg .v{fill:var(--soft)}svg .r{stroke:var(--fg);stroke-width:1.5;opacity:.75}
svg .d{fill:var(--fg);opacity:.35}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:7px 12px 7px 0;
border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600}tbody th{font-weight:500}
.note{padding:10px 14px;border:1px solid var(--t2);border-radius:6px}
details{margin:12px 0}summary{cursor:pointer}
@media print{:root{--bg:#fff;--card:#fff}main{padding:0;max-width:none}details{display:none}}
"""

_GROUPS = (
    ("start.", "Starting"),
    ("life.", "An instance's life"),
    ("parallel.", "Many at once"),
    ("memory.", "Memory"),
    ("cpu.", "Computing"),
    ("files.", "Files"),
)


def render(report: Report) -> str:
    """Return the page."""
    words = "".join(f"<li>{escape(line)}</li>" for line in reading(report))
    note = (
        ""
        if report.complete
        else '<p class="note">This comparison is not finished: these are the samples so far.</p>'
    )
    body = "".join(_group(report, prefix, title) for prefix, title in _GROUPS)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>What isolation costs on this machine</title><style>{_STYLE}</style></head><body>"
        f"<main><h1>What isolation costs on this machine</h1>{_machine(report)}{note}"
        f"<ul class=words>{words}</ul><h2>In short</h2>{_classic(report)}{body}"
        f"<h2>What holds an instance</h2>{_facts(report)}"
        f"<h2>All figures</h2>{_figures(report)}{_conditions(report.machine)}</main></body></html>"
    )


def _machine(report: Report) -> str:
    machine = report.machine
    words = [
        machine.processor or machine.architecture,
        f"{machine.processors} processors",
        f"{machine.memory_mb / 1000:.1f} GB",
        f"Linux {machine.kernel}",
        machine.filesystem,
        report.started_at,
    ]
    return f'<p class="soft">{escape(" · ".join(word for word in words if word))}</p>'


def _group(report: Report, prefix: str, title: str) -> str:
    figures = "".join(_figure(report, row) for row in report.rows if row.key.startswith(prefix))
    return f"<h2>{escape(title)}</h2>{figures}" if figures else ""


def _figure(report: Report, row: Row) -> str:
    drawn = charts.bars(report, row)
    if not drawn:
        return ""
    better = "shorter is better" if row.lower_is_better else "longer is better"
    scale = "; logarithmic" if charts.is_logarithmic(report, row) else ""
    stacked = charts.phases(report, row) if row.phases else ""
    if stacked:
        stacked = f'<figcaption style="margin-top:18px">Medians of its phases</figcaption>{stacked}'
    return (
        f"<figure><h3>{escape(row.title)}</h3><figcaption>{escape(row.definition)}"
        f" <em>Bar: median; line: fastest to p95; dots: samples; {better}{scale}.</em>"
        f"</figcaption>{drawn}{stacked}</figure>"
    )


def _classic(report: Report) -> str:
    return _table(
        ["", *report.targets.values()],
        [[name, *cells.values()] for name, cells in classic(report)],
    )


def _facts(report: Report) -> str:
    titles: dict[str, str] = {fact.key: fact.title for fact in report.facts}
    values = {(fact.key, fact.target): fact.value for fact in report.facts}
    rows = [
        [title, *(values.get((key, target), "—") for target in report.targets)]
        for key, title in titles.items()
    ]
    return _table(["", *report.targets.values()], rows)


def _figures(report: Report) -> str:
    rows = [
        [f"{row.title}, {row.unit}", *(cell(report, row, name) for name in report.targets)]
        for row in report.rows
    ]
    return _table(["", *report.targets.values()], rows)


def _conditions(machine: Machine) -> str:
    pairs = [
        ("Virtualization of this machine", machine.virtualization),
        ("Accelerator of virtual machines", machine.accelerator),
        ("Governor", machine.governor),
        ("cgroups", machine.cgroups),
        *((f"Version of {name}", text) for name, text in machine.versions.items()),
        *((f"Mitigation: {name}", text) for name, text in machine.mitigations.items()),
    ]
    table = _table(["", ""], [[name, text or "unknown"] for name, text in pairs])
    return f"<details><summary>Conditions of the measurement</summary>{table}</details>"


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th scope=col>{escape(text)}</th>" for text in head)
    body = "".join(
        f"<tr><th scope=row>{escape(row[0])}</th>"
        + "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
