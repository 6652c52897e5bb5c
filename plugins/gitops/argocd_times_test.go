package main

import (
	"strings"
	"testing"
	"time"
)

func TestSyncWindowsDenyAndAllowAsArgoCDHasIt(t *testing.T) {
	// A Wednesday.
	at := time.Date(2026, 4, 15, 22, 30, 0, 0, time.UTC)
	deny := syncWindow{Kind: "deny", Schedule: "0 22 * * *", Duration: "1h"}
	lenient := syncWindow{Kind: "deny", Schedule: "0 22 * * *", Duration: "1h", ManualSync: true}
	allow := syncWindow{Kind: "allow", Schedule: "0 22 * * wed", Duration: "2h"}
	morning := syncWindow{Kind: "allow", Schedule: "0 8 * * 1-5", Duration: "2h"}
	byHand := syncWindow{Kind: "allow", Schedule: "0 8 * * 1-5", Duration: "2h", ManualSync: true}
	for name, c := range map[string]struct {
		windows []syncWindow
		blocks  string
	}{
		"none":                               {nil, ""},
		"an active deny":                     {[]syncWindow{deny}, "0 22 * * *"},
		"an active deny for automation only": {[]syncWindow{lenient}, ""},
		"both denies":                        {[]syncWindow{lenient, deny}, "0 22 * * *"},
		"a deny comes before an allow":       {[]syncWindow{allow, deny}, "0 22 * * *"},
		"an active allow":                    {[]syncWindow{allow, morning}, ""},
		"an allow at another time":           {[]syncWindow{morning}, "0 8 * * 1-5"},
		"such an allow for automation only":  {[]syncWindow{byHand}, ""},
	} {
		w, until, err := blocking(c.windows, at)
		got := ""
		if w != nil {
			got = w.Schedule
		}
		if err != nil || got != c.blocks {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if w != nil && w.Kind == "deny" && !until.Equal(at.Add(30*time.Minute)) {
			t.Errorf("%s: until %s", name, until)
		}
	}
}

func TestAWindowIsActiveFromItsScheduleForItsDuration(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, c := range []struct {
		schedule, duration, zone, now string
		active                        bool
	}{
		{"0 22 * * *", "1h", "", "2026-04-15T21:59:59Z", false},
		{"0 22 * * *", "1h", "", "2026-04-15T22:00:00Z", true},
		{"0 22 * * *", "1h", "", "2026-04-15T22:59:59Z", true},
		{"0 22 * * *", "1h", "", "2026-04-15T23:00:00Z", false},
		{"0 22 * * *", "1h", "Europe/Berlin", "2026-04-15T20:00:00Z", true}, // summer time
		{"0 22 * * *", "1h", "Europe/Berlin", "2026-01-15T21:00:00Z", true},
		{"0 22 * * *", "26h", "", "2026-04-16T21:00:00Z", true},
		{"*/20 * * * *", "10m", "", "2026-04-15T10:25:00Z", true},
		{"*/20 * * * *", "10m", "", "2026-04-15T10:35:00Z", false},
		{"0 0 1 * mon", "1h", "", "2026-04-13T00:10:00Z", true}, // a Monday: either day counts
		{"0 0 1 jan *", "1h", "", "2026-01-01T00:10:00Z", true},
		{"0 0 13 * *", "1h", "", "2026-04-14T00:10:00Z", false},
	} {
		w := syncWindow{Schedule: c.schedule, Duration: c.duration, TimeZone: c.zone}
		if _, active, err := w.active(at(c.now)); err != nil || active != c.active {
			t.Errorf("%+v: %v, %v", c, active, err)
		}
	}
	for _, bad := range []syncWindow{
		{Schedule: "0 22 * *", Duration: "1h"}, {Schedule: "60 * * * *", Duration: "1h"}, {Schedule: "0 0 0 * *", Duration: "1h"}, {Schedule: "5-1 * * * *", Duration: "1h"},
		{Schedule: "x * * * *", Duration: "1h"}, {Schedule: "*/0 * * * *", Duration: "1h"}, {Schedule: "0 22 * * *", Duration: "soon"},
		{Schedule: "0 22 * * *", Duration: "9000h"}, {Schedule: "0 22 * * *", Duration: "-1h"}, {Schedule: "0 22 * * *", Duration: "1h", TimeZone: "Mars/Base"},
	} {
		if _, _, err := blocking([]syncWindow{bad}, at("2026-04-15T22:10:00Z")); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestAWindowIsAboutTheApplicationsThatItNames(t *testing.T) {
	a := &application{}
	a.Metadata.Name, a.Spec.Destination.Namespace, a.Spec.Destination.Server = "shop-web", "shop", "https://kubernetes.default.svc"
	for name, c := range map[string]struct {
		w    syncWindow
		want bool
	}{
		"nothing named":       {syncWindow{}, false},
		"the name":            {syncWindow{Applications: []string{"x", "shop-web"}}, true},
		"a wildcard":          {syncWindow{Applications: []string{"shop-*"}}, true},
		"another":             {syncWindow{Applications: []string{"bank-*"}}, false},
		"the cluster":         {syncWindow{Clusters: []string{"https://kubernetes*"}}, true},
		"one of two lists":    {syncWindow{Applications: []string{"x"}, Namespaces: []string{"sho?"}}, true},
		"only one, and both":  {syncWindow{Applications: []string{"x"}, Namespaces: []string{"shop"}, And: true}, false},
		"both, and both":      {syncWindow{Applications: []string{"*web"}, Namespaces: []string{"shop"}, And: true}, true},
		"an unknown notation": {syncWindow{Applications: []string{"{a,b}"}}, true},
	} {
		if got := c.w.matches(a); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add("*/5 1-3 1,15 jan-mar mon")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSchedule(text)
		if err == nil && (s.minute == 0 || s.hour == 0 || s.day == 0 || s.month == 0 || s.weekday == 0 || len(strings.Fields(text)) != 5) {
			t.Errorf("%q was read as %+v", text, s)
		}
	})
}

func FuzzWildcard(f *testing.F) {
	f.Add("a*b?", "axxbc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !strings.ContainsAny(pattern, `*?[]{}\`) && wildcard(pattern, s) != (pattern == s) {
			t.Errorf("%q and %q", pattern, s)
		}
	})
}
