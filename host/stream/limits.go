package stream

import (
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// recheck is how often limits are read again that others can shorten.
const recheck = time.Minute

// end is a limit that will end the stream.
type end struct {
	at    time.Time // zero: never
	cause error
	limit time.Duration
	own   bool // the pump enforces it; others are enforced by the session
}

// watch enforces the limits of the stream and warns the client of them, by one timer.
func (p *Pump) watch(up Upstream) {
	p.limits.Lock()
	defer p.limits.Unlock()
	_, shared := p.Authority.(bounded)
	if p.MaxSession > 0 || p.Idle > 0 || shared {
		p.timer = time.AfterFunc(p.due(), func() { p.tick(up) })
	}
}

func (p *Pump) stopTimer() {
	p.limits.Lock()
	defer p.limits.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// ends returns the absolute and the idle limit that come first.
func (p *Pump) ends() [2]end {
	var absolute, idle end
	used := p.began.Add(time.Duration(p.touched.Load()))
	if p.MaxSession > 0 {
		absolute = end{p.began.Add(p.MaxSession), host.ErrTooLong, p.MaxSession, true}
	}
	if p.Idle > 0 {
		idle = end{used.Add(p.Idle), host.ErrIdle, p.Idle, true}
	}
	if a, ok := p.Authority.(bounded); ok {
		until, cause, unused := a.Bounds()
		if !until.IsZero() && (absolute.at.IsZero() || until.Before(absolute.at)) {
			absolute = end{until, cause, until.Sub(p.began), false}
		}
		if unused > 0 && (idle.at.IsZero() || used.Add(unused).Before(idle.at)) {
			idle = end{used.Add(unused), host.ErrIdle, unused, false}
		}
	}
	return [2]end{absolute, idle}
}

// warnAt returns when the client is to be warned of e.
func (e *end) warnAt() time.Time { return e.at.Add(-min(warnBefore, e.limit/10)) }

// due returns the time until the next warning or end. It needs p.limits.
func (p *Pump) due() time.Duration {
	wait := recheck
	for i, e := range p.ends() {
		switch {
		case e.at.IsZero():
		case p.warned[i].Equal(e.at):
			wait = min(wait, time.Until(e.at))
		default:
			wait = min(wait, time.Until(e.warnAt()))
		}
	}
	return max(wait, time.Millisecond)
}

func (p *Pump) tick(up Upstream) {
	p.limits.Lock()
	defer p.limits.Unlock()
	if p.ended {
		return
	}
	now := time.Now()
	for i, e := range p.ends() {
		switch {
		case e.at.IsZero():
		case e.own && !now.Before(e.at):
			p.ended = true
			p.cancel(e.cause)
			return
		case !now.Before(e.warnAt()) && !p.warned[i].Equal(e.at):
			p.warned[i] = e.at
			// A client that does not read must not delay the end.
			go func() { _ = up.Warn(p, e.cause, max(time.Until(e.at), 0)) }()
		}
	}
	p.timer.Reset(p.due())
}
