package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a sandbox has no files

	"github.com/seed-a3fb47d6/bulkhead/sdk"
)

// syncWindow is a time in which a project allows or denies syncs.
// https://argo-cd.readthedocs.io/en/stable/user-guide/sync_windows/
type syncWindow struct {
	Kind         string   `json:"kind"`     // allow or deny
	Schedule     string   `json:"schedule"` // cron, five fields
	Duration     string   `json:"duration"`
	Applications []string `json:"applications"`
	Namespaces   []string `json:"namespaces"`
	Clusters     []string `json:"clusters"`
	ManualSync   bool     `json:"manualSync"` // does not apply to syncs that a person asks for
	TimeZone     string   `json:"timeZone"`
	And          bool     `json:"andOperator"` // all lists must match, not one
}

const maxWindow = 366 * 24 * time.Hour

// permitted refuses a sync that the windows of the Application's project do not permit now.
// The controller would not begin it, and would say so much later. If the person may not read
// the project, the controller decides.
func (a *application) permitted(t *argoApp) error {
	project := cmp.Or(a.Spec.Project, "default")
	if !validName(project) {
		return sdk.Errorf(422, "the Application's project %q is not a name", project)
	}
	var p struct {
		Spec struct {
			SyncWindows []syncWindow `json:"syncWindows"`
		} `json:"spec"`
	}
	o := object{t.cluster, argoPath, "appprojects", "AppProject", t.ns, project}
	if err := o.read(&p); err != nil {
		if status := sdk.StatusOf(err); status == 403 || status == 404 {
			return nil
		}
		return err
	}
	var windows []syncWindow
	for _, w := range p.Spec.SyncWindows {
		if w.matches(a) {
			windows = append(windows, w)
		}
	}
	w, until, err := blocking(windows, now())
	if err != nil {
		return sdk.Errorf(409, "project %s has a sync window that cannot be read: %v", project, err)
	}
	if w == nil {
		return nil
	}
	if w.Kind == "deny" {
		return sdk.Errorf(409, "the sync window %q of project %s (for %s, deny) does not permit a sync before %s",
			w.Schedule, project, w.Duration, until.UTC().Format(time.RFC3339))
	}
	return sdk.Errorf(409, "project %s permits a sync only in its sync windows, such as %q for %s", project, w.Schedule, w.Duration)
}

// blocking returns the window that does not permit a person's sync now, nil if none: an
// active deny comes before an active allow; without either, an allow at other times denies.
func blocking(windows []syncWindow, now time.Time) (blocks *syncWindow, until time.Time, err error) {
	allowed := false
	var idle *syncWindow
	for i := range windows {
		w := &windows[i]
		end, active, err := w.active(now)
		if err != nil {
			return nil, until, fmt.Errorf("%q: %w", w.Schedule, err)
		}
		switch {
		case active && w.Kind == "deny" && !w.ManualSync:
			if end.After(until) {
				blocks, until = w, end
			}
		case active && w.Kind == "allow":
			allowed = true
		case w.Kind == "allow" && !w.ManualSync:
			idle = w
		}
	}
	if blocks == nil && !allowed {
		blocks = idle
	}
	return blocks, until, nil
}

// matches reports whether the window is about the Application.
func (w *syncWindow) matches(a *application) bool {
	to := a.Spec.Destination
	lists := [][]string{w.Applications, w.Namespaces, w.Clusters}
	values := [][]string{{a.Metadata.Name}, {to.Namespace}, {to.Server, to.Name}}
	any, all, lists0 := false, true, false
	for i, patterns := range lists {
		if len(patterns) == 0 {
			continue
		}
		lists0 = true
		hit := slices.ContainsFunc(patterns, func(p string) bool {
			return slices.ContainsFunc(values[i], func(v string) bool { return v != "" && wildcard(p, v) })
		})
		any, all = any || hit, all && hit
	}
	if w.And {
		return lists0 && all
	}
	return any
}

// wildcard matches "*" and "?". A pattern with other special characters counts as a match,
// since a window that is wrongly heeded does less harm than one that is overlooked.
func wildcard(pattern, s string) bool {
	if strings.ContainsAny(pattern, `[]{}\`) {
		return true
	}
	// at and from are where to go on after the last star.
	at, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			at, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case at >= 0:
			from++
			p, i = at+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// active reports whether the window is open at a time, and when it then ends.
func (w *syncWindow) active(now time.Time) (end time.Time, active bool, err error) {
	length, err := time.ParseDuration(w.Duration)
	if err != nil || length <= 0 || length > maxWindow {
		return end, false, fmt.Errorf("the duration %q is not one of up to 366 days", w.Duration)
	}
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		return end, false, fmt.Errorf("the time zone %q is unknown", w.TimeZone)
	}
	s, err := parseSchedule(w.Schedule)
	if err != nil {
		return end, false, err
	}
	now = now.In(zone)
	for at := now.Truncate(time.Minute); now.Sub(at) < length; at = at.Add(-time.Minute) {
		if s.includes(at) {
			return at.Add(length), true, nil
		}
	}
	return end, false, nil
}

// schedule is a cron expression of five fields: bit n of a field is the value n.
type schedule struct {
	minute, hour, day, month, weekday uint64
	anyDay, anyWeekday                bool
}

func (s *schedule) includes(t time.Time) bool {
	bit := func(set uint64, n int) bool { return set>>n&1 == 1 }
	if !bit(s.minute, t.Minute()) || !bit(s.hour, t.Hour()) || !bit(s.month, int(t.Month())) {
		return false
	}
	day, weekday := bit(s.day, t.Day()), bit(s.weekday, int(t.Weekday()))
	if s.anyDay || s.anyWeekday {
		return day && weekday
	}
	return day || weekday // as cron has it
}

var (
	monthNames   = []string{"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	weekdayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

func parseSchedule(text string) (*schedule, error) {
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return nil, fmt.Errorf("the schedule must have five fields")
	}
	s := &schedule{anyDay: every(fields[2]), anyWeekday: every(fields[4])}
	for i, f := range []struct {
		set         *uint64
		first, last int
		names       []string
	}{{&s.minute, 0, 59, nil}, {&s.hour, 0, 23, nil}, {&s.day, 1, 31, nil}, {&s.month, 1, 12, monthNames}, {&s.weekday, 0, 6, weekdayNames}} {
		for entry := range strings.SplitSeq(fields[i], ",") {
			bits, err := parseEntry(entry, f.first, f.last, f.names)
			if err != nil {
				return nil, err
			}
			*f.set |= bits
		}
	}
	return s, nil
}

func every(field string) bool { return strings.HasPrefix(field, "*") || strings.HasPrefix(field, "?") }

// parseEntry reads "*", "5", "1-5", "mon-fri" or one of them with a step, such as "*/10".
func parseEntry(entry string, first, last int, names []string) (bits uint64, err error) {
	span, stepText, stepped := strings.Cut(entry, "/")
	step := 1
	if stepped {
		if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
			return 0, fmt.Errorf("%q is not a step", entry)
		}
	}
	from, to := first, last
	if span != "*" && span != "?" {
		a, b, ranged := strings.Cut(span, "-")
		if from, err = parseValue(a, names); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if to, err = parseValue(b, names); err != nil {
				return 0, err
			}
		case !stepped:
			to = from
		}
	}
	if from < first || to > last || from > to {
		return 0, fmt.Errorf("%q is not from %d to %d", entry, first, last)
	}
	for n := from; n <= to; n += step {
		bits |= 1 << n
	}
	return bits, nil
}

func parseValue(text string, names []string) (int, error) {
	if i := slices.Index(names, strings.ToLower(text)); i >= 0 && text != "" {
		return i, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return n, nil
}
