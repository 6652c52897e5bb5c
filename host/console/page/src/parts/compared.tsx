import type {Change, Comparison} from "../types"
import {words} from "../words"

/** Compared shows what a version may do that the one which serves may not. */
export function Compared({of}: {of: Comparison}) {
  const more = of.more ?? [], less = of.less ?? [], other = of.changed ?? []
  return <div class="compared">
    <p>{of.from ? `${of.from} → ${of.to}` : of.to}</p>
    {more.length + less.length + other.length === 0 && <p>{words.plugins.same}</p>}
    <Changes title={words.plugins.moreTitle} list={more} kind="more" />
    <Changes title={words.plugins.less} list={less} kind="less" />
    <Changes title={words.plugins.comparison} list={other} kind="other" />
  </div>
}

function Changes({title, list, kind}: {title: string; list: Change[]; kind: string}) {
  if (list.length === 0) return null
  return <><p>{title}</p><ul class={"changes " + kind}>{list.map(c =>
    <li key={c.field + c.new}><code>{c.field}</code> {c.old && <del>{c.old}</del>} {c.new && <ins>{c.new}</ins>}</li>)}</ul></>
}
