package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/ncnkit/lifecycle"
)

// progress shows what runs do: a line per host, drawn anew, on a terminal; else a line per event. It is safe for
// concurrent use. Close it.
type progress struct {
	app  *app
	quit chan struct{}
	wg   sync.WaitGroup
	once sync.Once // starts the clock

	mu    sync.Mutex
	bars  []*bar
	whole *bar // of a rollout; its index counts hosts that have ended. Then only hosts under way have a line
}

// bar is one host's line.
type bar struct {
	host     string
	run      string
	index    int
	total    int
	text     string
	since    time.Time // the run began, or was taken up
	step     time.Time // the step began
	until    time.Time // the run ended
	lastWait string
}

// progress begins to show what happens to these hosts.
func (a *app) progress(hosts ...string) *progress {
	p := &progress{app: a, quit: make(chan struct{})}
	for _, h := range hosts {
		p.bars = append(p.bars, &bar{host: h, text: "waits for its turn"})
	}
	return p
}

// rolloutProgress begins to show what happens in a rollout, of which some hosts have ended already.
func (a *app) rolloutProgress(ended int) *progress {
	p := a.progress()
	p.whole = &bar{host: "rollout", index: ended}
	p.bars = append(p.bars, p.whole)
	return p
}

// bar returns the line of a host.
func (p *progress) bar(host string) *bar {
	for _, b := range p.bars {
		if b.host == host {
			return b
		}
	}
	b := &bar{host: host}
	p.bars = append(p.bars, b)
	return b
}

// observe is the [lifecycle.Observer].
func (p *progress) observe(e lifecycle.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Type {
	case lifecycle.EventPlan:
		p.app.driving.Add(1)
	case lifecycle.EventEnd:
		p.app.driving.Add(-1)
	}
	var line string
	name := e.Target
	if p.whole != nil && e.Target == lifecycle.KindRollout+"-"+e.Run {
		name = p.whole.host
		line = p.whole.takeRollout(e)
	} else {
		line = p.bar(e.Target).take(e)
	}
	switch {
	case p.app.Quiet:
	case !p.app.screen:
		if line != "" {
			p.app.say("%s %s %s", e.Time.Format("15:04:05"), clean(name), clean(line))
		}
	default:
		p.once.Do(p.tick)
		p.forget(e)
		p.draw()
	}
}

// take notes an event, and returns the line for it; "" when there is nothing new to say.
func (b *bar) take(e lifecycle.Event) string {
	b.total = e.Total
	at := fmt.Sprintf("%d/%d %s", e.Index, e.Total, e.Step)
	switch e.Type {
	case lifecycle.EventPlan:
		b.run, b.since, b.step, b.until, b.text = e.Run, e.Time, e.Time, time.Time{}, "begins"
		return fmt.Sprintf("run %s: %s, steps: %d", e.Run, e.Summary, e.Total)
	case lifecycle.EventStep:
		b.index, b.step, b.lastWait = e.Index, e.Time, ""
		b.text = e.Step + ": " + e.Summary
		return at + ": " + e.Summary
	case lifecycle.EventWait:
		b.text = e.Step + ": waits for " + e.Detail
		if e.Detail == b.lastWait {
			return ""
		}
		b.lastWait = e.Detail
		return at + ": waits for " + e.Detail
	case lifecycle.EventResult:
		b.text = fmt.Sprintf("%s: %s", e.Step, cmp.Or(e.Detail, outcomeText(e.Outcome)))
		return fmt.Sprintf("%s: %s, %s", at, strings.TrimSuffix(outcomeText(e.Outcome)+": "+e.Detail, ": "), took(e.Time.Sub(b.step)))
	case lifecycle.EventEnd:
		b.until, b.text = e.Time, string(e.State)
		return fmt.Sprintf("run %s: %s, %s", e.Run, e.State, took(e.Time.Sub(b.since)))
	}
	return ""
}

// takeRollout notes an event of the rollout itself, and returns the line for it.
func (b *bar) takeRollout(e lifecycle.Event) string {
	b.total = e.Total
	switch e.Type {
	case lifecycle.EventPlan:
		b.run, b.since, b.text = e.Run, e.Time, "begins"
		return fmt.Sprintf("run %s: hosts: %d", e.Run, e.Total)
	case lifecycle.EventStep:
		b.text = e.Step + " begins"
		return fmt.Sprintf("%s begins, host %d of %d", e.Step, e.Index, e.Total)
	case lifecycle.EventWait:
		b.text = e.Detail
		return e.Detail
	case lifecycle.EventResult:
		b.index++
		b.text = fmt.Sprintf("%s: %s", e.Step, outcomeText(e.Outcome))
		return fmt.Sprintf("%d/%d %s: %s", b.index, e.Total, e.Step, strings.TrimSuffix(outcomeText(e.Outcome)+": "+e.Detail, ": "))
	case lifecycle.EventEnd:
		b.until, b.text = e.Time, string(e.State)
		return fmt.Sprintf("run %s: %s, %s: %s", e.Run, e.State, took(e.Time.Sub(b.since)), e.Detail)
	}
	return ""
}

// forget takes away the line of a host of a rollout that has ended: there may be more hosts than lines on the screen. How it
// ended stays above.
func (p *progress) forget(e lifecycle.Event) {
	if p.whole == nil || e.Type != lifecycle.EventEnd {
		return
	}
	p.bars = slices.DeleteFunc(p.bars, func(b *bar) bool {
		gone := b != p.whole && b.host == e.Target
		if gone {
			p.app.say("%s", clean(b.line(p.app.columns(), e.Time)))
		}
		return gone
	})
}

// outcomeText says an outcome to people.
func outcomeText(o lifecycle.Outcome) string {
	if o == lifecycle.OutcomeFound {
		return "was in place already"
	}
	return string(o)
}

// tick draws every second, so that the times go on.
func (p *progress) tick() {
	p.wg.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-ticker.C:
				p.mu.Lock()
				p.draw()
				p.mu.Unlock()
			}
		}
	})
}

func (p *progress) draw() {
	var lines []string
	for _, b := range p.bars {
		lines = append(lines, b.line(p.app.columns(), time.Now()))
	}
	p.app.stderr.draw(lines)
}

// columns returns how wide the terminal is.
func (a *app) columns() int {
	if f, ok := a.stderr.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// line returns the bar in at most width-1 columns.
func (b *bar) line(width int, now time.Time) string {
	const cells = 14
	full := 0
	if b.total > 0 {
		full = cells * b.index / b.total
	}
	if !b.until.IsZero() {
		now = b.until
	}
	elapsed := "    -"
	if !b.since.IsZero() {
		elapsed = fmt.Sprintf("%5s", now.Sub(b.since).Round(time.Second))
	}
	s := fmt.Sprintf("%-10s [%s%s] %2d/%-2d %s  %s", b.host, strings.Repeat("#", full), strings.Repeat(".", cells-full), b.index, b.total, elapsed, b.text)
	return fit(clean(s), width)
}

// fit cuts a line to at most width-1 columns.
func fit(s string, width int) string {
	runes := []rune(s)
	if len(runes) >= width {
		runes = append(runes[:max(0, width-2)], '…')
	}
	return string(runes)
}

// close ends the drawing; what was drawn last stays.
func (p *progress) close() {
	close(p.quit)
	p.wg.Wait()
	p.app.stderr.leave()
}
