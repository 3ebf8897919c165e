"""The style sheet of ``report.html``: light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#f6f5f1;--fg:#1a2125;--soft:#5a666d;--line:#dedad0;--card:#fff;
--t0:#98a1a6;--t1:#16798c;--t2:#cf5a41;--t3:#3f6fb8;--t4:#7f5cab;--t5:#5f9143;
--p0:#16798c;--p1:#e2a24b;--p2:#cf5a41;--p3:#7f5cab}
@media(prefers-color-scheme:dark){:root{--bg:#12171a;--fg:#e8e6e1;--soft:#9ba8af;--line:#2d363b;
--card:#1a2125;--t0:#77838a;--t1:#42aabf;--t2:#e27d66;--t3:#7aa6e4;--t4:#b294d8;--t5:#92c275;
--p0:#42aabf;--p1:#e9bd7f;--p2:#e27d66;--p3:#b294d8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.55 system-ui,sans-serif}
main{max-width:900px;margin:0 auto;padding:48px 24px 80px}
h1{font-size:34px;line-height:1.15;letter-spacing:-.02em;margin:0 0 8px}
h2{font-size:22px;letter-spacing:-.01em;margin:52px 0 14px}h3{font-size:16px;margin:0}
p{margin:0 0 12px}.soft,figcaption,.key{color:var(--soft);font-size:14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:14px;
margin:28px 0 22px}
.tile{background:var(--card);border:1px solid var(--line);border-top:4px solid;border-radius:8px;
padding:14px 16px;break-inside:avoid}
.tile h3{color:var(--soft);font-size:14px;font-weight:600}
.tile b{display:block;white-space:nowrap;font-size:30px;line-height:1.2;letter-spacing:-.02em;
margin:6px 0 0}.tile b small{font-size:16px;font-weight:500;letter-spacing:0}
.tile dl{margin:10px 0 0;font-size:14px;display:grid;grid-template-columns:1fr auto;gap:3px 10px}
.tile dt{color:var(--soft)}.tile dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
ul.words{padding:0 0 0 18px;margin:0 0 12px}ul.words li{margin:0 0 6px}
figure{margin:0 0 16px;padding:18px 20px;background:var(--card);border:1px solid var(--line);
border-radius:8px;break-inside:avoid}figcaption{margin:2px 0 16px;max-width:70ch}
.tag{float:right;color:var(--soft);font-size:13px;margin-left:12px}
.sub{margin:20px 0 10px}
svg{width:100%;height:auto;display:block;overflow:visible}svg.narrow{display:none}
svg text{font:14px system-ui,sans-serif;fill:var(--fg);font-variant-numeric:tabular-nums}
svg .n{text-anchor:end}svg .v{fill:var(--soft)}svg .f{font-weight:600}
svg .r{stroke:var(--fg);stroke-width:1.5;opacity:.7}svg .d{fill:var(--fg);opacity:.45}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:4px 18px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:9px 14px 9px 0;border-bottom:1px solid var(--line);
vertical-align:top}tbody tr:last-child>*{border-bottom:0}
thead th{color:var(--soft);font-weight:600}tbody th{font-weight:500;min-width:130px}
.note{padding:10px 14px;border:1px solid var(--t2);border-radius:6px}
details{margin:18px 0}summary{cursor:pointer;margin:0 0 10px}
@media(max-width:640px){main{padding:28px 14px 60px}h1{font-size:27px}figure{padding:14px}
.tiles{grid-template-columns:1fr;gap:10px}.tile{padding:12px}.tile b{font-size:22px}
.tile b small{font-size:13px}svg.wide{display:none}svg.narrow{display:block}
.tag{float:none;display:block;margin:0}}
@media print{:root{--bg:#fff;--card:#fff}body{font-size:12px}main{padding:0;max-width:none}
h2{break-after:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
