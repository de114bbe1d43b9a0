// The style sheet of a report: system faces, light and dark, phone, desk and paper.
#include "host/audit/report_page.h"

namespace quarry::report {

const char* const kStyle = R"css(
:root{color-scheme:light dark;--bg:#fff;--soft:#f4f5f6;--cue:#0003;--fg:#1c2126;--dim:#57606a;--line:#d5d9de;--link:#0a58a6;
--pass:#08633f;--passbg:#e5f4ec;--warn:#7a4b00;--warnbg:#fdf1d8;--fail:#a31d12;--failbg:#fdeae7;--none:#4d5761;--nonebg:#eceef0;
--s0:#0072b2;--s1:#d55e00;--s2:#007e5c;--s3:#a2488b;--s4:#8c6510;--s5:#5a6570}
@media (prefers-color-scheme:dark){:root{--bg:#14181c;--soft:#1d2329;--cue:#fff4;--fg:#e6e9ec;--dim:#a4adb6;--line:#39424b;--link:#7db9f2;
--pass:#6fd6a4;--passbg:#123324;--warn:#f2c45f;--warnbg:#392a08;--fail:#ff9d90;--failbg:#451812;--none:#b4bdc6;--nonebg:#2a3138;
--s0:#56b4e9;--s1:#f09d51;--s2:#2fc79b;--s3:#e08fc0;--s4:#e6d96a;--s5:#b8c0c8}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif;overflow-wrap:anywhere}
main{max-width:1180px;margin:0 auto;padding:1.25rem 1rem 4rem}
h1,h2,h3{line-height:1.25;margin:0;text-wrap:balance}
h1{font-size:1.65rem}h2{font-size:1.3rem;margin:0 0 .35rem}h3{font-size:1rem}
p{margin:.35rem 0;max-width:75ch}a{color:var(--link)}
section{margin-top:2.4rem;padding-top:1.1rem;border-top:1px solid var(--line)}
.dim,figcaption,.was{color:var(--dim)}.was{font-size:.85rem;font-weight:400}
.verdict p{max-width:none}.verdict{border-left:6px solid;padding:.8rem 1.1rem;border-radius:3px}
.verdict.pass{border-color:var(--pass);background:var(--passbg)}.verdict.fail{border-color:var(--fail);background:var(--failbg)}
.verdict h1 .word{display:block;font-size:2rem}.verdict.pass .word{color:var(--pass)}.verdict.fail .word{color:var(--fail)}
.counts{display:flex;flex-wrap:wrap;gap:.4rem;margin:.7rem 0 .3rem;padding:0;list-style:none}
.open{list-style:none;margin:.6rem 0;padding:0}.open li{margin:.25rem 0}.open a{color:inherit}
.status{display:inline-block;white-space:nowrap;font-weight:600;padding:.05rem .55rem;border-radius:1rem;border:1px solid}
.status.pass{color:var(--pass);background:var(--passbg)}.status.warn{color:var(--warn);background:var(--warnbg)}
.status.fail{color:var(--fail);background:var(--failbg)}.status.not_checked{color:var(--none);background:var(--nonebg);border-style:dashed}
.status i{font-style:normal;display:inline-block;min-width:1.1em;text-align:center}
.facts{display:grid;grid-template-columns:fit-content(16rem) minmax(0,1fr);gap:.15rem 1rem;margin:.5rem 0}
@media (max-width:460px){.facts{grid-template-columns:minmax(0,1fr)}.facts dd{margin:0 0 .3rem .8rem!important}}.facts dt{color:var(--dim)}.facts dd{margin:0}.facts code{font-size:.9em}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;margin:1rem 0 0;padding:0}
details>summary{cursor:pointer}details.def>summary{list-style:none}details.def>summary::-webkit-details-marker{display:none}
details.def>summary::after{content:"?";display:inline-block;margin-left:.4em;min-width:1.35em;text-align:center;font-size:.7rem;font-weight:600;line-height:1.3em;border:1px solid var(--line);border-radius:1em;color:var(--dim);vertical-align:.12em}
details.def[open]>summary::after{content:"×"}
details.def .body{font-size:.88rem;font-weight:400;color:var(--dim);max-width:70ch;padding:.2rem 0 .35rem}
summary:focus-visible,button:focus-visible,a:focus-visible,.scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.metrics{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:.6rem;margin:.8rem 0}
.metric{background:var(--soft);border-radius:4px;padding:.55rem .75rem}
.metric .name{font-size:.88rem;color:var(--dim)}.metric .value{font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}
.metric .range{font-size:.85rem;color:var(--dim);font-variant-numeric:tabular-nums}
.table{margin:1.3rem 0 0}.pair{display:flex;flex-wrap:wrap;gap:.6rem 1.6rem;align-items:flex-start;margin-top:.4rem}
.pair>.chart{flex:1 1 400px;max-width:520px;min-width:0;margin:0}.pair>.scroll{flex:1 1 400px;min-width:0}
@media (max-width:460px){.metrics{grid-template-columns:repeat(2,minmax(0,1fr))}.pair>.chart,.pair>.scroll{flex-basis:100%;max-width:100%}}
.scroll{overflow:auto;max-height:34rem;max-width:100%;background:linear-gradient(90deg,var(--bg) 40%,#0000) 0 0/2.2rem 100% no-repeat local,linear-gradient(-90deg,var(--bg) 40%,#0000) 100% 0/2.2rem 100% no-repeat local,linear-gradient(0deg,var(--bg) 40%,#0000) 0 100%/100% 2.2rem no-repeat local,linear-gradient(90deg,var(--cue),#0000) 0 0/.7rem 100% no-repeat,linear-gradient(-90deg,var(--cue),#0000) 100% 0/.7rem 100% no-repeat,linear-gradient(0deg,var(--cue),#0000) 0 100%/100% .6rem no-repeat}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .7rem;text-align:start;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{position:sticky;top:0;background:var(--bg);font-weight:600;color:var(--dim);vertical-align:bottom;overflow-wrap:normal}
td{max-width:26rem}.scroll td{overflow-wrap:normal}.scroll td bdi{display:inline-block;max-width:22rem;overflow-wrap:break-word}@media (max-width:460px){.scroll td bdi{max-width:11rem}}td.n,th.n{text-align:end}td.n{white-space:nowrap}td.none{color:var(--dim)}
th button{all:unset;cursor:pointer;font:inherit;color:inherit}
th[aria-sort] button::after{content:"\2195";opacity:.45;margin-inline-start:.3em}
th[aria-sort=ascending] button::after{content:"\2191";opacity:1}th[aria-sort=descending] button::after{content:"\2193";opacity:1}
table.gates{width:100%}.gates td{max-width:none}.gates td[data-head=value],.gates td[data-head=limit],.gates td[data-head=time],.gates td[data-head=decision]{white-space:nowrap}.gates .title{font-weight:600}.gates .id{font-size:.8rem;color:var(--dim);font-family:ui-monospace,"Liberation Mono",monospace}
.gates .do{font-size:.9rem}.gates .why{font-size:.9rem;color:var(--dim)}
@media screen and (max-width:720px){.gates thead{display:none}.gates,.gates tbody,.gates tr,.gates td{display:block;width:100%}
.gates tr{border-bottom:1px solid var(--line);padding:.6rem 0}.gates td{border:0;padding:.1rem 0;text-align:start;white-space:normal}
.gates td[data-head]::before{content:attr(data-head) ": ";color:var(--dim)}.gates td.void{display:none}}
@media screen{.wide{font-size:.85rem}.wide th,.wide td{padding:.28rem .42rem}.wide td[data-head=created],.wide td[data-head=time]{white-space:normal;min-width:6rem}.wide td[data-head=note] bdi{min-width:9rem}.wide td[data-head=model] bdi,.wide td[data-head=lacks] bdi{min-width:6rem}}
@media screen and (max-width:860px){.whole{max-height:none}.fold,.fold tbody,.fold tr,.fold td{display:block;width:100%}.fold thead{display:none}
.fold tr{border-bottom:1px solid var(--line);padding:.6rem 0}.fold td{border:0;padding:.1rem 0!important;text-align:start;white-space:normal;max-width:none}
.fold td::before{content:attr(data-head) ": ";color:var(--dim)}.fold td.none{display:none}.fold td:first-child,.fold td:first-child::before{font-weight:600;color:inherit}.fold td bdi{display:inline!important;max-width:none!important}}
svg{display:block;width:100%;height:auto;font-family:inherit}svg text{fill:var(--fg)}
svg .l{font-size:12px}svg .k{font-size:11px;fill:var(--dim);font-variant-numeric:tabular-nums}svg .h{font-size:12px;font-weight:600}
svg .g{stroke:var(--line);stroke-width:1}svg .t,svg .a{stroke:var(--dim);stroke-width:1}
.w{stroke:var(--fg);stroke-width:1.3;fill:none}.limit{stroke:var(--fail);stroke-width:2.5}.ideal{stroke:var(--dim);stroke-width:1.3;stroke-dasharray:2 4}
.line{fill:none!important;stroke-width:2}.p{stroke-width:1.8}
.s0{fill:var(--s0);stroke:var(--s0)}.s1{fill:var(--s1);stroke:var(--s1)}.s2{fill:var(--s2);stroke:var(--s2)}
.s3{fill:var(--s3);stroke:var(--s3)}.s4{fill:var(--s4);stroke:var(--s4)}.s5{fill:var(--s5);stroke:var(--s5)}
rect.s0,rect.s1,rect.s2,rect.s3,rect.s4,rect.s5{stroke:none}
.line.s1{stroke-dasharray:7 4}.line.s2{stroke-dasharray:2 3}.line.s3{stroke-dasharray:9 3 2 3}.line.s4{stroke-dasharray:4 2}.line.s5{stroke-dasharray:12 4}
.p.s1,.p.s3,.p.s5{fill:var(--bg)}
figcaption{font-size:.82rem;margin-top:.2rem}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:1.2rem 1.6rem;margin-top:.8rem}.charts .chart{margin:0}.scroll+.charts{margin-top:1.6rem}.scroll+h3{margin-top:1.4rem}
footer{margin-top:3rem;color:var(--dim);font-size:.85rem}
@media print{:root{color-scheme:light;--bg:#fff;--soft:#f4f5f6;--fg:#000;--dim:#444;--line:#bbb;--link:#000;--pass:#08633f;--passbg:#fff;--warn:#7a4b00;--warnbg:#fff;--fail:#a31d12;--failbg:#fff;--none:#444;--nonebg:#fff;
--s0:#0072b2;--s1:#d55e00;--s2:#007e5c;--s3:#a2488b;--s4:#8c6510;--s5:#5a6570}
html,body{font-size:9.5pt}main{max-width:none;padding:0}nav{display:none}.scroll{overflow:visible;max-height:none;background:none}
th,td{padding:.2rem .4rem}.scroll td{overflow-wrap:anywhere}.scroll td bdi{display:inline;max-width:none}
.wide,.wide tbody,.wide td{display:block}.wide thead{display:none}.wide tr{display:grid;grid-template-columns:repeat(auto-fill,minmax(2.2cm,1fr));gap:.15cm .35cm;padding:.2cm 0;border-bottom:1px solid var(--line)}
.wide td{border:0;padding:0;text-align:start;white-space:normal}.wide td::before{content:attr(data-head);display:block;font-size:7.5pt;color:var(--dim)}.wide td[data-head=note],.wide td[data-head=lacks],.wide td[data-head^=estimated]{grid-column:span 2}
section{break-inside:auto;margin-top:1.4rem}h2,h3,section>p{break-after:avoid}.chart,.charts>div,.metric,tr,.verdict{break-inside:avoid}thead th{position:static}
.pair>.chart{flex:0 0 9cm}.pair>.scroll{flex:1 1 7cm}th button::after{content:""!important}details.def>summary::after{display:none!important}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

}  // namespace quarry::report
