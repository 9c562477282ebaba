package lifecycle

import "time"

// Window is a time of the day in which hosts may be started, on some days of the week. It opens when the clocks at
// Location first show Start on one of the Days, and closes when they first show End after that, on the next day where
// End is not after Start. A time that the clocks skip in spring counts as shown when they have skipped it; of one that
// they show twice in autumn the first counts. It is a plain value.
type Window struct {
	Location string         `json:"location,omitempty"` // IANA time zone: "Europe/Zurich"; empty means UTC
	Days     []time.Weekday `json:"days,omitempty"`     // on which it opens, 0 is Sunday; none means every day
	Start    string         `json:"start"`              // "22:00"
	End      string         `json:"end"`                // "05:00"; hosts are started before it, never at it
}

// window is a Window that was found to be sound.
type window struct {
	zone       *time.Location
	days       [7]bool
	start, end int // minutes from midnight
}

func (w Window) parse() (window, error) {
	const op = "lifecycle.Window"
	var out window
	var err error
	if out.zone, err = time.LoadLocation(w.Location); err != nil || w.Location == "Local" {
		return out, Errorf(Invalid, op, "", "%q is no time zone that is known here: want an IANA name such as Europe/Zurich, and "+
			"the zone data installed (or the program built with the package time/tzdata)", w.Location)
	}
	for _, d := range w.Days {
		if d < time.Sunday || d > time.Saturday {
			return out, Errorf(Invalid, op, "", "day %d: want 0 (Sunday) to 6", d)
		}
		out.days[d] = true
	}
	if len(w.Days) == 0 {
		out.days = [7]bool{true, true, true, true, true, true, true}
	}
	if out.start, err = parseClock(w.Start); err != nil {
		return out, err
	}
	out.end, err = parseClock(w.End)
	return out, err
}

// parseClock returns the minutes from midnight of "22:00".
func parseClock(text string) (int, error) {
	clock, err := time.Parse("15:04", text)
	if err != nil {
		return 0, Errorf(Invalid, "lifecycle.Window", "", "%q is no time of the day: want 22:00", text)
	}
	return clock.Hour()*60 + clock.Minute(), nil
}

// on returns when the window opens on that day, and closes.
func (w window) on(year int, month time.Month, day int) (opens, closes time.Time) {
	opens = clockShows(year, month, day, w.start, w.zone)
	if w.end <= w.start {
		day++
	}
	return opens, clockShows(year, month, day, w.end, w.zone)
}

// clockShows returns the first moment at which clocks there show that time of that day, or a later one.
func clockShows(year int, month time.Month, day, minutes int, zone *time.Location) time.Time {
	t := time.Date(year, month, day, 0, minutes, 0, 0, zone)
	want := time.Date(year, month, day, 0, minutes, 0, 0, time.UTC).Unix()
	_, offset := t.Zone()
	from, until := t.ZoneBounds()
	switch shown := t.Unix() + int64(offset); {
	case shown > want: // skipped, and t is behind the skip
		return from
	case shown < want: // skipped, and t is before the skip
		return until
	case from.IsZero():
		return t
	}
	_, offset = from.Add(-time.Second).Zone()
	if first := time.Unix(want-int64(offset), 0); first.Before(from) {
		return first.In(zone)
	}
	return t
}

// windows are several, of which one must be open; none means always.
type windows []window

// farDays bounds the search for the next opening: every window opens once a week, except where the clocks skip it.
const farDays = 22

// at reports whether a window is open, and until when that is so at least.
func (ws windows) at(now time.Time) (open bool, until time.Time) {
	if len(ws) == 0 {
		return true, time.Time{}
	}
	var opensNext, closesNext time.Time
	for _, w := range ws {
		year, month, today := now.In(w.zone).Date()
		for day := today - 1; day < today+farDays; day++ {
			if !w.days[time.Date(year, month, day, 12, 0, 0, 0, time.UTC).Weekday()] {
				continue
			}
			opens, closes := w.on(year, month, day)
			if !closes.After(opens) || !closes.After(now) {
				continue
			}
			if opens.After(now) {
				opensNext = earlier(opensNext, opens)
				break
			}
			open = true
			closesNext = earlier(closesNext, closes)
		}
	}
	if open {
		return true, earlier(closesNext, opensNext)
	}
	return false, opensNext
}

// earlier returns the earlier of two times; the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
